-- Desired state and status of agents, and the controller's scheduling state beside it.
-- Column ownership: people write the spec, the controller the status, the database the rest. The schema itself is made
-- before the first migration, by whoever has the right to.
CREATE TABLE talon.agent_source (
    -- No default: a value given by hand must be told from an absent one. The guard makes it.
    id                      uuid PRIMARY KEY,
    name                    text NOT NULL,
    owner                   text NOT NULL DEFAULT 'default',
    generation              bigint NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),

    -- spec
    display_name            text,
    description             text,
    display_description     text,
    model                   text NOT NULL,
    keep_alive              boolean NOT NULL DEFAULT false,
    visibility              text NOT NULL DEFAULT 'private',
    -- text, not jsonb: bad JSON must reach the guard, which never repeats it, and not jsonb's input function, which does
    api_key_refs            text NOT NULL DEFAULT '{}',
    secrets_version         bigint NOT NULL DEFAULT 1,
    skills                  jsonb NOT NULL DEFAULT '[]',
    wallet_address          text,
    theme                   jsonb,
    avatar_url              text,
    cover_url               text,
    r2                      jsonb NOT NULL DEFAULT '{}',
    suspend                 boolean NOT NULL DEFAULT false,
    deletion_policy         text NOT NULL DEFAULT 'delete',
    deletion_protected      boolean NOT NULL DEFAULT false,
    deletion_requested_at   timestamptz,
    reconcile_requested_at  timestamptz,
    secret_ref_discarded_at timestamptz,

    -- status
    deployment_status       text NOT NULL DEFAULT 'pending',
    deployment_error        text,
    observed_generation     bigint NOT NULL DEFAULT 0,
    worker_url              text,
    worker_name             text UNIQUE,
    r2_bucket               text UNIQUE,
    r2_token_id             text UNIQUE,
    auth_token_hash         text,
    has_anthropic_key       boolean NOT NULL DEFAULT false,
    has_openai_key          boolean NOT NULL DEFAULT false,
    identity_sha256         text,
    first_deployed_at       timestamptz,
    cloudflare_account      text,
    deleted_at              timestamptz,

    persona                 text NOT NULL,
    instructions            text NOT NULL,
    identity_md             text
) WITH (fillfactor = 80);

-- The name of an archived agent is free again.
CREATE UNIQUE INDEX agent_source_live_name ON talon.agent_source (name) WHERE deleted_at IS NULL;
CREATE INDEX agent_source_name ON talon.agent_source (name);
CREATE INDEX agent_source_deleting ON talon.agent_source (deletion_requested_at)
    WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL;

CREATE TABLE talon.agent_work (
    agent_id          uuid PRIMARY KEY REFERENCES talon.agent_source (id),
    next_due_at       timestamptz,
    failure_count     bigint NOT NULL DEFAULT 0,
    failing_since     timestamptz,
    throttled_seconds bigint NOT NULL DEFAULT 0,
    lease_owner       text,
    lease_epoch       bigint NOT NULL DEFAULT 0,
    lease_until       timestamptz,
    unclean_until     timestamptz,
    plan_report       jsonb
) WITH (fillfactor = 70);

CREATE INDEX agent_work_due ON talon.agent_work (next_due_at) WHERE next_due_at IS NOT NULL;
