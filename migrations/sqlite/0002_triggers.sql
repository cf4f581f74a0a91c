-- The rules of the contract. Every refusal has a stable code and never repeats a value.

-- A raw key where a reference belongs. The rule stands once, on a view that has no rows: an INSERT into it stores nothing
-- and only asks the rule. (A CHECK cannot: it may not look into JSON by a subquery.) The triggers on agent_source ask
-- BEFORE, so that nothing reaches the file or the write-ahead log.
CREATE VIEW talon_references (refs) AS SELECT CAST(NULL AS TEXT) WHERE 0;
CREATE TRIGGER refs_only INSTEAD OF INSERT ON talon_references WHEN
  NEW.refs IS NOT '{}' AND (
    length(CAST(NEW.refs AS BLOB)) > 4096
    -- ASCII without escapes: what stands in the text is what the keys and values are.
    OR length(CAST(NEW.refs AS BLOB)) <> length(NEW.refs)
    OR instr(NEW.refs, char(92)) > 0
    OR NOT json_valid(NEW.refs)
    OR json_type(CASE WHEN json_valid(NEW.refs) THEN NEW.refs ELSE '[]' END) <> 'object'
    OR (SELECT count(*) <> count(DISTINCT key) FROM json_each(CASE WHEN json_valid(NEW.refs) THEN NEW.refs ELSE '{}' END))
    OR EXISTS (
      SELECT 1 FROM json_each(CASE WHEN json_valid(NEW.refs) THEN NEW.refs ELSE '{}' END)
      WHERE type <> 'text' OR length(key) NOT BETWEEN 1 AND 32 OR key GLOB '*[^a-z0-9_]*' OR key NOT GLOB '[a-z]*'
        OR EXISTS (SELECT 1 FROM talon_key_prefix k WHERE substr(key, 1, length(k.prefix)) = k.prefix)
        OR NOT CASE
          WHEN value = 'discarded' THEN 1
          WHEN substr(value, 1, 4) = 'env:' THEN
            length(value) BETWEEN 5 AND 132 AND substr(value, 5) GLOB '[A-Z]*' AND substr(value, 5) NOT GLOB '*[^A-Z0-9_]*'
            AND NOT EXISTS (SELECT 1 FROM talon_key_prefix k WHERE substr(substr(value, 5), 1, length(k.prefix)) = k.prefix)
          WHEN substr(value, 1, 5) = 'file:' THEN
            length(value) BETWEEN 6 AND 133 AND substr(value, 6) NOT GLOB '*[^A-Za-z0-9._-]*'
            AND substr(value, 6) NOT IN ('.', '..')
            AND NOT EXISTS (SELECT 1 FROM talon_key_prefix k WHERE substr(substr(value, 6), 1, length(k.prefix)) = k.prefix)
          WHEN substr(value, 1, 6) = 'vault:' THEN
            instr(value, '#') BETWEEN 8 AND 262 AND length(value) - instr(value, '#') BETWEEN 1 AND 64
            AND substr(value, 7, instr(value, '#') - 7) NOT GLOB '*[^A-Za-z0-9/_.-]*'
            AND substr(value, instr(value, '#') + 1) NOT GLOB '*[^A-Za-z0-9_.-]*'
            AND NOT EXISTS (SELECT 1 FROM talon_key_prefix k WHERE substr(substr(value, 7), 1, length(k.prefix)) = k.prefix)
            AND NOT EXISTS (SELECT 1 FROM talon_key_prefix k WHERE substr(substr(value, instr(value, '#') + 1), 1, length(k.prefix)) = k.prefix)
          ELSE 0 END))
BEGIN
  SELECT RAISE(ABORT, 'TALON-OC010 api_key_refs holds something that is not a reference (env:NAME, file:NAME, vault:path#field). Nothing was stored. If you pasted a key, treat it as exposed and rotate it.');
END;

CREATE TRIGGER refs_insert BEFORE INSERT ON agent_source BEGIN
  INSERT INTO talon_references (refs) VALUES (NEW.api_key_refs);
END;

CREATE TRIGGER refs_update BEFORE UPDATE OF api_key_refs ON agent_source WHEN NEW.api_key_refs IS NOT OLD.api_key_refs BEGIN
  INSERT INTO talon_references (refs) VALUES (NEW.api_key_refs);
END;

