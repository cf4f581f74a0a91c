-- What the HTTP API keeps: its tokens, which requests it has answered before, and who changed what.

-- Never a token.
CREATE TABLE api_token (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  label TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'secret-writer', 'admin')),
  owner TEXT,
  sha256 TEXT NOT NULL UNIQUE,
  created_at TEXT NOT NULL,
  expires_at TEXT,
  last_used_at TEXT,
  revoked_at TEXT
) STRICT;

-- Requests that may come twice: a keyed hash of what was asked and how it ended, never a body. Without status: under way.
CREATE TABLE api_attempt (
  caller TEXT NOT NULL,
  key TEXT NOT NULL,
  request TEXT NOT NULL,
  at TEXT NOT NULL,
  status INTEGER,
  agent TEXT,
  PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_attempt_at ON api_attempt (at);

-- In whose name the transaction under way writes; empty otherwise. SQLite knows no users: who writes by SQL is 'sql'.
CREATE TABLE talon_actor (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  name TEXT NOT NULL DEFAULT 'sql',
  source TEXT
) STRICT;
INSERT INTO talon_actor (one) VALUES (1);

-- Who, from where, what, when, and which fields: never a value. `object` is the agent's name, or what else was changed.
CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  actor TEXT NOT NULL,
  source TEXT,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  fields TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE INDEX audit_log_at ON audit_log (at);

CREATE TRIGGER audit_stands BEFORE UPDATE ON audit_log BEGIN
  SELECT RAISE(ABORT, 'TALON-OC017 the audit log is append-only');
END;

-- What is younger than a week stays, whatever is asked.
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit_log
WHEN OLD.at > strftime('%Y-%m-%dT%H:%M:%fZ','now','-7 days')
BEGIN
  SELECT RAISE(ABORT, 'TALON-OC017 the audit log is append-only');
END;

CREATE TRIGGER audit_insert AFTER INSERT ON agent_source BEGIN
  INSERT INTO audit_log (at, actor, source, action, object)
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now'), a.name, a.source, 'insert', NEW.name FROM talon_actor a;
END;

CREATE TRIGGER audit_update AFTER UPDATE OF
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
  INSERT INTO audit_log (at, actor, source, action, object, fields)
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now'), a.name, a.source,
    CASE WHEN NEW.deletion_requested_at IS NOT OLD.deletion_requested_at THEN 'delete' ELSE 'update' END,
    NEW.name,
    (SELECT json_group_array(f) FROM (
      SELECT 'api_key_refs' AS f WHERE NEW.api_key_refs IS NOT OLD.api_key_refs
      UNION ALL SELECT 'avatar_url' WHERE NEW.avatar_url IS NOT OLD.avatar_url
      UNION ALL SELECT 'cover_url' WHERE NEW.cover_url IS NOT OLD.cover_url
      UNION ALL SELECT 'deletion_policy' WHERE NEW.deletion_policy IS NOT OLD.deletion_policy
      UNION ALL SELECT 'deletion_protected' WHERE NEW.deletion_protected IS NOT OLD.deletion_protected
      UNION ALL SELECT 'description' WHERE NEW.description IS NOT OLD.description
      UNION ALL SELECT 'display_description' WHERE NEW.display_description IS NOT OLD.display_description
      UNION ALL SELECT 'display_name' WHERE NEW.display_name IS NOT OLD.display_name
      UNION ALL SELECT 'instructions' WHERE NEW.instructions IS NOT OLD.instructions
      UNION ALL SELECT 'keep_alive' WHERE NEW.keep_alive IS NOT OLD.keep_alive
      UNION ALL SELECT 'model' WHERE NEW.model IS NOT OLD.model
      UNION ALL SELECT 'persona' WHERE NEW.persona IS NOT OLD.persona
      UNION ALL SELECT 'r2' WHERE NEW.r2 IS NOT OLD.r2
      UNION ALL SELECT 'secrets_version' WHERE NEW.secrets_version IS NOT OLD.secrets_version
      UNION ALL SELECT 'skills' WHERE NEW.skills IS NOT OLD.skills
      UNION ALL SELECT 'suspend' WHERE NEW.suspend IS NOT OLD.suspend
      UNION ALL SELECT 'theme' WHERE NEW.theme IS NOT OLD.theme
      UNION ALL SELECT 'visibility' WHERE NEW.visibility IS NOT OLD.visibility
      UNION ALL SELECT 'wallet_address' WHERE NEW.wallet_address IS NOT OLD.wallet_address))
  FROM talon_actor a;
END;
