-- What belongs to the installation as a whole.
CREATE TABLE talon.install (
    one        integer PRIMARY KEY DEFAULT 1,
    id         text NOT NULL,
    key_check  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The brake. kind NULL: no hold is in force.
CREATE TABLE talon.controller_hold (
    one          integer PRIMARY KEY DEFAULT 1,
    kind         text,
    reason       text,
    since        timestamptz,
    last_release timestamptz
);
INSERT INTO talon.controller_hold DEFAULT VALUES;

CREATE TABLE talon.controller_lease (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  timestamptz NOT NULL
);

-- Cloudflare calls granted, by slot of time (milliseconds since 1970).
CREATE TABLE talon.api_budget (
    account text NOT NULL,
    slot_ms bigint NOT NULL,
    used    bigint NOT NULL,
    PRIMARY KEY (account, slot_ms)
);
-- A row for each account; whoever decides about its slots holds this row's lock.
CREATE TABLE talon.api_pause (
    account text PRIMARY KEY,
    until   timestamptz
);

-- The change feed. seq is given by readers, one after the other, to entries that are already committed: an entry that
-- becomes visible later always gets a higher one, whatever the order in which transactions began or drew their ids. (A
-- number drawn by the writer has no such order, and "below pg_snapshot_xmin" helps only a reader that remembers
-- transaction ids, which do not survive a dump.)
CREATE TABLE talon.agent_change (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq      bigint UNIQUE,
    agent_id uuid NOT NULL,
    kind     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_change_unpublished ON talon.agent_change (id) WHERE seq IS NULL;
CREATE INDEX agent_change_at ON talon.agent_change (at);

-- The last seq given. A row and not a sequence: whoever numbers holds its lock until commit, and it neither runs ahead
-- after a crash nor is forgotten when entries are pruned, so that a restored database is told by it.
CREATE TABLE talon.agent_change_head (
    one integer PRIMARY KEY DEFAULT 1,
    seq bigint NOT NULL
);
INSERT INTO talon.agent_change_head (seq) VALUES (0);

CREATE TABLE talon.audit_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    agent_id uuid NOT NULL
);
CREATE INDEX audit_log_at ON talon.audit_log (at);

-- The only way in which the controller may take entries from the log: the old ones. What is younger than a week stays,
-- whatever is asked, so that nobody who acts through the controller's role can hide it.
CREATE FUNCTION talon.prune_audit_log(keep interval) RETURNS SETOF bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
    DELETE FROM audit_log WHERE at < now() - greatest(keep, interval '7 days') RETURNING id
$$;
REVOKE ALL ON FUNCTION talon.prune_audit_log(interval) FROM PUBLIC;
