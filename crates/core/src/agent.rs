//! One row of `agent_source`, as the controller and the CLI read it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{AgentId, Generation};
use crate::name::{AgentName, Owner};
use crate::spec::AgentSpec;
use crate::status::DeploymentStatus;
use crate::validate::Violation;

/// An agent: desired state and status columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// The row's id.
    pub id: AgentId,
    /// Its name, unique among live agents.
    pub name: AgentName,
    /// Who it belongs to.
    pub owner: Owner,
    /// Moved by the database on each real change of the spec.
    pub generation: Generation,
    /// The desired state. Columns that do not parse are read as their defaults and named in `violations`.
    pub spec: AgentSpec,
    /// What is wrong with the stored columns themselves (bad JSON and the like).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// When deletion was requested.
    pub deletion_requested_at: Option<DateTime<Utc>>,
    /// When somebody last asked for a pass.
    pub reconcile_requested_at: Option<DateTime<Utc>>,
    /// When the database last threw away something that was not a reference.
    pub secret_ref_discarded_at: Option<DateTime<Utc>>,
    /// Written by the controller.
    pub status: AgentStatus,
    /// When the row was made (database clock, as all times here).
    pub created_at: DateTime<Utc>,
    /// When the spec last changed.
    pub updated_at: DateTime<Utc>,
}

/// The columns the controller writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Where the agent is in its life.
    pub deployment_status: DeploymentStatus,
    /// Why it failed.
    pub deployment_error: Option<String>,
    /// The generation the last finished pass worked on.
    pub observed_generation: Generation,
    /// For people to read; Talon itself derives it.
    pub worker_url: Option<String>,
    /// Persisted before the first call.
    pub worker_name: Option<String>,
    /// Persisted before the first call.
    pub r2_bucket: Option<String>,
    /// Id of the R2 token.
    pub r2_token_id: Option<String>,
    /// SHA-256 of the current auth token, hex.
    pub auth_token_hash: Option<String>,
    /// Whether the Worker has this key.
    pub has_anthropic_key: bool,
    /// Whether the Worker has this key.
    pub has_openai_key: bool,
    /// IDENTITY.md as it is or will be uploaded.
    pub identity_md: Option<String>,
    /// SHA-256 of `identity_md`, hex.
    pub identity_sha256: Option<String>,
    /// Set once, when the agent first was deployed; freezes persona, instructions and `identity_md`.
    pub first_deployed_at: Option<DateTime<Utc>>,
    /// The account it lives in.
    pub cloudflare_account: Option<String>,
    /// When the row was archived.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl Agent {
    /// The row as an INSERT leaves it: generation 1, nothing asked for and nothing done yet.
    pub fn new(
        id: AgentId,
        name: AgentName,
        owner: Owner,
        spec: AgentSpec,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            name,
            owner,
            generation: Generation(1),
            spec,
            violations: Vec::new(),
            deletion_requested_at: None,
            reconcile_requested_at: None,
            secret_ref_discarded_at: None,
            status: AgentStatus {
                deployment_status: DeploymentStatus::Pending,
                deployment_error: None,
                observed_generation: Generation(0),
                worker_url: None,
                worker_name: None,
                r2_bucket: None,
                r2_token_id: None,
                auth_token_hash: None,
                has_anthropic_key: false,
                has_openai_key: false,
                identity_md: None,
                identity_sha256: None,
                first_deployed_at: None,
                cloudflare_account: None,
                deleted_at: None,
            },
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether deletion was requested.
    pub fn is_deleting(&self) -> bool {
        self.deletion_requested_at.is_some()
    }

    /// Whether the row is only kept for billing.
    pub fn is_archived(&self) -> bool {
        self.status.deleted_at.is_some()
    }
}
