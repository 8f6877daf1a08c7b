-- Version 1. Instants are microseconds since 1970, UTC; spans are microseconds unless the name says otherwise.

-- Numbers that only ever rise, so that nothing that is deleted lends its number to something else.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('delivery', 0), ('number', 0), ('turn', 0), ('seen', 0), ('task', 0), ('window', 0), ('submission', 0);

-- What is marked "encrypted" is kept under one of these keys; the id of eight zero bytes stands for none. The last encrypts.
CREATE TABLE encryption_keys (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE webhooks (
    id    TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    auth  TEXT,
    json  BLOB NOT NULL -- encrypted: the URL may hold a secret
) STRICT, WITHOUT ROWID;
CREATE INDEX webhooks_by_scope ON webhooks (scope, id);
CREATE INDEX webhooks_by_auth ON webhooks (auth, id) WHERE auth IS NOT NULL;

CREATE TABLE auths (
    id     TEXT PRIMARY KEY,
    name   TEXT NOT NULL,
    config BLOB NOT NULL -- encrypted: it holds secrets
) STRICT, WITHOUT ROWID;

-- Words that very many rows have in common, so that they are small there. They are never removed.
CREATE TABLE words (
    id   INTEGER PRIMARY KEY,
    role INTEGER NOT NULL, -- 1: a webhook, 2: a scope, 3: a type of event, 4: an outcome
    word TEXT NOT NULL,
    UNIQUE (role, word)
) STRICT;

CREATE TABLE events (
    id             INTEGER PRIMARY KEY,
    scope          TEXT NOT NULL,
    event_id       TEXT NOT NULL,
    kind           TEXT NOT NULL,
    subject        TEXT,
    media_type     BLOB NOT NULL,
    headers        BLOB,             -- encrypted: lines of `name: value`
    fingerprint    BLOB NOT NULL,    -- encrypted: it could confirm what the body is guessed to be
    first_delivery INTEGER NOT NULL, -- its deliveries are numbered on from here
    deliveries     INTEGER NOT NULL,
    bare_since     INTEGER,          -- when it was enqueued, if it has no deliveries
    body           BLOB NOT NULL     -- encrypted; empty once no delivery can need it any more
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (scope, event_id);
CREATE INDEX events_bare ON events (bare_since) WHERE bare_since IS NOT NULL;

-- Events that were submitted in transactions of applications' own, until they are taken in.
CREATE TABLE intake (
    number     INTEGER PRIMARY KEY,
    scope      TEXT NOT NULL,
    event_id   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    subject    TEXT,
    media_type BLOB NOT NULL,
    headers    BLOB,          -- encrypted: lines of `name: value`
    body       BLOB NOT NULL, -- encrypted
    set_aside  TEXT           -- why it was: conflict, unusable
) STRICT;
CREATE INDEX intake_waiting ON intake (number) WHERE set_aside IS NULL;
CREATE INDEX intake_set_aside ON intake (number) WHERE set_aside IS NOT NULL;

CREATE TABLE lanes (
    id               INTEGER PRIMARY KEY,
    key              TEXT UNIQUE,      -- NULL once its webhook was removed
    max_in_flight    INTEGER NOT NULL,
    rate_interval_ns INTEGER,
    rate_burst       INTEGER,
    strict           INTEGER NOT NULL,
    enabled          INTEGER NOT NULL,
    in_flight        INTEGER NOT NULL DEFAULT 0,
    whole_at         INTEGER,          -- when the rate's whole burst is available again
    turn             INTEGER NOT NULL DEFAULT 0, -- the number of its last turn
    opens_at         INTEGER,          -- from when on it has something to give; NULL if it has nothing or no room, or is ready
    ready            INTEGER NOT NULL DEFAULT 0, -- waits for its turn already
    runs             TEXT,             -- its webhook's flusher at work (JSON); NULL if it has none
    failing_since    INTEGER,          -- since when it has had nothing but failures
    hold             INTEGER,          -- the hold of its webhook, if there is one
    closed           INTEGER NOT NULL DEFAULT 0, -- by that hold
    pace             TEXT -- how fast it goes, as JSON; nothing at full pace
) STRICT;
CREATE INDEX lanes_failing ON lanes (failing_since) WHERE failing_since IS NOT NULL;
CREATE INDEX lanes_later ON lanes (opens_at) WHERE opens_at IS NOT NULL;
CREATE INDEX lanes_ready ON lanes (turn, id) WHERE ready;

CREATE TABLE holds (
    id           INTEGER PRIMARY KEY, -- in the order in which they were placed
    kind         TEXT NOT NULL,       -- webhook, subject
    scope        TEXT NOT NULL,       -- of a subject; else empty
    name         TEXT NOT NULL,       -- the webhook's id, or the subject
    placed_after INTEGER NOT NULL,    -- the latest delivery when it was placed
    lane         INTEGER,             -- that of the webhook
    gathering    INTEGER NOT NULL,    -- whether what waits in that lane is still to be kept back
    lifted_at    INTEGER,             -- NULL while it holds
    last         INTEGER,             -- the latest delivery when it was lifted
    send_all     INTEGER NOT NULL,    -- when it is lifted: everything
    send_since   INTEGER,             -- or what was enqueued from then on; NULL for nothing
    busy         INTEGER NOT NULL     -- something of it is still to be moved
) STRICT;
CREATE UNIQUE INDEX holds_by_key ON holds (kind, name, scope);
CREATE INDEX holds_busy ON holds (id) WHERE busy;

CREATE TABLE deliveries (
    id            INTEGER PRIMARY KEY,
    event         INTEGER NOT NULL,
    lane          INTEGER,          -- NULL where the webhook was unknown when it was enqueued
    state         TEXT NOT NULL,    -- held, pending, sending, delivered, dead
    reason        TEXT,             -- why it is dead
    rank          INTEGER NOT NULL, -- when it is due; in a strict lane 0, so that they go by id; the largest number if it awaits a run
    due           INTEGER NOT NULL,
    fence         INTEGER NOT NULL,
    attempts      INTEGER NOT NULL, -- since it was enqueued or last replayed
    history       INTEGER NOT NULL, -- in all
    first_failure INTEGER,
    interrupted   INTEGER NOT NULL,
    awaits        INTEGER,          -- the number of the first run that may take it, if it awaits one, or did when it was claimed
    held_by       INTEGER,          -- the hold, if it is held
    claimed_at    INTEGER,
    lease_ends    INTEGER,
    holder        TEXT,
    created_at    INTEGER NOT NULL,
    own           INTEGER NOT NULL, -- whether `contents` has a row for it
    webhook       INTEGER,          -- a word; NULL where it goes to a URL given with a call
    test          INTEGER NOT NULL, -- whether it is there to try the webhook out
    scope         INTEGER NOT NULL, -- a word, as the next
    kind          INTEGER NOT NULL,
    last_attempt  INTEGER,          -- the position of its last attempt
    ended_at      INTEGER,          -- when it came to be delivered or dead, while it is
    purgeable     INTEGER,          -- what of it can go next, while it is: 1 its body, 2 all of it
    CHECK ((ended_at IS NOT NULL) = (state IN ('delivered', 'dead')) AND (ended_at IS NULL) = (purgeable IS NULL))
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (lane, rank) WHERE state = 'pending';
CREATE INDEX deliveries_held ON deliveries (held_by) WHERE state = 'held';
CREATE INDEX deliveries_leased ON deliveries (lease_ends) WHERE state = 'sending';
CREATE INDEX deliveries_over ON deliveries (purgeable, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries (webhook) WHERE state = 'dead' AND NOT test;

-- What few deliveries have, kept apart so that the rows that change stay small.
CREATE TABLE contents (
    delivery INTEGER PRIMARY KEY,
    body     BLOB, -- encrypted: the bytes to send, where they are not the event's own
    call     BLOB  -- encrypted: the URL given with a call, and how to send to it (JSON)
) STRICT;

-- Every attempt, in the order in which they were recorded. It grows at its end alone.
CREATE TABLE attempts (
    seq         INTEGER PRIMARY KEY,
    delivery    INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    previous    INTEGER,          -- the position of the delivery's attempt before; it may have been purged
    webhook     INTEGER,          -- a word; NULL where it went to a URL given with a call
    test        INTEGER NOT NULL, -- whether that was to try the webhook out
    scope       INTEGER NOT NULL, -- a word, as the next two
    kind        INTEGER NOT NULL,
    outcome     INTEGER NOT NULL,
    accepted    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    duration    INTEGER NOT NULL,
    retry_at    INTEGER,          -- when the next was due
    excerpt     BLOB NOT NULL     -- encrypted
) STRICT;

-- How far `attempts` goes: one row.
CREATE TABLE log (
    last        INTEGER NOT NULL, -- the position of the last attempt ever
    recorded_at INTEGER,          -- when that was recorded
    filed       INTEGER NOT NULL  -- up to where attempts are in the three tables below; they come there many at a time
) STRICT;
INSERT INTO log (last, filed) VALUES (0, 0);

-- Which attempts have a word.
CREATE TABLE postings (
    word INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (word, seq)
) STRICT, WITHOUT ROWID;

-- Runs of attempts, with the instants between which they were recorded.
CREATE TABLE chapters (
    first    INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL,
    earliest INTEGER NOT NULL,
    latest   INTEGER NOT NULL
) STRICT;

-- What the attempts of a webhook that were recorded in a minute add up to.
CREATE TABLE health (
    minute       INTEGER NOT NULL, -- since 1970
    webhook      INTEGER NOT NULL, -- a word
    attempts     INTEGER NOT NULL,
    accepted     INTEGER NOT NULL,
    sending_time INTEGER NOT NULL,
    PRIMARY KEY (minute, webhook)
) STRICT, WITHOUT ROWID;

-- Where updates of a digest and scope go.
CREATE TABLE digests (
    digest TEXT NOT NULL,
    scope  TEXT NOT NULL,
    closed INTEGER, -- up to when its windows are sealed
    PRIMARY KEY (digest, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE digest_windows (
    number INTEGER PRIMARY KEY,
    digest TEXT NOT NULL,
    scope  TEXT NOT NULL,
    starts INTEGER NOT NULL,
    ends   INTEGER NOT NULL,
    sealed INTEGER NOT NULL,
    chunks INTEGER NOT NULL -- how many of its chunks were taken
) STRICT;
CREATE INDEX digest_windows_by_end ON digest_windows (digest, sealed, ends);
CREATE INDEX digest_windows_by_start ON digest_windows (digest, starts) WHERE sealed = 0;
CREATE INDEX digest_windows_open ON digest_windows (digest, scope) WHERE sealed = 0;

CREATE TABLE digest_users (
    window  INTEGER NOT NULL,
    subject TEXT NOT NULL,
    updates INTEGER NOT NULL, -- how many were merged
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    PRIMARY KEY (window, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    number         INTEGER PRIMARY KEY, -- in the order of creation
    id             TEXT NOT NULL UNIQUE,
    credentials_id TEXT NOT NULL,
    request_uri    BLOB NOT NULL,    -- encrypted
    results_uri    BLOB NOT NULL,    -- encrypted
    webhook_uri    BLOB,             -- encrypted
    requested_at   INTEGER NOT NULL,
    deadline       INTEGER NOT NULL,
    state          TEXT NOT NULL,    -- queued, held, paused, ended; held and paused are both Running
    fence          INTEGER NOT NULL,
    runs           INTEGER NOT NULL,
    interruptions  INTEGER NOT NULL,
    failures       INTEGER NOT NULL,
    first_failure  INTEGER,
    resumes_at     INTEGER,          -- when the lease of a held one ends, or a paused one is due
    progress       BLOB,             -- encrypted: JSON
    finished_at    INTEGER,
    results_until  INTEGER,          -- until when results are kept
    known_until    INTEGER,          -- until when anything is
    purged         INTEGER NOT NULL, -- whether input, results and description are gone
    error          TEXT,             -- a code, if it failed
    description    BLOB,             -- encrypted
    results        BLOB,             -- encrypted; if it succeeded
    input          BLOB NOT NULL     -- encrypted
) STRICT;
CREATE INDEX tasks_queued ON tasks (number) WHERE state = 'queued';
CREATE INDEX tasks_resuming ON tasks (resumes_at, number) WHERE resumes_at IS NOT NULL;
CREATE INDEX tasks_unpurged ON tasks (results_until, number) WHERE results_until IS NOT NULL AND purged = 0;
CREATE INDEX tasks_known ON tasks (known_until, number) WHERE known_until IS NOT NULL;

CREATE TABLE seen (
    receiver TEXT NOT NULL,
    key      TEXT NOT NULL,
    done     INTEGER NOT NULL,
    fence    INTEGER NOT NULL,
    until    INTEGER NOT NULL, -- until when the lease holds or the key is kept
    PRIMARY KEY (receiver, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_until ON seen (until, receiver, key);
