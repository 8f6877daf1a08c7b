"""Standard Webhooks: `v1` with the specification's own Python library, `v1a` with `cryptography`'s Ed25519."""

import base64
import itertools
import os
from datetime import datetime, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

# Their library checks dates against the machine's clock.
NOW = int(datetime.now(tz=timezone.utc).timestamp())

TEXTS = {
    "empty": b"",
    "JSON": b'{"test": 2432232314}',
    "spaces and numbers": b'{ "a" :1.0000000000 ,\n "b":\t1e2}\r\n',
    "unicode": '{"naïve":"日本語 🔔 \\u0000 \u2028"}'.encode(),
    "dots": b"a.b.c...",
    "no JSON": "früher oder später".encode(),
    "a megabyte": b'"' + b"x" * 1_000_000 + b'"',
}
# Their library takes text alone.
BINARY = {"binary": bytes(range(256)), "gzip": bytes.fromhex("1f8b0800000000000003ab0600")}

IDS = ["msg_p5jXN8AQM9LWM0D4loKWxJek", "1", "order-1/paid", "a.b"]


def b64(data):
    return base64.b64encode(data).decode()


def run(ours, tally):
    shared_secrets(ours, tally)
    several_secrets(ours, tally)
    key_pairs(ours, tally)


class Message:
    """What is signed, and what is said of it."""

    def __init__(self, ours, id, body, now=NOW):
        self.ours, self.id, self.body, self.now = ours, id, body, now

    def signed_by_us(self, *keys):
        message = self.sent({"webhook-id": self.id}, self.body, self.now)
        return self.ours.ask(do="sign", keys=keys, message=message)["headers"]

    def with_signature(self, signature):
        return {
            "webhook-id": self.id,
            "webhook-timestamp": str(self.now),
            "webhook-signature": signature,
        }

    def verdict(self, headers, *keys, body=None, later=0):
        """What we say of it: "verified", or why not."""
        message = self.sent(headers, self.body if body is None else body, self.now + later)
        answer = self.ours.ask(do="verify", keys=keys, message=message)
        return answer if isinstance(answer, str) else answer["refused"].split(":")[0]

    def sent(self, headers, body, now):
        return dict(method="POST", target="/hook", headers=headers, body=b64(body), now=now)

    def signed_bytes(self):
        return f"{self.id}.{self.now}.".encode() + self.body


def they_verify(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
        return True
    except WebhookVerificationError:
        return False


def they_sign(secret, message):
    at = datetime.fromtimestamp(message.now, tz=timezone.utc)
    return Webhook(secret).sign(message.id, at, message.body.decode())


def shared_secrets(ours, tally):
    secrets = ["whsec_" + b64(os.urandom(size)) for size in (24, 32, 33, 64)]
    secrets.append(secrets[0].removeprefix("whsec_"))
    for secret, id, (kind, body) in itertools.product(secrets, IDS, TEXTS.items()):
        name = f"v1, {len(secret)} characters of secret, {id}, {kind}"
        message = Message(ours, id, body)
        other = "whsec_" + b64(os.urandom(24))

        headers = message.signed_by_us(secret)
        tally.check(f"{name}: they verify", lambda: they_verify(secret, headers, body))
        tally.check(f"{name}: they refuse another body", lambda: not they_verify(secret, headers, body + b" "))
        tally.check(f"{name}: they refuse another secret", lambda: not they_verify(other, headers, body))

        headers = message.with_signature(they_sign(secret, message))
        tally.check(f"{name}: we verify", lambda: message.verdict(headers, secret) == "verified")
        tally.check(
            f"{name}: we refuse another body",
            lambda: message.verdict(headers, secret, body=body + b" ") == "mismatch",
        )
        tally.check(f"{name}: we refuse another secret", lambda: message.verdict(headers, other) == "mismatch")
        tally.check(f"{name}: we refuse it later", lambda: message.verdict(headers, secret, later=301) == "stale")
        tally.check(
            f"{name}: we refuse it earlier",
            lambda: message.verdict(headers, secret, later=-301) == "from the future",
        )


def several_secrets(ours, tally):
    old, new, other = ("whsec_" + b64(os.urandom(32)) for _ in range(3))
    pair = "whsk_" + b64(os.urandom(32))
    for kind, body in TEXTS.items():
        message = Message(ours, "msg_1", body)
        headers = message.signed_by_us(new, pair, old)
        for secret in (old, new):
            tally.check(f"several, {kind}: they verify", lambda: they_verify(secret, headers, body))
        tally.check(f"several, {kind}: they refuse", lambda: not they_verify(other, headers, body))

        headers = message.with_signature(" ".join(they_sign(secret, message) for secret in (new, old)))
        for keys in ([old], [new], [other, old]):
            tally.check(f"several, {kind}: we verify", lambda: message.verdict(headers, *keys) == "verified")
        tally.check(f"several, {kind}: we refuse", lambda: message.verdict(headers, other) == "mismatch")


def key_pairs(ours, tally):
    for half, id, (kind, body) in itertools.product(("seed", "pair"), IDS, {**TEXTS, **BINARY}.items()):
        name = f"v1a, {half}, {id}, {kind}"
        message = Message(ours, id, body)
        private = Ed25519PrivateKey.generate()
        seed, public = private.private_bytes_raw(), private.public_key().public_bytes_raw()
        whsk, whpk = "whsk_" + b64(seed if half == "seed" else seed + public), "whpk_" + b64(public)
        other = "whpk_" + b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())

        version, _, ours_encoded = message.signed_by_us(whsk)["webhook-signature"].partition(",")
        tally.check(f"{name}: the version is v1a", lambda: version == "v1a")
        for signed, holds in ((message.signed_bytes(), True), (message.signed_bytes() + b" ", False)):
            tally.check(
                f"{name}: they {'verify' if holds else 'refuse another body'}",
                lambda: cryptography_verifies(private, ours_encoded, signed) == holds,
            )

        theirs = b64(private.sign(message.signed_bytes()))
        tally.check(f"{name}: both sign alike", lambda: ours_encoded == theirs)
        headers = message.with_signature(f"v1a,{theirs}")
        tally.check(f"{name}: we verify", lambda: message.verdict(headers, whpk) == "verified")
        tally.check(
            f"{name}: we refuse another body",
            lambda: message.verdict(headers, whpk, body=body + b" ") == "mismatch",
        )
        tally.check(f"{name}: we refuse another key", lambda: message.verdict(headers, other) == "mismatch")


def cryptography_verifies(private, encoded, signed):
    try:
        private.public_key().verify(base64.b64decode(encoded), signed)
        return True
    except InvalidSignature:
        return False
