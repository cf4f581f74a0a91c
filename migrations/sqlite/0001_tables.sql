-- Desired state and status: one row of agent_source is one agent. The controller's own tables stand beside it, so that
-- what it writes often neither bloats nor locks the rows of people. Times are texts made by SQL alone,
-- strftime('%Y-%m-%dT%H:%M:%fZ','now'), and therefore sort as times do.
--
-- This schema loads in SQLite 3.40. It has no grants to lean on: who can write the file can write everything; what the
-- triggers (0002) refuse, they refuse to everybody.

PRAGMA application_id = 1413565518;

CREATE TABLE agent_source (
  seq INTEGER PRIMARY KEY,
  -- A UUID of version 7. The trigger guard_insert can tell one given by hand by its time.
  id TEXT NOT NULL UNIQUE DEFAULT (
    substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)), 1, 8) || '-'
    || substr(printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)), 9, 4) || '-7'
    || substr(lower(hex(randomblob(2))), 2) || '-' || substr('89ab', 1 + (random() & 3), 1)
    || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))),
  name TEXT NOT NULL
    CONSTRAINT name_must_have_3_to_30_lower_case_letters_digits_and_single_inner_hyphens CHECK (
      length(CAST(name AS BLOB)) BETWEEN 3 AND 30 AND name NOT GLOB '*[^a-z0-9-]*' AND name NOT GLOB '-*'
      AND name NOT GLOB '*-' AND name NOT GLOB '*--*')
    CONSTRAINT name_must_not_be_a_reserved_one CHECK (name NOT IN ('admin', 'administrator', 'agent', 'agents', 'api', 'app', 'auth', 'dashboard', 'docs', 'health', 'help', 'hub', 'internal', 'login', 'mail', 'metrics', 'openclaw', 'root', 'router', 'security', 'societyai', 'static', 'status', 'support', 'system', 'talon', 'test', 'www')),
  owner TEXT NOT NULL DEFAULT 'default'
    CONSTRAINT owner_must_be_1_to_64_lower_case_letters_digits_dots_underscores_or_hyphens CHECK (
      length(CAST(owner AS BLOB)) BETWEEN 1 AND 64 AND owner NOT GLOB '*[^a-z0-9._-]*'),

  -- Written by the database.
  generation INTEGER NOT NULL DEFAULT 1,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),

  -- Written by the controller.
  deployment_status TEXT NOT NULL DEFAULT 'pending'
    CONSTRAINT deployment_status_must_be_a_known_word CHECK (
      deployment_status IN ('pending', 'deploying', 'deployed', 'failed', 'deleting')),
  deployment_error TEXT,
  observed_generation INTEGER NOT NULL DEFAULT 0,
  worker_url TEXT,
  worker_name TEXT UNIQUE,
  r2_bucket TEXT UNIQUE,
  r2_token_id TEXT UNIQUE,
  auth_token_hash TEXT,
  has_anthropic_key INTEGER NOT NULL DEFAULT 0
    CONSTRAINT has_anthropic_key_must_be_0_or_1 CHECK (has_anthropic_key IN (0, 1)),
  has_openai_key INTEGER NOT NULL DEFAULT 0
    CONSTRAINT has_openai_key_must_be_0_or_1 CHECK (has_openai_key IN (0, 1)),
  identity_sha256 TEXT,
  first_deployed_at TEXT
    CONSTRAINT first_deployed_at_must_be_a_time_like_2026_01_31T12_00_00_000Z CHECK (first_deployed_at IS NULL OR first_deployed_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z'),
  cloudflare_account TEXT,
  deleted_at TEXT
    CONSTRAINT deleted_at_must_be_a_time_like_2026_01_31T12_00_00_000Z CHECK (deleted_at IS NULL OR deleted_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z'),

  -- Written by people. The two requests take any text; the database puts the time in its place.
  deletion_requested_at TEXT,
  reconcile_requested_at TEXT,
  -- Always NULL here: SQLite refuses what is not a reference and discards nothing.
  secret_ref_discarded_at TEXT
    CONSTRAINT secret_ref_discarded_at_must_be_NULL_on_SQLite CHECK (secret_ref_discarded_at IS NULL),
  model TEXT NOT NULL
    CONSTRAINT model_must_have_1_to_200_bytes CHECK (length(CAST(model AS BLOB)) BETWEEN 1 AND 200)
    CONSTRAINT model_must_not_hold_a_NUL_character CHECK (instr(CAST(model AS BLOB), x'00') = 0),
  keep_alive INTEGER NOT NULL DEFAULT 0
    CONSTRAINT keep_alive_must_be_0_or_1 CHECK (keep_alive IN (0, 1)),
  visibility TEXT NOT NULL DEFAULT 'private'
    CONSTRAINT visibility_must_be_private_or_public CHECK (visibility IN ('private', 'public')),
  suspend INTEGER NOT NULL DEFAULT 0
    CONSTRAINT suspend_must_be_0_or_1 CHECK (suspend IN (0, 1)),
  deletion_policy TEXT NOT NULL DEFAULT 'delete'
    CONSTRAINT deletion_policy_must_be_delete_or_keep_bucket CHECK (deletion_policy IN ('delete', 'keep_bucket')),
  deletion_protected INTEGER NOT NULL DEFAULT 0
    CONSTRAINT deletion_protected_must_be_0_or_1 CHECK (deletion_protected IN (0, 1)),
  secrets_version INTEGER NOT NULL DEFAULT 1,
  -- References, never values: see the triggers refs_insert and refs_update.
  api_key_refs TEXT NOT NULL DEFAULT '{}',
  r2 TEXT NOT NULL DEFAULT '{}'
    CONSTRAINT r2_must_be_a_JSON_object CHECK (
      length(CAST(r2 AS BLOB)) <= 262144 AND CASE WHEN json_valid(r2) THEN json_type(r2) = 'object' ELSE 0 END),
  theme TEXT
    CONSTRAINT theme_must_be_a_JSON_object CHECK (
      theme IS NULL OR (length(CAST(theme AS BLOB)) <= 262144
        AND CASE WHEN json_valid(theme) THEN json_type(theme) = 'object' ELSE 0 END)),
  wallet_address TEXT
    CONSTRAINT wallet_address_must_have_at_most_16384_bytes CHECK (wallet_address IS NULL OR length(CAST(wallet_address AS BLOB)) <= 16384)
    CONSTRAINT wallet_address_must_not_hold_a_NUL_character CHECK (wallet_address IS NULL OR instr(CAST(wallet_address AS BLOB), x'00') = 0),
  avatar_url TEXT
    CONSTRAINT avatar_url_must_have_at_most_16384_bytes CHECK (avatar_url IS NULL OR length(CAST(avatar_url AS BLOB)) <= 16384)
    CONSTRAINT avatar_url_must_not_hold_a_NUL_character CHECK (avatar_url IS NULL OR instr(CAST(avatar_url AS BLOB), x'00') = 0),
  cover_url TEXT
    CONSTRAINT cover_url_must_have_at_most_16384_bytes CHECK (cover_url IS NULL OR length(CAST(cover_url AS BLOB)) <= 16384)
    CONSTRAINT cover_url_must_not_hold_a_NUL_character CHECK (cover_url IS NULL OR instr(CAST(cover_url AS BLOB), x'00') = 0),
  display_name TEXT
    CONSTRAINT display_name_must_have_at_most_16384_bytes CHECK (display_name IS NULL OR length(CAST(display_name AS BLOB)) <= 16384)
    CONSTRAINT display_name_must_not_hold_a_NUL_character CHECK (display_name IS NULL OR instr(CAST(display_name AS BLOB), x'00') = 0),
  description TEXT
    CONSTRAINT description_must_have_at_most_16384_bytes CHECK (description IS NULL OR length(CAST(description AS BLOB)) <= 16384)
    CONSTRAINT description_must_not_hold_a_NUL_character CHECK (description IS NULL OR instr(CAST(description AS BLOB), x'00') = 0),
  display_description TEXT
    CONSTRAINT display_description_must_have_at_most_16384_bytes CHECK (display_description IS NULL OR length(CAST(display_description AS BLOB)) <= 16384)
    CONSTRAINT display_description_must_not_hold_a_NUL_character CHECK (display_description IS NULL OR instr(CAST(display_description AS BLOB), x'00') = 0),
  skills TEXT NOT NULL DEFAULT '[]'
    CONSTRAINT skills_must_be_a_JSON_array_of_at_most_262144_bytes CHECK (
      length(CAST(skills AS BLOB)) <= 262144
      AND CASE WHEN json_valid(skills) THEN json_type(skills) = 'array' ELSE 0 END),
  persona TEXT NOT NULL
    CONSTRAINT persona_must_have_1_to_65536_bytes CHECK (length(CAST(persona AS BLOB)) BETWEEN 1 AND 65536)
    CONSTRAINT persona_must_not_hold_a_NUL_character CHECK (instr(CAST(persona AS BLOB), x'00') = 0),
  instructions TEXT NOT NULL
    CONSTRAINT instructions_must_have_1_to_262144_bytes CHECK (length(CAST(instructions AS BLOB)) BETWEEN 1 AND 262144)
    CONSTRAINT instructions_must_not_hold_a_NUL_character CHECK (instr(CAST(instructions AS BLOB), x'00') = 0),
  identity_md TEXT
) STRICT;

-- The target of upserts: ON CONFLICT (name) WHERE deleted_at IS NULL.
CREATE UNIQUE INDEX agent_source_live_name ON agent_source (name) WHERE deleted_at IS NULL;
-- Archived ones too: events and rows are asked for by name.
CREATE INDEX agent_source_name ON agent_source (name);
-- The brake counts these before every claim.
CREATE INDEX agent_source_deleting ON agent_source (deletion_requested_at)
  WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL;

-- Every id that ever was, and the names in use. REPLACE deletes rows without a trigger; against this it cannot hide.
CREATE TABLE agent_registry (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  live_name TEXT UNIQUE
) STRICT, WITHOUT ROWID;

-- Scheduling and the row lease.
CREATE TABLE agent_work (
  agent_id TEXT PRIMARY KEY REFERENCES agent_source (id),
  next_due_at TEXT
    CONSTRAINT next_due_at_must_be_a_time_like_2026_01_31T12_00_00_000Z CHECK (next_due_at IS NULL OR next_due_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z'),
  failure_count INTEGER NOT NULL DEFAULT 0,
  failing_since TEXT,
  throttled_seconds INTEGER NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_epoch INTEGER NOT NULL DEFAULT 0,
  lease_until TEXT,
  unclean_until TEXT,
  plan_report TEXT,
  CONSTRAINT a_lease_has_an_owner_and_an_end CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_work_due ON agent_work (next_due_at) WHERE next_due_at IS NOT NULL;

-- What was made for an agent, and how its cleanup went.
CREATE TABLE agent_resource (
  agent_id TEXT NOT NULL REFERENCES agent_source (id),
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  external_id TEXT,
  try TEXT,
  state TEXT NOT NULL CHECK (state IN ('absent', 'unknown', 'present', 'value_unplaced')),
  desired_hash TEXT,
  observed_hash TEXT,
  version_id TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  intent_at TEXT,
  settle_until TEXT,
  confirmed_at TEXT,
  cleanup_result TEXT CHECK (cleanup_result IN ('deleted', 'already_absent', 'kept', 'failed')),
  cleanup_error TEXT,
  cleaned_at TEXT,
  PRIMARY KEY (agent_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_resource_leftover ON agent_resource (agent_id) WHERE cleanup_result = 'failed';

CREATE TABLE agent_condition (
  agent_id TEXT NOT NULL REFERENCES agent_source (id),
  type TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  observed_generation INTEGER NOT NULL,
  last_transition_at TEXT NOT NULL,
  PRIMARY KEY (agent_id, type)
) STRICT, WITHOUT ROWID;

-- Folded: equal events of one agent are one row with a count. agent_id NULL: of the controller itself.
CREATE TABLE agent_event (
  id INTEGER PRIMARY KEY,
  agent_id TEXT REFERENCES agent_source (id),
  severity TEXT NOT NULL CHECK (severity IN ('Normal', 'Warning')),
  reason TEXT NOT NULL,
  object TEXT NOT NULL,
  message TEXT NOT NULL,
  count INTEGER NOT NULL DEFAULT 1,
  first_at TEXT NOT NULL,
  last_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX agent_event_fold ON agent_event (ifnull(agent_id, ''), severity, reason, object, message);
CREATE INDEX agent_event_last ON agent_event (last_at);
CREATE INDEX agent_event_agent ON agent_event (agent_id, last_at);

-- What a Worker was given, never a value: the fingerprint is a keyed hash.
CREATE TABLE agent_secret (
  agent_id TEXT NOT NULL REFERENCES agent_source (id),
  name TEXT NOT NULL,
  provider TEXT,
  source TEXT NOT NULL CHECK (source IN ('reference', 'write_through', 'generated')),
  reference TEXT,
  state TEXT NOT NULL CHECK (state IN ('pushing', 'pushed', 'verified')),
  fingerprint TEXT,
  pushed_at TEXT,
  PRIMARY KEY (agent_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_auth_token (
  agent_id TEXT NOT NULL REFERENCES agent_source (id),
  try TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('candidate', 'current', 'retired')),
  created_at TEXT NOT NULL,
  PRIMARY KEY (agent_id, try)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX agent_auth_token_current ON agent_auth_token (agent_id) WHERE state = 'current';

-- The ordered change feed. AUTOINCREMENT: a number is never given twice, whatever was pruned.
CREATE TABLE agent_change (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  agent_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('spec', 'status')),
  at TEXT NOT NULL
) STRICT;
CREATE INDEX agent_change_at ON agent_change (at);

-- The cards of the embedded Registry.
CREATE TABLE agent_card (
  agent_id TEXT PRIMARY KEY REFERENCES agent_source (id),
  hash TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  card TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Cloudflare calls granted, by slot of time (milliseconds since 1970).
CREATE TABLE api_budget (
  account TEXT NOT NULL,
  slot_ms INTEGER NOT NULL,
  used INTEGER NOT NULL,
  PRIMARY KEY (account, slot_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE api_pause (
  account TEXT PRIMARY KEY,
  until TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Leases of what only one controller does at a time.
CREATE TABLE controller_lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The brake. kind NULL: no hold is in force.
CREATE TABLE controller_hold (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  kind TEXT,
  reason TEXT,
  since TEXT,
  last_release TEXT
) STRICT;
INSERT INTO controller_hold (one) VALUES (1);

CREATE TABLE install (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL,
  key_check TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;

-- Raised by the triggers while they write columns that belong to the database alone.
CREATE TABLE talon_internal (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  writing INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO talon_internal (one) VALUES (1);

-- How API keys of known providers begin.
CREATE TABLE talon_key_prefix (prefix TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO talon_key_prefix (prefix) VALUES ('sk-'), ('sk_'), ('sai_'), ('xai-'), ('gsk_'), ('AIza'), ('ghp_'), ('github_pat_'), ('hf_'), ('AKIA'), ('xoxb-'), ('pplx-');