-- 'now' is one moment for a whole statement: what its defaults made is recognised, and anything else was given by hand.
CREATE TRIGGER guard_insert BEFORE INSERT ON agent_source WHEN
  substr(NEW.id, 1, 8) || substr(NEW.id, 10, 4) IS NOT printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER))
  OR length(NEW.id) IS NOT 36 OR NEW.id NOT GLOB '????????-????-7???-[89ab]???-????????????' OR NEW.id GLOB '*[^0-9a-f-]*'
  OR NEW.generation IS NOT 1 OR NEW.observed_generation IS NOT 0 OR NEW.deployment_status IS NOT 'pending'
  OR NEW.has_anthropic_key IS NOT 0 OR NEW.has_openai_key IS NOT 0
  OR NEW.created_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ','now')
  OR NEW.updated_at IS NOT strftime('%Y-%m-%dT%H:%M:%fZ','now')
  OR coalesce(NEW.deployment_error, NEW.worker_url, NEW.worker_name, NEW.r2_bucket, NEW.r2_token_id, NEW.auth_token_hash,
    NEW.identity_sha256, NEW.identity_md, NEW.first_deployed_at, NEW.cloudflare_account, NEW.deleted_at,
    NEW.deletion_requested_at, NEW.reconcile_requested_at, NEW.secret_ref_discarded_at) IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'TALON-OC007 ids, generation and status columns are written by Talon. Leave them out of the INSERT.');
END;

-- REPLACE has deleted the old row by now, without a word; the registry remembers it.
CREATE TRIGGER register AFTER INSERT ON agent_source BEGIN
  SELECT RAISE(ABORT, 'TALON-OC006 this would replace a living agent. Use INSERT ... ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE.')
  WHERE EXISTS (SELECT 1 FROM agent_registry WHERE seq = NEW.seq)
    OR EXISTS (SELECT 1 FROM agent_registry WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM agent_registry WHERE live_name = NEW.name);
  INSERT INTO agent_registry (seq, id, live_name) VALUES (NEW.seq, NEW.id, NEW.name);
  INSERT INTO agent_work (agent_id, next_due_at) VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%fZ','now'));
  INSERT INTO agent_change (agent_id, kind, at) VALUES (NEW.id, 'spec', strftime('%Y-%m-%dT%H:%M:%fZ','now'));
END;

CREATE TRIGGER registry_keeps BEFORE DELETE ON agent_registry BEGIN
  SELECT RAISE(ABORT, 'TALON-OC011 the registry of agents is append-only');
END;

CREATE TRIGGER registry_stands BEFORE UPDATE ON agent_registry
WHEN NEW.seq IS NOT OLD.seq OR NEW.id IS NOT OLD.id OR NEW.live_name IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'TALON-OC011 the registry of agents is append-only');
END;

