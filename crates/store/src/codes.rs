//! The stable codes with which a rule of the contract refuses a write, and what each says.
//!
//! The databases carry the same texts in their triggers; people and programs rely on the code alone.

use crate::error::StoreError;

/// `id`, `name` and `owner` never change.
pub const FIXED: &str = "TALON-OC001";
/// `persona` and `instructions` are fixed once the agent was deployed.
pub const IMMUTABLE: &str = "TALON-OC002";
/// A deletion is neither undone nor re-timed.
pub const DELETION_STANDS: &str = "TALON-OC003";
/// The spec of an agent that is being deleted is frozen.
pub const DELETING: &str = "TALON-OC004";
/// TRUNCATE is refused (PostgreSQL).
pub const NO_TRUNCATE: &str = "TALON-OC005";
/// A REPLACE would have replaced a living agent (SQLite).
pub const NO_REPLACE: &str = "TALON-OC006";
/// Status columns are not given at INSERT.
pub const STATUS_COLUMNS: &str = "TALON-OC007";
/// `first_deployed_at` is set once.
pub const LATCHED: &str = "TALON-OC008";
/// `generation` and the timestamps are written by the database.
pub const DATABASE_COLUMNS: &str = "TALON-OC009";
/// `api_key_refs` holds something that is not a reference.
pub const NOT_A_REFERENCE: &str = "TALON-OC010";
/// The registry of ids is append-only (SQLite).
pub const REGISTRY: &str = "TALON-OC011";
/// The agent is protected from deletion.
pub const PROTECTED: &str = "TALON-OC012";
/// `r2` is fixed once the bucket exists.
pub const BUCKET_FIXED: &str = "TALON-OC013";
/// `identity_md` is fixed once the agent was deployed.
pub const IDENTITY_FIXED: &str = "TALON-OC014";
/// A Worker, bucket or token is recorded for another agent already.
pub const TAKEN: &str = "TALON-OC015";
/// Only a row whose deletion was requested is archived, and an archived row is never revived.
pub const ARCHIVE: &str = "TALON-OC016";
/// The audit log is append-only.
pub const AUDIT: &str = "TALON-OC017";
/// A column does not hold what it must (a named CHECK).
pub const INVALID: &str = "TALON-OC020";

/// What a code says. `None` for one that is not ours.
pub fn message(code: &str) -> Option<&'static str> {
    Some(match code {
        FIXED => "id, name and owner never change. Create a new agent instead.",
        IMMUTABLE => {
            "persona and instructions are immutable after deployment. Create a new agent, or leave them as they are."
        }
        DELETION_STANDS => "deletion cannot be undone or re-timed",
        DELETING => "the agent is being deleted; its spec is frozen",
        NO_TRUNCATE => "TRUNCATE is not allowed. Use DELETE FROM agent_source to ask for deletion.",
        NO_REPLACE => {
            "this would replace a living agent. Use INSERT ... ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE."
        }
        STATUS_COLUMNS => {
            "ids, generation and status columns are written by Talon. Leave them out of the INSERT."
        }
        LATCHED => "first_deployed_at is set once",
        DATABASE_COLUMNS => "generation, created_at and updated_at are written by the database",
        NOT_A_REFERENCE => {
            "api_key_refs holds something that is not a reference (env:NAME, file:NAME, vault:path#field). Nothing was stored. If you pasted a key, treat it as exposed and rotate it."
        }
        REGISTRY => "the registry of agents is append-only",
        PROTECTED => "the agent is protected from deletion. Set deletion_protected to false first.",
        BUCKET_FIXED => {
            "r2 is fixed once the bucket exists or is being made. Create a new agent instead."
        }
        IDENTITY_FIXED => "identity_md is immutable after deployment",
        TAKEN => "worker_name, r2_bucket and r2_token_id each belong to one agent only",
        ARCHIVE => {
            "only an agent whose deletion was requested is archived, and an archived one is never revived"
        }
        AUDIT => "the audit log is append-only",
        INVALID => "a column does not hold what it must",
        _ => return None,
    })
}

/// The error for a code.
pub fn rejected(code: &'static str) -> StoreError {
    StoreError::Rejected {
        code: code.to_owned(),
        message: message(code).unwrap_or_default().to_owned(),
    }
}

/// The error for a column that does not hold what it must; `rule` is a sentence that names the column.
pub fn invalid(rule: impl Into<String>) -> StoreError {
    StoreError::Rejected {
        code: INVALID.to_owned(),
        message: rule.into(),
    }
}
