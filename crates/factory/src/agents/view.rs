//! What an agent looks like over HTTP.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use talon_core::Snapshot;
use talon_core::resource::ResourceRecord;
use talon_core::snapshot::SecretRecord;
use utoipa::ToSchema;

use super::spec::Spec;

/// An agent: the documented fields, then what was written (`spec`) and what is (`status`). Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
pub struct AgentView {
    /// Its name, unique among live agents.
    pub name: String,
    /// `pending`, `deploying`, `deployed`, `failed` or `deleting`.
    #[schema(value_type = DeploymentStatus)]
    pub deployment_status: String,
    /// Why it failed.
    pub deployment_error: Option<String>,
    /// Where its Worker answers.
    pub worker_url: Option<String>,
    /// Whether its Worker has this key.
    pub has_anthropic_key: bool,
    /// Whether its Worker has this key.
    pub has_openai_key: bool,
    /// Its id, which never changes and is never used again.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// How often the spec has changed; begins with 1.
    pub generation: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its spec last changed.
    pub updated_at: DateTime<Utc>,
    /// When its deletion was requested.
    pub deletion_requested_at: Option<DateTime<Utc>>,
    /// When its deletion had ended; the record is kept.
    pub deleted_at: Option<DateTime<Utc>>,
    /// What was written.
    pub spec: Spec,
    /// What is.
    pub status: StatusView,
}

/// The five published statuses. Clients must tolerate others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
pub enum DeploymentStatus {
    /// Created, deployment not begun.
    Pending,
    /// Under way.
    Deploying,
    /// Live and registered.
    Deployed,
    /// See `deployment_error`.
    Failed,
    /// Being cleaned up, or the record of a deleted agent.
    Deleting,
}

/// What the controller found and did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentStatus)]
pub struct StatusView {
    /// The generation that the last finished pass worked on.
    pub observed_generation: i64,
    /// Its Worker.
    pub worker_name: Option<String>,
    /// Its bucket.
    pub r2_bucket: Option<String>,
    /// Id of its R2 token.
    pub r2_token_id: Option<String>,
    /// The account it lives in.
    pub cloudflare_account: Option<String>,
    /// SHA-256 of its IDENTITY.md.
    pub identity_sha256: Option<String>,
    /// When it was first deployed: persona and instructions are fixed since.
    pub first_deployed_at: Option<DateTime<Utc>>,
    /// Whether its Worker is connected to the Hub.
    pub connected: bool,
    /// Since when it is connected, or when the last connection began.
    pub connected_at: Option<DateTime<Utc>>,
    /// What its Worker said of itself.
    pub runtime: Option<String>,
    /// What else can be said, each with a reason.
    pub conditions: Vec<ConditionView>,
    /// The Worker's secrets; never a value.
    pub secrets: Vec<SecretView>,
}

/// Something that can be said about an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Condition)]
pub struct ConditionView {
    /// What it speaks of: `Ready`, `Stalled` and others.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// The generation it was observed at.
    pub observed_generation: i64,
    /// When `status` last changed.
    pub last_transition_at: DateTime<Utc>,
}

/// What is known of a secret of the Worker; never its value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Secret)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Where the value comes from: `reference`, `write_through` or `generated`.
    pub source: String,
    /// The reference it was read through.
    pub reference: Option<String>,
    /// `pushing`, `pushed` or `verified`.
    pub state: String,
    /// The last four digits of its fingerprint.
    pub fingerprint: Option<String>,
    /// When it was last pushed.
    pub pushed_at: Option<DateTime<Utc>>,
}

/// Something that was made for an agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Resource)]
pub struct ResourceView {
    /// What it is: `worker`, `worker_route`, `r2_objects`, `r2_bucket`, `r2_token` or `agent_card`.
    pub kind: String,
    /// Its name at Cloudflare.
    pub name: String,
    /// The id Cloudflare gave it.
    pub external_id: Option<String>,
    /// `absent`, `unknown`, `present` or `value_unplaced`.
    pub state: String,
    /// Failed tries since the last success.
    pub attempts: i64,
    /// The last failure.
    pub last_error: Option<String>,
    /// When the last definite answer about it was recorded.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// How its cleanup ended: `deleted`, `already_absent`, `kept`, or `failed` and tried again.
    pub cleanup_result: Option<String>,
    /// Why cleanup failed.
    pub cleanup_error: Option<String>,
    /// When cleanup ended well.
    pub cleaned_at: Option<DateTime<Utc>>,
}

/// How far a deletion is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cleanup {
    /// The agent.
    pub name: String,
    /// `deleting`.
    pub deployment_status: String,
    /// When the deletion was requested.
    pub deletion_requested_at: Option<DateTime<Utc>>,
    /// When it had ended.
    pub deleted_at: Option<DateTime<Utc>>,
    /// How many of the resources are cleaned up.
    pub cleaned: usize,
    /// How many there are.
    pub total: usize,
    /// What becomes of each.
    pub resources: Vec<ResourceView>,
}

