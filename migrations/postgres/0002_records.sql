-- What the controller remembers of each thing it made for an agent. Never a secret value.
CREATE TABLE talon.agent_resource (
    agent_id       uuid NOT NULL REFERENCES talon.agent_source (id),
    kind           text NOT NULL,
    name           text NOT NULL,
    external_id    text,
    try            text,
    state          text NOT NULL,
    desired_hash   text,
    observed_hash  text,
    version_id     text,
    attempts       bigint NOT NULL DEFAULT 0,
    last_error     text,
    intent_at      timestamptz,
    settle_until   timestamptz,
    confirmed_at   timestamptz,
    cleanup_result text,
    cleanup_error  text,
    cleaned_at     timestamptz,
    PRIMARY KEY (agent_id, kind)
) WITH (fillfactor = 80);

CREATE INDEX agent_resource_leftover ON talon.agent_resource (agent_id) WHERE cleanup_result = 'failed';

CREATE TABLE talon.agent_condition (
    agent_id            uuid NOT NULL REFERENCES talon.agent_source (id),
    type                text NOT NULL,
    status              text NOT NULL,
    reason              text NOT NULL,
    message             text NOT NULL,
    observed_generation bigint NOT NULL,
    last_transition_at  timestamptz NOT NULL,
    PRIMARY KEY (agent_id, type)
) WITH (fillfactor = 80);

CREATE TABLE talon.agent_secret (
    agent_id    uuid NOT NULL REFERENCES talon.agent_source (id),
    name        text NOT NULL,
    provider    text,
    source      text NOT NULL,
    reference   text,
    state       text NOT NULL,
    fingerprint text,
    pushed_at   timestamptz,
    PRIMARY KEY (agent_id, name)
);

CREATE TABLE talon.agent_auth_token (
    agent_id   uuid NOT NULL REFERENCES talon.agent_source (id),
    try        text NOT NULL,
    sha256     text NOT NULL,
    state      text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (agent_id, try)
);
CREATE UNIQUE INDEX agent_auth_token_current ON talon.agent_auth_token (agent_id) WHERE state = 'current';

CREATE TABLE talon.agent_card (
    agent_id   uuid PRIMARY KEY REFERENCES talon.agent_source (id),
    hash       text NOT NULL,
    updated_at timestamptz NOT NULL,
    -- json, not jsonb: its hash is over the text as it was written
    card       json NOT NULL
);

-- Equal events fold into one row. agent_id is NULL for events of the controller itself.
CREATE TABLE talon.agent_event (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id uuid REFERENCES talon.agent_source (id),
    severity text NOT NULL,
    reason   text NOT NULL,
    object   text NOT NULL,
    message  text NOT NULL,
    count    bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
) WITH (fillfactor = 80);

-- Immutable because the database is UTF-8; convert_to alone cannot know.
CREATE FUNCTION talon.text_digest(t text) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(t, 'UTF8'))
$$;

-- The message enters as a digest: an index entry has a maximal size, a message has not. The nil UUID stands for "no
-- agent", since NULLs never conflict.
CREATE UNIQUE INDEX agent_event_fold ON talon.agent_event (
    coalesce(agent_id, '00000000-0000-0000-0000-000000000000'::uuid),
    severity, reason, object, talon.text_digest(message)
);
CREATE INDEX agent_event_last ON talon.agent_event (last_at);
CREATE INDEX agent_event_agent ON talon.agent_event (agent_id, last_at);