-- No list of columns: seq can be named rowid as well.
CREATE TRIGGER guard_update BEFORE UPDATE ON agent_source BEGIN
  SELECT RAISE(ABORT, 'TALON-OC001 id, name and owner never change. Create a new agent instead.')
  WHERE NEW.seq IS NOT OLD.seq OR NEW.id IS NOT OLD.id OR NEW.name IS NOT OLD.name OR NEW.owner IS NOT OLD.owner;

  SELECT RAISE(ABORT, 'TALON-OC009 generation, created_at and updated_at are written by the database')
  WHERE (NEW.generation IS NOT OLD.generation OR NEW.created_at IS NOT OLD.created_at OR NEW.updated_at IS NOT OLD.updated_at)
    AND (SELECT writing FROM talon_internal) = 0;

  SELECT RAISE(ABORT, 'TALON-OC016 only an agent whose deletion was requested is archived, and an archived one is never revived')
  WHERE NEW.deleted_at IS NOT OLD.deleted_at AND (OLD.deleted_at IS NOT NULL OR OLD.deletion_requested_at IS NULL);

  SELECT RAISE(ABORT, 'TALON-OC003 deletion cannot be undone or re-timed')
  WHERE OLD.deletion_requested_at IS NOT NULL AND NEW.deletion_requested_at IS NOT OLD.deletion_requested_at
    AND (SELECT writing FROM talon_internal) = 0;

  SELECT RAISE(ABORT, 'TALON-OC012 the agent is protected from deletion. Set deletion_protected to false first.')
  WHERE OLD.deletion_requested_at IS NULL AND NEW.deletion_requested_at IS NOT NULL AND NEW.deletion_protected = 1;

  SELECT RAISE(ABORT, 'TALON-OC004 the agent is being deleted; its spec is frozen')
  WHERE OLD.deletion_requested_at IS NOT NULL AND (
    NEW.persona IS NOT OLD.persona OR NEW.instructions IS NOT OLD.instructions
    OR NEW.display_name IS NOT OLD.display_name OR NEW.description IS NOT OLD.description
    OR NEW.display_description IS NOT OLD.display_description OR NEW.skills IS NOT OLD.skills
    OR NEW.model IS NOT OLD.model OR NEW.keep_alive IS NOT OLD.keep_alive
    OR NEW.visibility IS NOT OLD.visibility OR NEW.wallet_address IS NOT OLD.wallet_address
    OR NEW.theme IS NOT OLD.theme OR NEW.avatar_url IS NOT OLD.avatar_url OR NEW.cover_url IS NOT OLD.cover_url
    OR NEW.r2 IS NOT OLD.r2 OR NEW.api_key_refs IS NOT OLD.api_key_refs
    OR NEW.secrets_version IS NOT OLD.secrets_version OR NEW.suspend IS NOT OLD.suspend
    OR NEW.deletion_policy IS NOT OLD.deletion_policy OR NEW.deletion_protected IS NOT OLD.deletion_protected);

  SELECT RAISE(ABORT, 'TALON-OC002 persona and instructions are immutable after deployment. Create a new agent, or leave them as they are.')
  WHERE OLD.first_deployed_at IS NOT NULL
    AND (NEW.persona IS NOT OLD.persona OR NEW.instructions IS NOT OLD.instructions);

  SELECT RAISE(ABORT, 'TALON-OC014 identity_md is immutable after deployment')
  WHERE OLD.first_deployed_at IS NOT NULL
    AND (NEW.identity_md IS NOT OLD.identity_md OR NEW.identity_sha256 IS NOT OLD.identity_sha256);

  SELECT RAISE(ABORT, 'TALON-OC008 first_deployed_at is set once')
  WHERE OLD.first_deployed_at IS NOT NULL AND NEW.first_deployed_at IS NOT OLD.first_deployed_at;

  SELECT RAISE(ABORT, 'TALON-OC013 r2 is fixed once the bucket exists or is being made. Create a new agent instead.')
  WHERE NEW.r2 IS NOT OLD.r2
    AND EXISTS (SELECT 1 FROM agent_resource WHERE agent_id = OLD.id AND kind = 'r2_bucket' AND state <> 'absent');

  -- UPDATE OR REPLACE would delete the other agent's row.
  SELECT RAISE(ABORT, 'TALON-OC015 worker_name, r2_bucket and r2_token_id each belong to one agent only')
  WHERE (NEW.worker_name IS NOT OLD.worker_name
      AND EXISTS (SELECT 1 FROM agent_source WHERE worker_name = NEW.worker_name AND seq <> OLD.seq))
    OR (NEW.r2_bucket IS NOT OLD.r2_bucket
      AND EXISTS (SELECT 1 FROM agent_source WHERE r2_bucket = NEW.r2_bucket AND seq <> OLD.seq))
    OR (NEW.r2_token_id IS NOT OLD.r2_token_id
      AND EXISTS (SELECT 1 FROM agent_source WHERE r2_token_id = NEW.r2_token_id AND seq <> OLD.seq));
END;

-- A real change of the spec: one generation, due now, one entry in the feed. A request for deletion gets its time here.
CREATE TRIGGER spec_changed AFTER UPDATE OF
  persona, instructions, display_name, description, display_description, skills, model, keep_alive, visibility,
  wallet_address, theme, avatar_url, cover_url, r2, api_key_refs, secrets_version, suspend, deletion_policy,
  deletion_protected, deletion_requested_at ON agent_source
WHEN (SELECT writing FROM talon_internal) = 0 AND (
    NEW.persona IS NOT OLD.persona OR NEW.instructions IS NOT OLD.instructions
    OR NEW.display_name IS NOT OLD.display_name OR NEW.description IS NOT OLD.description
    OR NEW.display_description IS NOT OLD.display_description OR NEW.skills IS NOT OLD.skills
    OR NEW.model IS NOT OLD.model OR NEW.keep_alive IS NOT OLD.keep_alive
    OR NEW.visibility IS NOT OLD.visibility OR NEW.wallet_address IS NOT OLD.wallet_address
    OR NEW.theme IS NOT OLD.theme OR NEW.avatar_url IS NOT OLD.avatar_url OR NEW.cover_url IS NOT OLD.cover_url
    OR NEW.r2 IS NOT OLD.r2 OR NEW.api_key_refs IS NOT OLD.api_key_refs
    OR NEW.secrets_version IS NOT OLD.secrets_version OR NEW.suspend IS NOT OLD.suspend
    OR NEW.deletion_policy IS NOT OLD.deletion_policy OR NEW.deletion_protected IS NOT OLD.deletion_protected
    OR NEW.deletion_requested_at IS NOT OLD.deletion_requested_at)
