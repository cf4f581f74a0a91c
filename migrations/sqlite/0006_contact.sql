-- What came of speaking to each agent's Worker itself. Apart from agent_source and agent_work, so that it touches neither.
CREATE TABLE agent_contact (
  agent_id TEXT PRIMARY KEY REFERENCES agent_source (id),
  mark TEXT NOT NULL,
  tries INTEGER NOT NULL,
  tried_at TEXT NOT NULL,
  answered_at TEXT,
  problem TEXT,
  repairs INTEGER NOT NULL,
  try TEXT,
  runtime TEXT
) STRICT, WITHOUT ROWID;
