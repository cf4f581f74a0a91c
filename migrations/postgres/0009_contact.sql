-- What came of speaking to each agent's Worker itself. Apart from agent_source and agent_work, so that it touches neither.
CREATE TABLE talon.agent_contact (
    agent_id    uuid PRIMARY KEY REFERENCES talon.agent_source (id),
    mark        text NOT NULL,
    tries       bigint NOT NULL,
    tried_at    timestamptz NOT NULL,
    answered_at timestamptz,
    problem     text,
    repairs     bigint NOT NULL,
    try         text,
    runtime     text
) WITH (fillfactor = 70);