BEGIN
  UPDATE talon_internal SET writing = 1;
  UPDATE agent_source
  SET generation = OLD.generation + 1,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ','now'),
    deletion_requested_at = CASE
      WHEN OLD.deletion_requested_at IS NULL AND NEW.deletion_requested_at IS NOT NULL
      THEN strftime('%Y-%m-%dT%H:%M:%fZ','now')
      ELSE NEW.deletion_requested_at END
  WHERE seq = NEW.seq;
  UPDATE talon_internal SET writing = 0;
  UPDATE agent_work SET next_due_at = strftime('%Y-%m-%dT%H:%M:%fZ','now') WHERE agent_id = NEW.id;
  INSERT INTO agent_change (agent_id, kind, at) VALUES (NEW.id, 'spec', strftime('%Y-%m-%dT%H:%M:%fZ','now'));
END;

-- Any text is a request; the time is put in its place and always moves, so that no request is taken for an earlier one.
CREATE TRIGGER reconcile_requested AFTER UPDATE OF reconcile_requested_at ON agent_source
WHEN NEW.reconcile_requested_at IS NOT OLD.reconcile_requested_at AND (SELECT writing FROM talon_internal) = 0
BEGIN
  UPDATE talon_internal SET writing = 1;
  UPDATE agent_source
  SET reconcile_requested_at = max(
    strftime('%Y-%m-%dT%H:%M:%fZ','now'),
    coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', OLD.reconcile_requested_at, '+0.001 seconds'), ''))
  WHERE seq = NEW.seq AND NEW.reconcile_requested_at IS NOT NULL;
  UPDATE talon_internal SET writing = 0;
  UPDATE agent_work SET next_due_at = strftime('%Y-%m-%dT%H:%M:%fZ','now')
  WHERE agent_id = NEW.id AND NEW.deleted_at IS NULL;
  INSERT INTO agent_change (agent_id, kind, at) VALUES (NEW.id, 'spec', strftime('%Y-%m-%dT%H:%M:%fZ','now'));
END;

CREATE TRIGGER status_changed AFTER UPDATE OF
  deployment_status, deployment_error, observed_generation, worker_url, worker_name, r2_bucket, r2_token_id,
  auth_token_hash, has_anthropic_key, has_openai_key, identity_sha256, first_deployed_at, cloudflare_account, deleted_at,
  identity_md ON agent_source
WHEN
    NEW.deployment_status IS NOT OLD.deployment_status OR NEW.deployment_error IS NOT OLD.deployment_error
    OR NEW.observed_generation IS NOT OLD.observed_generation OR NEW.worker_url IS NOT OLD.worker_url
    OR NEW.worker_name IS NOT OLD.worker_name OR NEW.r2_bucket IS NOT OLD.r2_bucket
    OR NEW.r2_token_id IS NOT OLD.r2_token_id OR NEW.auth_token_hash IS NOT OLD.auth_token_hash
    OR NEW.has_anthropic_key IS NOT OLD.has_anthropic_key OR NEW.has_openai_key IS NOT OLD.has_openai_key
    OR NEW.identity_sha256 IS NOT OLD.identity_sha256 OR NEW.first_deployed_at IS NOT OLD.first_deployed_at
    OR NEW.cloudflare_account IS NOT OLD.cloudflare_account OR NEW.deleted_at IS NOT OLD.deleted_at
    OR NEW.identity_md IS NOT OLD.identity_md
BEGIN
  INSERT INTO agent_change (agent_id, kind, at) VALUES (NEW.id, 'status', strftime('%Y-%m-%dT%H:%M:%fZ','now'));
END;

-- DELETE is a request; the row stays and the statement reports no row.
CREATE TRIGGER delete_is_a_request BEFORE DELETE ON agent_source BEGIN
  UPDATE agent_source SET deletion_requested_at = 'requested' WHERE seq = OLD.seq AND deletion_requested_at IS NULL;
  SELECT RAISE(IGNORE);
END;

-- Archived: the name is free again and nothing is due any more.
CREATE TRIGGER archived AFTER UPDATE OF deleted_at ON agent_source
WHEN NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL
BEGIN
  UPDATE agent_registry SET live_name = NULL WHERE seq = NEW.seq;
  UPDATE agent_work SET next_due_at = NULL WHERE agent_id = NEW.id;
END;
