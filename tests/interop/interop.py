"""Runs every conversation with implementations that are not ours, and counts."""

import json
import subprocess
import sys
import traceback

import standard_webhooks
import truelayer

CONVERSATIONS = [standard_webhooks, truelayer]


class Ours:
    """This crate, as a program that answers a line with a line."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("our end of the conversation is gone")
        return json.loads(answer)


class Tally:
    """What was checked, and what came of it."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, name, right):
        """Notes whether `right()` is true; an exception is a failure."""
        try:
            held = right()
        except Exception:
            traceback.print_exc()
            held = False
        if held:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {name}")


def main():
    tally = Tally()
    for conversation in CONVERSATIONS:
        before = tally.passed
        conversation.run(Ours(sys.argv[1]), tally)
        print(f"{conversation.__name__}: {tally.passed - before} passed")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 0 if tally.failed == 0 and tally.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
