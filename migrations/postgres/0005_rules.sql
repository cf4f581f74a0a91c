-- The rules of the contract, whoever writes. Everything is checked in triggers and not in CHECK constraints, because a
-- failing CHECK prints the row. No message repeats a value. Codes are SQLSTATEs and stand in the message as well.

CREATE FUNCTION talon.refuse(code text, what text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = 'TALON-' || code || ' ' || what;
END
$$;

-- Readable by nobody but through this answer, so that writers need no right on the controller's tables.
CREATE FUNCTION talon.bucket_may_exist(agent uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = talon, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM agent_resource WHERE agent_id = agent AND kind = 'r2_bucket' AND state <> 'absent'
    )
$$;

-- What an agent is called and whose it is; checked once, since neither changes.
CREATE FUNCTION talon.check_identity(name text, owner text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF name IS NULL OR name !~ '\A[a-z0-9](-?[a-z0-9])+\Z' OR length(name) NOT BETWEEN 3 AND 30 THEN
        PERFORM talon.refuse('OC020', 'name must have 3 to 30 lower-case letters, digits and single inner hyphens');
    ELSIF name IN ('admin', 'administrator', 'agent', 'agents', 'api', 'app', 'auth', 'dashboard', 'docs', 'health',
        'help', 'hub', 'internal', 'login', 'mail', 'metrics', 'openclaw', 'root', 'router', 'security', 'societyai',
        'static', 'status', 'support', 'system', 'talon', 'test', 'www') THEN
        PERFORM talon.refuse('OC020', 'name must not be a reserved one');
    ELSIF owner IS NULL OR owner !~ '\A[a-z0-9._-]{1,64}\Z' THEN
        PERFORM talon.refuse('OC020', 'owner must have 1 to 64 characters of a-z, 0-9, dot, underscore and hyphen');
    END IF;
END
$$;

-- Whether the columns that people write can be stored at all. What they mean is validated by the controller.
CREATE FUNCTION talon.check_spec(r talon.agent_source) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF r.persona IS NULL OR octet_length(r.persona) NOT BETWEEN 1 AND 65536 THEN
        PERFORM talon.refuse('OC020', 'persona must have 1 to 65536 bytes');
    ELSIF r.instructions IS NULL OR octet_length(r.instructions) NOT BETWEEN 1 AND 262144 THEN
        PERFORM talon.refuse('OC020', 'instructions must have 1 to 262144 bytes');
    ELSIF r.model IS NULL OR octet_length(r.model) NOT BETWEEN 1 AND 200 THEN
        PERFORM talon.refuse('OC020', 'model must have 1 to 200 bytes');
    ELSIF greatest(octet_length(r.display_name), octet_length(r.description), octet_length(r.display_description),
        octet_length(r.wallet_address), octet_length(r.avatar_url), octet_length(r.cover_url)) > 16384 THEN
        PERFORM talon.refuse('OC020', 'texts must have at most 16384 bytes');
    ELSIF r.visibility IS NULL OR r.visibility NOT IN ('private', 'public') THEN
        PERFORM talon.refuse('OC020', 'visibility must be private or public');
    ELSIF r.deletion_policy IS NULL OR r.deletion_policy NOT IN ('delete', 'keep_bucket') THEN
        PERFORM talon.refuse('OC020', 'deletion_policy must be delete or keep_bucket');
    ELSIF r.skills IS NULL OR jsonb_typeof(r.skills) <> 'array' OR octet_length(r.skills::text) > 262144 THEN
        PERFORM talon.refuse('OC020', 'skills must be a JSON array of at most 262144 bytes');
    ELSIF r.theme IS NOT NULL AND (jsonb_typeof(r.theme) <> 'object' OR octet_length(r.theme::text) > 262144) THEN
        PERFORM talon.refuse('OC020', 'theme must be a JSON object of at most 262144 bytes');
    ELSIF r.r2 IS NULL OR jsonb_typeof(r.r2) <> 'object' OR octet_length(r.r2::text) > 262144 THEN
        PERFORM talon.refuse('OC020', 'r2 must be a JSON object of at most 262144 bytes');
    END IF;
END
$$;

-- Whether the spec of two versions of a row differs; this is what moves the generation.
CREATE FUNCTION talon.spec_differs(a talon.agent_source, b talon.agent_source) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (a.persona, a.instructions, a.display_name, a.description, a.display_description, a.model, a.keep_alive,
            a.visibility, a.api_key_refs, a.secrets_version, a.skills, a.wallet_address, a.theme, a.avatar_url,
            a.cover_url, a.r2, a.suspend, a.deletion_policy, a.deletion_protected, a.deletion_requested_at)
        IS DISTINCT FROM
           (b.persona, b.instructions, b.display_name, b.description, b.display_description, b.model, b.keep_alive,
            b.visibility, b.api_key_refs, b.secrets_version, b.skills, b.wallet_address, b.theme, b.avatar_url,
            b.cover_url, b.r2, b.suspend, b.deletion_policy, b.deletion_protected, b.deletion_requested_at)
$$;

CREATE FUNCTION talon.guard_references(r INOUT talon.agent_source, kept text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cleaned record;
BEGIN
    SELECT * INTO cleaned FROM talon.clean_references(r.api_key_refs, kept);
    r.api_key_refs := cleaned.clean;
    IF cleaned.discarded AND cleaned.clean IS DISTINCT FROM kept THEN
        r.secret_ref_discarded_at := clock_timestamp();
        -- NOTICE reaches the client and not the server's log.
        RAISE NOTICE 'TALON-OC010 api_key_refs: something was not a reference (env:NAME, file:NAME, vault:path#field) and was discarded. If you pasted a key, treat it as exposed and rotate it.';
    END IF;
END
$$;

CREATE FUNCTION talon.guard_insert() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.id IS NOT NULL OR NEW.generation IS DISTINCT FROM 1 OR NEW.observed_generation IS DISTINCT FROM 0
        OR NEW.deployment_status IS DISTINCT FROM 'pending' OR NEW.created_at IS DISTINCT FROM now()
        OR NEW.updated_at IS DISTINCT FROM now() OR NEW.has_anthropic_key IS DISTINCT FROM false
        OR NEW.has_openai_key IS DISTINCT FROM false
        OR num_nonnulls(NEW.deployment_error, NEW.worker_url, NEW.worker_name, NEW.r2_bucket, NEW.r2_token_id,
            NEW.auth_token_hash, NEW.identity_md, NEW.identity_sha256, NEW.first_deployed_at, NEW.cloudflare_account,
            NEW.deleted_at, NEW.deletion_requested_at, NEW.secret_ref_discarded_at) > 0 THEN
        PERFORM talon.refuse('OC007', 'ids, generation and status columns are written by Talon. Leave them out of the INSERT.');
    END IF;
    NEW := talon.guard_references(NEW, NULL);
    PERFORM talon.check_identity(NEW.name, NEW.owner);
    PERFORM talon.check_spec(NEW);
    NEW.id := gen_random_uuid();
    RETURN NEW;
END
$$;

CREATE FUNCTION talon.guard_update() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    differs boolean;
BEGIN
    IF NEW.api_key_refs IS DISTINCT FROM OLD.api_key_refs THEN
        NEW := talon.guard_references(NEW, OLD.api_key_refs);
    END IF;
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    IF (NEW.id, NEW.name, NEW.owner) IS DISTINCT FROM (OLD.id, OLD.name, OLD.owner) THEN
        PERFORM talon.refuse('OC001', 'id, name and owner never change. Create a new agent instead.');
    END IF;
    IF (NEW.generation, NEW.created_at, NEW.updated_at) IS DISTINCT FROM (OLD.generation, OLD.created_at, OLD.updated_at) THEN
        PERFORM talon.refuse('OC009', 'generation, created_at and updated_at are written by the database');
    END IF;
    IF OLD.deletion_requested_at IS NOT NULL AND NEW.deletion_requested_at IS DISTINCT FROM OLD.deletion_requested_at THEN
        PERFORM talon.refuse('OC003', 'deletion cannot be undone or re-timed');
    END IF;
    IF NEW.deleted_at IS DISTINCT FROM OLD.deleted_at
        AND (OLD.deleted_at IS NOT NULL OR NEW.deletion_requested_at IS NULL) THEN
        PERFORM talon.refuse('OC016',
            'only an agent whose deletion was requested is archived, and an archived one is never revived');
    END IF;
    IF OLD.first_deployed_at IS NOT NULL AND NEW.first_deployed_at IS DISTINCT FROM OLD.first_deployed_at THEN
        PERFORM talon.refuse('OC008', 'first_deployed_at is set once');
    END IF;
    IF OLD.first_deployed_at IS NOT NULL
        AND (NEW.identity_md, NEW.identity_sha256) IS DISTINCT FROM (OLD.identity_md, OLD.identity_sha256) THEN
        PERFORM talon.refuse('OC014', 'identity_md is immutable after deployment');
    END IF;

    differs := talon.spec_differs(OLD, NEW);
    IF differs THEN
        IF OLD.deletion_requested_at IS NOT NULL OR OLD.deleted_at IS NOT NULL THEN
            PERFORM talon.refuse('OC004', 'the agent is being deleted; its spec is frozen');
        END IF;
        IF OLD.first_deployed_at IS NOT NULL
            AND (NEW.persona IS DISTINCT FROM OLD.persona OR NEW.instructions IS DISTINCT FROM OLD.instructions) THEN
            PERFORM talon.refuse('OC002',
                'persona and instructions are immutable after deployment. Create a new agent, or leave them as they are.');
        END IF;
        IF NEW.r2 IS DISTINCT FROM OLD.r2 AND talon.bucket_may_exist(OLD.id) THEN
            PERFORM talon.refuse('OC013', 'r2 is fixed once the bucket exists or is being made. Create a new agent instead.');
        END IF;
        IF NEW.deletion_requested_at IS NOT NULL AND OLD.deletion_requested_at IS NULL THEN
            IF NEW.deletion_protected THEN
                PERFORM talon.refuse('OC012',
                    'the agent is protected from deletion. Set deletion_protected to false first.');
            END IF;
            NEW.deletion_requested_at := clock_timestamp();
        END IF;
        PERFORM talon.check_spec(NEW);
        NEW.generation := OLD.generation + 1;
        NEW.updated_at := clock_timestamp();
    END IF;
    IF NEW.reconcile_requested_at IS DISTINCT FROM OLD.reconcile_requested_at
        AND NEW.reconcile_requested_at IS NOT NULL THEN
        NEW.reconcile_requested_at := clock_timestamp();
    END IF;
    IF NEW.deployment_status IS NULL
        OR NEW.deployment_status NOT IN ('pending', 'deploying', 'deployed', 'failed', 'deleting') THEN
        PERFORM talon.refuse('OC020', 'deployment_status must be pending, deploying, deployed, failed or deleting');
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER guard_insert BEFORE INSERT ON talon.agent_source
    FOR EACH ROW EXECUTE FUNCTION talon.guard_insert();
CREATE TRIGGER guard_update BEFORE UPDATE ON talon.agent_source
    FOR EACH ROW EXECUTE FUNCTION talon.guard_update();

-- What follows from a change: a pass is due, the feed and the audit log have an entry, listeners get a hint. Runs with
-- the owner's rights, because writers have none on these tables.
CREATE FUNCTION talon.follow_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO agent_work (agent_id, next_due_at) VALUES (NEW.id, clock_timestamp());
        INSERT INTO agent_change (agent_id, kind) VALUES (NEW.id, 'spec');
        INSERT INTO audit_log (actor, action, agent_id) VALUES (session_user, 'insert', NEW.id);
        PERFORM pg_notify('talon', NEW.id::text);
        RETURN NULL;
    END IF;

    IF NEW.generation <> OLD.generation OR NEW.reconcile_requested_at IS DISTINCT FROM OLD.reconcile_requested_at THEN
        UPDATE agent_work SET next_due_at = least(next_due_at, clock_timestamp()) WHERE agent_id = NEW.id;
        INSERT INTO agent_change (agent_id, kind) VALUES (NEW.id, 'spec');
        PERFORM pg_notify('talon', NEW.id::text);
    END IF;
    IF NEW.generation <> OLD.generation THEN
        INSERT INTO audit_log (actor, action, agent_id) VALUES (
            session_user,
            CASE WHEN NEW.deletion_requested_at IS DISTINCT FROM OLD.deletion_requested_at THEN 'delete' ELSE 'update' END,
            NEW.id
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

CREATE TRIGGER follow_change AFTER INSERT OR UPDATE ON talon.agent_source
    FOR EACH ROW EXECUTE FUNCTION talon.follow_change();

-- DELETE becomes a request.
CREATE FUNCTION talon.request_deletion() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    IF OLD.deletion_requested_at IS NULL AND OLD.deleted_at IS NULL THEN
        UPDATE agent_source SET deletion_requested_at = clock_timestamp() WHERE id = OLD.id;
        RAISE NOTICE 'Deletion was requested. The row stays until everything at Cloudflare is cleaned up, so DELETE reports 0 rows.';
    ELSE
        RAISE NOTICE 'Deletion was requested before. The row stays for the record, so DELETE reports 0 rows.';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER request_deletion BEFORE DELETE ON talon.agent_source
    FOR EACH ROW EXECUTE FUNCTION talon.request_deletion();

CREATE FUNCTION talon.refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM talon.refuse('OC005', 'TRUNCATE is not allowed. Use DELETE FROM agent_source to ask for deletion.');
    RETURN NULL;
END
$$;

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON talon.agent_source
    EXECUTE FUNCTION talon.refuse_truncate();
