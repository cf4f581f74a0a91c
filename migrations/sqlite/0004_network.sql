-- What the Hub keeps: tasks, who is connected, who may connect.

-- What is asked of agents, by their Hub names, self-hosted ones included. A row without finished_at is open. Large texts
-- last in the row.
CREATE TABLE task (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  agent TEXT NOT NULL,
  session TEXT NOT NULL,
  asked_by TEXT,
  state TEXT NOT NULL DEFAULT 'submitted'
    CHECK (state IN ('submitted', 'working', 'input-required', 'completed', 'failed', 'canceled')),
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL,
  sent_at TEXT,
  finished_at TEXT,
  deadline_at TEXT NOT NULL,
  metadata TEXT NOT NULL,
  text TEXT NOT NULL,
  answer TEXT,
  CONSTRAINT a_task_that_ended_has_an_end CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'canceled')))
) STRICT;
CREATE INDEX task_agent ON task (agent, seq);
CREATE INDEX task_open ON task (agent, seq) WHERE finished_at IS NULL;
CREATE INDEX task_deadline ON task (deadline_at) WHERE finished_at IS NULL;
CREATE INDEX task_finished ON task (finished_at) WHERE finished_at IS NOT NULL;

-- The last connection of each managed agent. Apart from agent_source and agent_work, so that signs of life touch neither.
CREATE TABLE agent_presence (
  agent_id TEXT PRIMARY KEY REFERENCES agent_source (id),
  connected INTEGER NOT NULL CHECK (connected IN (0, 1)),
  connection_id TEXT NOT NULL,
  hub TEXT NOT NULL,
  token_sha256 TEXT NOT NULL,
  runtime TEXT,
  connected_at TEXT NOT NULL,
  last_seen TEXT NOT NULL,
  disconnected_at TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_presence_hub ON agent_presence (hub) WHERE connected = 1;

-- Keys of people who run agents themselves; never a key.
CREATE TABLE agent_api_key (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  label TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL,
  expires_at TEXT,
  revoked_at TEXT
) STRICT;

-- Agents that people run themselves, as they last registered.
CREATE TABLE hosted_agent (
  name TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  public INTEGER NOT NULL CHECK (public IN (0, 1)),
  connected INTEGER NOT NULL CHECK (connected IN (0, 1)),
  connection_id TEXT NOT NULL,
  hub TEXT NOT NULL,
  last_seen TEXT NOT NULL,
  card TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_agent_hub ON hosted_agent (hub) WHERE connected = 1;

-- Something happened since the last claim that the pass under way may not have seen: when it ends, the agent is due.
ALTER TABLE agent_work ADD COLUMN woken INTEGER NOT NULL DEFAULT 0 CHECK (woken IN (0, 1));
