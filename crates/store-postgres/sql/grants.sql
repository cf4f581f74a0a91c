-- Who may do what. Idempotent; run after every migration by the owner of the schema, and empty where the roles are not.
DO $$
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('talon_controller', 'talon_writer', 'talon_reader')) < 3 THEN
        RETURN;
    END IF;

    GRANT USAGE ON SCHEMA talon TO talon_controller, talon_writer, talon_reader;

    -- Views for people.
    GRANT SELECT ON talon.agents, talon.agents_stuck, talon.cleanup, talon.leftovers, talon.recent_events
        TO talon_controller, talon_writer, talon_reader;

    -- The controller: everything of its own, nothing of the spec.
    GRANT SELECT ON ALL TABLES IN SCHEMA talon TO talon_controller;
    GRANT UPDATE (deployment_status, deployment_error, observed_generation, worker_url, worker_name, r2_bucket,
        r2_token_id, auth_token_hash, has_anthropic_key, has_openai_key, identity_md, identity_sha256,
        first_deployed_at, cloudflare_account, deleted_at) ON talon.agent_source TO talon_controller;
    GRANT UPDATE ON talon.agent_work TO talon_controller;
    GRANT INSERT, UPDATE, DELETE ON talon.agent_resource, talon.agent_condition, talon.agent_secret,
        talon.agent_auth_token, talon.agent_card, talon.agent_event, talon.install, talon.controller_hold,
        talon.controller_lease, talon.api_budget, talon.api_pause, talon.task, talon.agent_presence,
        talon.agent_api_key, talon.hosted_agent, talon.agent_contact, talon.skill_embedding, talon.api_token,
        talon.api_attempt TO talon_controller;
    -- In whose name (principal) is the API's to say; whose login it was (actor) and when (at) is not.
    REVOKE INSERT ON talon.audit_log FROM talon_controller;
    GRANT INSERT (principal, source, action, agent_id, object, fields) ON talon.audit_log TO talon_controller;
    GRANT UPDATE (seq), DELETE ON talon.agent_change TO talon_controller;
    GRANT UPDATE (seq) ON talon.agent_change_head TO talon_controller;
    GRANT EXECUTE ON FUNCTION talon.prune_audit_log(interval) TO talon_controller;

    -- Writers: the spec.
    GRANT SELECT (id, name, owner, generation, created_at, updated_at, display_name, description, display_description,
        model, keep_alive, visibility, api_key_refs, secrets_version, skills, wallet_address, theme, avatar_url,
        cover_url, r2, suspend, deletion_policy, deletion_protected, deletion_requested_at, reconcile_requested_at,
        secret_ref_discarded_at, deployment_status, deployment_error, observed_generation, worker_url, worker_name,
        r2_bucket, r2_token_id, has_anthropic_key, has_openai_key, identity_sha256, first_deployed_at,
        cloudflare_account, deleted_at, persona, instructions, identity_md) ON talon.agent_source TO talon_writer;
    GRANT INSERT (name, owner, display_name, description, display_description, model, keep_alive, visibility,
        api_key_refs, secrets_version, skills, wallet_address, theme, avatar_url, cover_url, r2, suspend,
        deletion_policy, deletion_protected, persona, instructions) ON talon.agent_source TO talon_writer;
    GRANT UPDATE (display_name, description, display_description, model, keep_alive, visibility, api_key_refs,
        secrets_version, skills, wallet_address, theme, avatar_url, cover_url, r2, suspend, deletion_policy,
        deletion_protected, persona, instructions, deletion_requested_at, reconcile_requested_at)
        ON talon.agent_source TO talon_writer;
    GRANT DELETE ON talon.agent_source TO talon_writer;
    GRANT SELECT ON talon.agent_work, talon.agent_resource, talon.agent_condition, talon.agent_secret,
        talon.agent_event, talon.controller_hold, talon.task, talon.hosted_agent, talon.agent_contact,
        talon._sqlx_migrations TO talon_writer;
    GRANT SELECT (agent_id, connected, connection_id, hub, runtime, connected_at, last_seen, disconnected_at)
        ON talon.agent_presence TO talon_writer;
    GRANT SELECT (seq, id, owner, label, created_at, expires_at, revoked_at) ON talon.agent_api_key TO talon_writer;
END
$$;
