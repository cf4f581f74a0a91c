-- What the HTTP API keeps: its tokens, which requests it has answered before, and in whose name it writes.

-- Never a token.
CREATE TABLE talon.api_token (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text NOT NULL UNIQUE DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 16),
    label        text NOT NULL,
    role         text NOT NULL CHECK (role IN ('viewer', 'operator', 'secret-writer', 'admin')),
    owner        text,
    sha256       text NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

-- Requests that may come twice: a keyed hash of what was asked and how it ended, never a body. Without status: under way.
CREATE TABLE talon.api_attempt (
    caller  text NOT NULL,
    key     text NOT NULL,
    request text NOT NULL,
    at      timestamptz NOT NULL,
    status  integer,
    agent   text,
    PRIMARY KEY (caller, key)
);
CREATE INDEX api_attempt_at ON talon.api_attempt (at);

-- actor stays the database's own user, whoever it acts for; principal is whom it names.
ALTER TABLE talon.audit_log
    ALTER COLUMN agent_id DROP NOT NULL,
    ADD COLUMN principal text,
    ADD COLUMN source text,
    ADD COLUMN object text NOT NULL DEFAULT '',
    ADD COLUMN fields text[] NOT NULL DEFAULT '{}';

-- Names of the spec's columns that differ, in alphabetical order; never a value.
CREATE FUNCTION talon.changed_fields(a talon.agent_source, b talon.agent_source) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(name ORDER BY name COLLATE "C"), '{}') FROM (VALUES
        ('api_key_refs', a.api_key_refs IS DISTINCT FROM b.api_key_refs),
        ('avatar_url', a.avatar_url IS DISTINCT FROM b.avatar_url),
        ('cover_url', a.cover_url IS DISTINCT FROM b.cover_url),
        ('deletion_policy', a.deletion_policy IS DISTINCT FROM b.deletion_policy),
        ('deletion_protected', a.deletion_protected IS DISTINCT FROM b.deletion_protected),
        ('description', a.description IS DISTINCT FROM b.description),
        ('display_description', a.display_description IS DISTINCT FROM b.display_description),
        ('display_name', a.display_name IS DISTINCT FROM b.display_name),
        ('instructions', a.instructions IS DISTINCT FROM b.instructions),
        ('keep_alive', a.keep_alive IS DISTINCT FROM b.keep_alive),
        ('model', a.model IS DISTINCT FROM b.model),
        ('persona', a.persona IS DISTINCT FROM b.persona),
        ('r2', a.r2 IS DISTINCT FROM b.r2),
        ('secrets_version', a.secrets_version IS DISTINCT FROM b.secrets_version),
        ('skills', a.skills IS DISTINCT FROM b.skills),
        ('suspend', a.suspend IS DISTINCT FROM b.suspend),
        ('theme', a.theme IS DISTINCT FROM b.theme),
        ('visibility', a.visibility IS DISTINCT FROM b.visibility),
        ('wallet_address', a.wallet_address IS DISTINCT FROM b.wallet_address)
    ) AS field (name, differs) WHERE differs
$$;

-- An entry for a change of an agent, in the name that the transaction has set, if any.
CREATE FUNCTION talon.audit_agent(what text, agent uuid, name text, fields text[]) RETURNS void
    LANGUAGE sql SET search_path = talon, pg_temp AS $$
    INSERT INTO audit_log (actor, principal, source, action, agent_id, object, fields)
    VALUES (session_user, nullif(current_setting('talon.actor', true), ''),
            nullif(current_setting('talon.source', true), ''), what, agent, name, fields)
$$;

CREATE OR REPLACE FUNCTION talon.follow_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO agent_work (agent_id, next_due_at) VALUES (NEW.id, clock_timestamp());
        INSERT INTO agent_change (agent_id, kind) VALUES (NEW.id, 'spec');
        PERFORM audit_agent('insert', NEW.id, NEW.name, '{}');
        PERFORM pg_notify('talon', NEW.id::text);
        RETURN NULL;
    END IF;

    IF NEW.generation <> OLD.generation OR NEW.reconcile_requested_at IS DISTINCT FROM OLD.reconcile_requested_at THEN
        UPDATE agent_work SET next_due_at = least(next_due_at, clock_timestamp()) WHERE agent_id = NEW.id;
        INSERT INTO agent_change (agent_id, kind) VALUES (NEW.id, 'spec');
        PERFORM pg_notify('talon', NEW.id::text);
    END IF;
    IF NEW.generation <> OLD.generation THEN
        PERFORM audit_agent(
            CASE WHEN NEW.deletion_requested_at IS DISTINCT FROM OLD.deletion_requested_at THEN 'delete' ELSE 'update' END,
            NEW.id, NEW.name, changed_fields(OLD, NEW)
        );
    END IF;
    IF (NEW.deployment_status, NEW.deployment_error, NEW.observed_generation, NEW.worker_url, NEW.worker_name,
        NEW.r2_bucket, NEW.r2_token_id, NEW.auth_token_hash, NEW.has_anthropic_key, NEW.has_openai_key,
        NEW.identity_md, NEW.identity_sha256, NEW.first_deployed_at, NEW.cloudflare_account, NEW.deleted_at)
        IS DISTINCT FROM
       (OLD.deployment_status, OLD.deployment_error, OLD.observed_generation, OLD.worker_url, OLD.worker_name,
        OLD.r2_bucket, OLD.r2_token_id, OLD.auth_token_hash, OLD.has_anthropic_key, OLD.has_openai_key,
        OLD.identity_md, OLD.identity_sha256, OLD.first_deployed_at, OLD.cloudflare_account, OLD.deleted_at) THEN
        INSERT INTO agent_change (agent_id, kind) VALUES (NEW.id, 'status');
    END IF;
    RETURN NULL;
END
$$;