impl From<&Snapshot> for AgentView {
    fn from(s: &Snapshot) -> Self {
        let agent = &s.agent;
        let status = &agent.status;
        Self {
            name: agent.name.to_string(),
            deployment_status: status.deployment_status.to_string(),
            deployment_error: status.deployment_error.clone(),
            worker_url: status.worker_url.clone(),
            has_anthropic_key: status.has_anthropic_key,
            has_openai_key: status.has_openai_key,
            id: agent.id.to_string(),
            owner: agent.owner.to_string(),
            generation: agent.generation.0,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            deletion_requested_at: agent.deletion_requested_at,
            deleted_at: status.deleted_at,
            spec: Spec::from(&agent.spec),
            status: StatusView::from(s),
        }
    }
}

impl From<&Snapshot> for StatusView {
    fn from(s: &Snapshot) -> Self {
        let status = &s.agent.status;
        let presence = s.presence.as_ref();
        let conditions = s.conditions.iter().map(|stored| ConditionView {
            kind: stored.condition.kind.to_string(),
            status: stored.condition.status.as_str().to_owned(),
            reason: stored.condition.reason.to_string(),
            message: stored.condition.message.clone(),
            observed_generation: stored.condition.observed_generation.0,
            last_transition_at: stored.last_transition_at,
        });
        let secrets = s.secrets.iter().map(SecretView::from);
        Self {
            observed_generation: status.observed_generation.0,
            worker_name: status.worker_name.clone(),
            r2_bucket: status.r2_bucket.clone(),
            r2_token_id: status.r2_token_id.clone(),
            cloudflare_account: status.cloudflare_account.clone(),
            identity_sha256: status.identity_sha256.clone(),
            first_deployed_at: status.first_deployed_at,
            connected: presence.is_some_and(|p| p.connected),
            connected_at: presence.map(|p| p.connected_at),
            runtime: presence.and_then(|p| p.runtime.clone()),
            conditions: conditions.collect(),
            secrets: secrets.collect(),
        }
    }
}

impl From<&SecretRecord> for SecretView {
    fn from(secret: &SecretRecord) -> Self {
        Self {
            name: secret.name.clone(),
            source: secret.source.to_string(),
            reference: secret.reference.clone(),
            state: secret.state.to_string(),
            fingerprint: secret.fingerprint.as_deref().map(tail),
            pushed_at: secret.pushed_at,
        }
    }
}

/// The last four digits: enough to tell two values apart, and all that is shown.
pub fn tail(fingerprint: &str) -> String {
    let from = fingerprint.len().saturating_sub(4);
    fingerprint.get(from..).unwrap_or_default().to_owned()
}

impl From<&ResourceRecord> for ResourceView {
    fn from(r: &ResourceRecord) -> Self {
        Self {
            kind: r.kind.to_string(),
            name: r.name.clone(),
            external_id: r.external_id.clone(),
            state: r.state.to_string(),
            attempts: r.attempts,
            last_error: r.last_error.clone(),
            confirmed_at: r.confirmed_at,
            cleanup_result: r.cleanup_result.map(|c| c.to_string()),
            cleanup_error: r.cleanup_error.clone(),
            cleaned_at: r.cleaned_at,
        }
    }
}

impl From<&Snapshot> for Cleanup {
    fn from(s: &Snapshot) -> Self {
        let agent = &s.agent;
        Self {
            name: agent.name.to_string(),
            deployment_status: agent.status.deployment_status.to_string(),
            deletion_requested_at: agent.deletion_requested_at,
            deleted_at: agent.status.deleted_at,
            cleaned: s
                .resources
                .iter()
                .filter(|r| r.cleaned_at.is_some())
                .count(),
            total: s.resources.len(),
            resources: s.resources.iter().map(ResourceView::from).collect(),
        }
    }
}

/// A representation with the tag by which it is known: `"g4-…"`, the generation and a hash of all that is shown. The hash
/// and not the change feed's number: conditions, records and presence change what is shown and make no entry there.
pub struct Tagged {
    /// As JSON.
    pub json: String,
    /// Its entity tag, quotes included.
    pub etag: String,
}

impl Tagged {
    /// Of an agent.
    pub fn agent(snapshot: &Snapshot) -> Self {
        let view = AgentView::from(snapshot);
        Self::new(&format!("g{}", view.generation), &view)
    }

    /// Of anything; the tag begins with `prefix`.
    pub fn new<T: Serialize>(prefix: &str, view: &T) -> Self {
        // Cannot fail: views are texts, numbers and lists.
        let json = serde_json::to_string(view).unwrap_or_default();
        let hash = hex::encode(&Sha256::digest(json.as_bytes())[..10]);
        Self {
            etag: format!("\"{prefix}-{hash}\""),
            json,
        }
    }
}
