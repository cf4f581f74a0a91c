-- What belongs to the installation as a whole.
CREATE TABLE talon.install (
    singleton  boolean PRIMARY KEY DEFAULT true,
    id         text NOT NULL,
    key_check  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE talon.hold (
    singleton    boolean PRIMARY KEY DEFAULT true,
    kind         text,
    reason       text,
    since        timestamptz,
    last_release timestamptz
);

CREATE TABLE talon.controller_lease (
    name        text PRIMARY KEY,
    holder      text NOT NULL,
    lease_until timestamptz NOT NULL
);

-- slots: [[start in ms since 1970, calls], …]
CREATE TABLE talon.api_budget (
    account      text PRIMARY KEY,
    slots        jsonb NOT NULL DEFAULT '[]',
    paused_until timestamptz
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
    singleton boolean PRIMARY KEY DEFAULT true,
    seq       bigint NOT NULL
);
INSERT INTO talon.agent_change_head (seq) VALUES (0);

CREATE TABLE talon.audit_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    agent_id uuid NOT NULL
);
