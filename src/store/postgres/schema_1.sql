-- Version 1. Instants are microseconds since 1970, UTC; spans are microseconds unless the name says otherwise. Texts that
-- are looked for or sorted go by their bytes, whatever the database's locale.

-- One row: the version of the tables, and the oldest version of the crate's scripts that can work with them.
CREATE TABLE ringback.meta (
    version     bigint NOT NULL,
    readable_by bigint NOT NULL
);
INSERT INTO ringback.meta (version, readable_by) VALUES (0, 0);

CREATE SEQUENCE ringback.turns;
CREATE SEQUENCE ringback.delivery_ids;
CREATE SEQUENCE ringback.submission_numbers;
CREATE SEQUENCE ringback.lane_ids;

-- Numbers that are given out by the block.
CREATE TABLE ringback.counters (
    name  text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO ringback.counters (name, value) VALUES ('number', 0);

-- What is marked "encrypted" is kept under one of these keys; the id of eight zero bytes stands for none. The last encrypts.
CREATE TABLE ringback.encryption_keys (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     bytea NOT NULL UNIQUE
);

-- Ends a transaction that would encrypt with another key than the last. It has the table locked, so none comes after it.
CREATE FUNCTION ringback.require_key(key bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF key IS DISTINCT FROM (SELECT id FROM ringback.encryption_keys ORDER BY number DESC LIMIT 1) THEN
        RAISE EXCEPTION 'another key encrypts by now' USING ERRCODE = 'RB001';
    END IF;
END $$;

CREATE TABLE ringback.webhooks (
    id    text COLLATE "C" PRIMARY KEY,
    scope text COLLATE "C" NOT NULL,
    auth  text COLLATE "C",
    json  bytea NOT NULL -- encrypted: the URL may hold a secret
);
CREATE INDEX webhooks_by_scope ON ringback.webhooks (scope, id);
CREATE INDEX webhooks_by_auth ON ringback.webhooks (auth, id) WHERE auth IS NOT NULL;

CREATE TABLE ringback.auths (
    id     text COLLATE "C" PRIMARY KEY,
    name   text NOT NULL,
    config bytea NOT NULL -- encrypted: it holds secrets
);

CREATE TABLE ringback.events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text COLLATE "C" NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    subject     text COLLATE "C",
    media_type  bytea NOT NULL,
    headers     bytea,          -- encrypted: lines of `name: value`
    fingerprint bytea NOT NULL, -- encrypted: it could confirm what the body is guessed to be
    body        bytea NOT NULL, -- encrypted; empty once no delivery can need it
    bare_since  bigint          -- when it was enqueued, if that was without deliveries
);
CREATE UNIQUE INDEX events_by_id ON ringback.events (scope, event_id);
CREATE INDEX events_bare ON ringback.events (bare_since, id) WHERE bare_since IS NOT NULL;

-- Events that were submitted in transactions of applications' own, until they are taken in. Rows come and go: what has gone
-- is to be vacuumed soon.
CREATE TABLE ringback.intake (
    number       bigint PRIMARY KEY DEFAULT nextval('ringback.submission_numbers'),
    scope        text COLLATE "C" NOT NULL,
    event_id     text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    subject      text COLLATE "C",
    media_type   bytea NOT NULL,
    headers      bytea,            -- encrypted: lines of `name: value`
    body         bytea NOT NULL,   -- encrypted; empty if it came through `enqueue`
    plain_body   bytea,            -- if it came through `enqueue`, which has no key: the body as it was given
    set_aside    text COLLATE "C", -- why it was: conflict, unusable
    submitted_at bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint -- for people
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX intake_waiting ON ringback.intake (number) WHERE set_aside IS NULL;
CREATE INDEX intake_set_aside ON ringback.intake (number) WHERE set_aside IS NOT NULL;

-- Workers hear of it when the transaction commits, and not if it does not.
CREATE FUNCTION ringback.ring_intake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify(TG_TABLE_SCHEMA, 'intake');
    RETURN NULL;
END $$;
CREATE TRIGGER intake_rings AFTER INSERT ON ringback.intake
    FOR EACH STATEMENT EXECUTE FUNCTION ringback.ring_intake();

-- For any client: submits an event in the transaction it is called in. Whoever may call it needs no right to the tables.
CREATE FUNCTION ringback.enqueue(scope text, event_id text, kind text, body bytea, subject text DEFAULT NULL,
    media_type text DEFAULT 'application/json')
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF scope IS NULL OR body IS NULL OR coalesce(event_id, '') = '' OR coalesce(kind, '') = '' THEN
        RAISE EXCEPTION 'an event has a scope, an id, a type and a body' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF media_type IS NULL OR media_type !~ '^[!-~]([ -~]*[!-~])?$' THEN
        RAISE EXCEPTION 'a media type is of printable ASCII' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO ringback.intake (scope, event_id, kind, subject, media_type, body, plain_body)
    VALUES (enqueue.scope, enqueue.event_id, enqueue.kind, enqueue.subject, convert_to(enqueue.media_type, 'UTF8'), '',
        enqueue.body);
END $$;

-- The same for a body that is text, such as JSON.
CREATE FUNCTION ringback.enqueue(scope text, event_id text, kind text, body text, subject text DEFAULT NULL,
    media_type text DEFAULT 'application/json')
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT ringback.enqueue(scope, event_id, kind, convert_to(body, 'UTF8'), subject, media_type);
$$;

REVOKE ALL ON FUNCTION ringback.enqueue(text, text, text, bytea, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION ringback.enqueue(text, text, text, text, text, text) FROM PUBLIC;

-- Few rows that change all the time: half of each page is left free, so that most changes stay on it.
CREATE TABLE ringback.lanes (
    id               bigint PRIMARY KEY,      -- in the order in which they were opened
    key              text COLLATE "C" UNIQUE, -- NULL once its webhook was removed
    max_in_flight    bigint NOT NULL,
    rate_interval_ns bigint,
    rate_burst       bigint,
    strict           boolean NOT NULL,
    enabled          boolean NOT NULL,
    in_flight        bigint NOT NULL DEFAULT 0,
    whole_at         bigint,                  -- when the rate's whole burst is available again
    turn             bigint NOT NULL DEFAULT 0, -- the number of its last turn
    opens_at         bigint,                  -- from when on it has something to give; NULL if it has nothing or no room, or is ready
    ready            boolean NOT NULL DEFAULT FALSE, -- waits for its turn already
    runs             text,                    -- its webhook's flusher at work (JSON); NULL if it has none
    failing_since    bigint,                  -- since when it has had nothing but failures
    hold             bigint,                  -- the hold of its webhook, if there is one
    closed           boolean NOT NULL DEFAULT FALSE, -- by that hold
    pace             text -- how fast it goes, as JSON; nothing at full pace
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX lanes_failing ON ringback.lanes (id) WHERE failing_since IS NOT NULL;
CREATE INDEX lanes_later ON ringback.lanes (opens_at) WHERE opens_at IS NOT NULL;
CREATE INDEX lanes_ready ON ringback.lanes (turn, id) WHERE ready;

CREATE TABLE ringback.holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order in which they were placed
    kind         text COLLATE "C" NOT NULL, -- webhook, subject
    scope        text COLLATE "C" NOT NULL, -- of a subject; else empty
    name         text COLLATE "C" NOT NULL, -- the webhook's id, or the subject
    placed_after bigint NOT NULL,           -- the latest delivery when it was placed
    lane         bigint,                    -- that of the webhook
    gathering    boolean NOT NULL,          -- whether what waits in that lane is still to be kept back
    lifted_at    bigint,                    -- NULL while it holds
    last         bigint,                    -- the latest delivery when it was lifted
    send_all     boolean NOT NULL DEFAULT FALSE, -- when it is lifted: everything
    send_since   bigint,                    -- or what was enqueued from then on; NULL for nothing
    busy         boolean NOT NULL           -- something of it is still to be moved
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX holds_by_key ON ringback.holds (kind, scope, name);
CREATE INDEX holds_busy ON ringback.holds (id) WHERE busy;

CREATE TABLE ringback.deliveries (
    id            bigint PRIMARY KEY DEFAULT nextval('ringback.delivery_ids'),
    event         bigint NOT NULL,
    lane          bigint,                 -- NULL where the webhook was unknown when it was enqueued
    state         text COLLATE "C" NOT NULL, -- held, pending, sending, delivered, dead
    reason        text COLLATE "C",       -- why it is dead
    rank          bigint NOT NULL,        -- when it is due; in a strict lane 0, so that they go by id; the largest number if it awaits a run
    due           bigint NOT NULL,
    fence         bigint NOT NULL DEFAULT 0,
    attempts      bigint NOT NULL DEFAULT 0, -- since it was enqueued or last replayed
    history       bigint NOT NULL DEFAULT 0, -- in all
    first_failure bigint,
    interrupted   boolean NOT NULL DEFAULT FALSE,
    awaits        bigint,                 -- the number of the first run that may take it, if it awaits one, or did when it was claimed
    held_by       bigint,                 -- the hold, if it is held
    claimed_at    bigint,
    lease_ends    bigint,
    holder        text,
    created_at    bigint NOT NULL,
    own           boolean NOT NULL,       -- whether `contents` has a row for it
    webhook       text COLLATE "C",       -- NULL where it goes to a URL given with a call
    test          boolean NOT NULL,       -- whether it is there to try the webhook out
    ended_at      bigint,                 -- while it is delivered or dead: since when
    purgeable     smallint                -- and what of it goes next: 1 its body, 2 all that is left
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX deliveries_waiting ON ringback.deliveries (lane, rank, id) WHERE state = 'pending';
CREATE INDEX deliveries_held ON ringback.deliveries (held_by, id) WHERE state = 'held';
CREATE INDEX deliveries_leased ON ringback.deliveries (lease_ends, id) WHERE state = 'sending';
CREATE INDEX deliveries_dead ON ringback.deliveries (webhook, id) WHERE state = 'dead' AND NOT test;
CREATE INDEX deliveries_over ON ringback.deliveries (purgeable, ended_at, id) WHERE purgeable IS NOT NULL;
CREATE INDEX deliveries_of_event ON ringback.deliveries (event, id);

-- What few deliveries have, kept apart so that the rows that change stay small.
CREATE TABLE ringback.contents (
    delivery bigint PRIMARY KEY,
    body     bytea,               -- encrypted: the bytes to send, where they are not the event's own
    call     bytea,               -- encrypted: the URL given with a call, and how to send to it (JSON)
    auth     text COLLATE "C"     -- the auth record that the call names
);

-- Positions of attempts: they rise in the order in which attempts are recorded.
CREATE SEQUENCE ringback.attempt_positions;

-- Whoever records attempts shares this table from before it draws their positions until its commit. Whoever has it alone
-- for a moment knows that nothing is under way, and so up to where history is whole.
CREATE TABLE ringback.log (
    filed bigint NOT NULL -- up to where attempts are added up in `figures`
);
INSERT INTO ringback.log (filed) VALUES (0);

-- History, in a partition for each day, so that what is old is dropped as a whole. Partitions are made ahead; what none is
-- there for is kept in the default one.
CREATE TABLE ringback.attempts (
    seq         bigint NOT NULL DEFAULT nextval('ringback.attempt_positions'),
    delivery    bigint NOT NULL,
    number      bigint NOT NULL,
    webhook     text COLLATE "C",  -- NULL where it went to a URL given with a call
    test        boolean NOT NULL,
    scope       text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    status      integer,
    accepted    boolean NOT NULL,
    recorded_at bigint NOT NULL,
    started_at  bigint NOT NULL,
    duration    bigint NOT NULL,
    retry_at    bigint,            -- when the next one became due, where one followed
    excerpt     bytea NOT NULL     -- encrypted
) PARTITION BY RANGE (recorded_at);
CREATE INDEX attempts_in_order ON ringback.attempts (seq);
CREATE INDEX attempts_by_delivery ON ringback.attempts (delivery, number);
CREATE INDEX attempts_by_webhook ON ringback.attempts (webhook, seq);
CREATE TABLE ringback.attempts_at_other_times PARTITION OF ringback.attempts DEFAULT;

-- How the attempts of a webhook went, by the minute in which they were recorded.
CREATE TABLE ringback.figures (
    minute       bigint NOT NULL,
    webhook      text COLLATE "C" NOT NULL,
    attempts     bigint NOT NULL,
    accepted     bigint NOT NULL,
    sending_time bigint NOT NULL,
    PRIMARY KEY (webhook, minute)
) WITH (fillfactor = 80);
CREATE INDEX figures_by_minute ON ringback.figures (minute, webhook);

-- Where updates of a digest and scope go.
CREATE TABLE ringback.digests (
    digest text COLLATE "C" NOT NULL,
    scope  text COLLATE "C" NOT NULL,
    closed bigint, -- up to when its windows are sealed
    PRIMARY KEY (digest, scope)
);

CREATE TABLE ringback.digest_windows (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text COLLATE "C" NOT NULL,
    scope  text COLLATE "C" NOT NULL,
    starts bigint NOT NULL,
    ends   bigint NOT NULL,
    sealed boolean NOT NULL DEFAULT FALSE,
    chunks bigint NOT NULL DEFAULT 0 -- how many of its chunks were taken
);
CREATE INDEX digest_windows_by_end ON ringback.digest_windows (digest, sealed, ends, number);
CREATE INDEX digest_windows_by_start ON ringback.digest_windows (digest, starts) WHERE NOT sealed;
CREATE INDEX digest_windows_open ON ringback.digest_windows (digest, scope) WHERE NOT sealed;

CREATE TABLE ringback.digest_users (
    "window" bigint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    updates bigint NOT NULL, -- how many were merged
    first   bigint NOT NULL,
    last    bigint NOT NULL,
    PRIMARY KEY ("window", subject)
) WITH (fillfactor = 80);

CREATE TABLE ringback.tasks (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order of creation
    id             text COLLATE "C" NOT NULL UNIQUE,
    credentials_id text NOT NULL,
    request_uri    bytea NOT NULL, -- encrypted
    results_uri    bytea NOT NULL, -- encrypted
    webhook_uri    bytea,         -- encrypted
    requested_at   bigint NOT NULL,
    deadline       bigint NOT NULL,
    state          text COLLATE "C" NOT NULL, -- queued, held, paused, ended; held and paused are both Running
    fence          bigint NOT NULL DEFAULT 0,
    runs           bigint NOT NULL DEFAULT 0,
    interruptions  bigint NOT NULL DEFAULT 0,
    failures       bigint NOT NULL DEFAULT 0,
    first_failure  bigint,
    resumes_at     bigint,                 -- when the lease of a held one ends, or a paused one is due
    progress       bytea,                  -- encrypted: JSON
    finished_at    bigint,
    results_until  bigint,                 -- until when results are kept
    known_until    bigint,                 -- until when anything is
    purged         boolean NOT NULL DEFAULT FALSE, -- whether input, results and description are gone
    error          text,                   -- a code, if it failed
    description    bytea,                  -- encrypted
    results        bytea,                  -- encrypted; if it succeeded
    input          bytea NOT NULL          -- encrypted
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX tasks_queued ON ringback.tasks (number) WHERE state = 'queued';
CREATE INDEX tasks_resuming ON ringback.tasks (resumes_at, number) WHERE resumes_at IS NOT NULL;
CREATE INDEX tasks_unpurged ON ringback.tasks (results_until, number) WHERE results_until IS NOT NULL AND NOT purged;
CREATE INDEX tasks_known ON ringback.tasks (known_until, number) WHERE known_until IS NOT NULL;

-- One count for all keys, so that it rises for a key even after the key was forgotten.
CREATE SEQUENCE ringback.seen_fences;

CREATE TABLE ringback.seen (
    receiver text COLLATE "C" NOT NULL,
    key      text COLLATE "C" NOT NULL,
    done     boolean NOT NULL,
    fence    bigint NOT NULL,
    until    bigint NOT NULL, -- until when the lease holds or the key is kept
    PRIMARY KEY (receiver, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX seen_until ON ringback.seen (until, receiver, key);
