-- What the Hub keeps: tasks, who is connected, who may connect.

-- What is asked of agents, by their Hub names, self-hosted ones included. A row without finished_at is open.
CREATE TABLE talon.task (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL UNIQUE,
    agent       text NOT NULL,
    session     text NOT NULL,
    asked_by    text,
    state       text NOT NULL DEFAULT 'submitted',
    attempts    bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    sent_at     timestamptz,
    finished_at timestamptz,
    deadline_at timestamptz NOT NULL,
    -- json, not jsonb: passed on as it was written, and jsonb refuses an escaped NUL
    metadata    json NOT NULL,
    text        text NOT NULL,
    answer      text
) WITH (fillfactor = 80);
CREATE INDEX task_agent ON talon.task (agent, seq);
CREATE INDEX task_open ON talon.task (agent, seq) WHERE finished_at IS NULL;
CREATE INDEX task_deadline ON talon.task (deadline_at) WHERE finished_at IS NULL;
CREATE INDEX task_finished ON talon.task (finished_at) WHERE finished_at IS NOT NULL;

-- The last connection of each managed agent. Apart from agent_source and agent_work, so that signs of life touch neither;
-- last_seen has no index, so that they rewrite none.
CREATE TABLE talon.agent_presence (
    agent_id        uuid PRIMARY KEY REFERENCES talon.agent_source (id),
    connected       boolean NOT NULL,
    connection_id   text NOT NULL,
    hub             text NOT NULL,
    token_sha256    text NOT NULL,
    runtime         text,
    connected_at    timestamptz NOT NULL,
    last_seen       timestamptz NOT NULL,
    disconnected_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX agent_presence_hub ON talon.agent_presence (hub) WHERE connected;

-- Keys of people who run agents themselves; never a key.
CREATE TABLE talon.agent_api_key (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text NOT NULL UNIQUE DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 16),
    owner      text NOT NULL,
    label      text NOT NULL,
    sha256     text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- Agents that people run themselves, as they last registered.
CREATE TABLE talon.hosted_agent (
    name          text PRIMARY KEY,
    owner         text NOT NULL,
    public        boolean NOT NULL,
    connected     boolean NOT NULL,
    connection_id text NOT NULL,
    hub           text NOT NULL,
    last_seen     timestamptz NOT NULL,
    card          json
) WITH (fillfactor = 70);
CREATE INDEX hosted_agent_hub ON talon.hosted_agent (hub) WHERE connected;

-- Something happened since the last claim that the pass under way may not have seen: when it ends, the agent is due.
ALTER TABLE talon.agent_work ADD COLUMN woken boolean NOT NULL DEFAULT false;
