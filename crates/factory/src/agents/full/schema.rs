//! The shape of an agent with everything, for the document: answers themselves are made of snapshots.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::agents::spec::Spec;

/// Everything that is known of an agent, read in one transaction. Times are the database's. For programs that show agents
/// as the command line does; others are better served with the normal view, which changes less.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullAgent {
    /// When this was read.
    now: DateTime<Utc>,
    /// Its row.
    agent: FullRow,
    /// When it is worked on, and how that went.
    work: FullWork,
    /// What was made for it: one of each kind.
    resources: Vec<FullResource>,
    /// The Worker's secrets; never a value.
    secrets: Vec<FullSecret>,
    /// What else can be said, each with a reason.
    conditions: Vec<FullCondition>,
    /// Its last connection to the Hub.
    presence: Option<FullPresence>,
    /// What came of speaking to its Worker.
    contact: Option<FullContact>,
}

/// The row of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullRow {
    /// Its id, which never changes and is never used again.
    #[schema(format = "uuid")]
    id: String,
    /// Its name, unique among live agents.
    name: String,
    /// Whose it is.
    owner: String,
    /// How often the spec has changed; begins with 1.
    generation: i64,
    /// What was written. What does not parse is shown as its default and named in `violations`.
    spec: Spec,
    /// What is wrong with the row itself.
    violations: Vec<FullViolation>,
    /// When its deletion was requested.
    deletion_requested_at: Option<DateTime<Utc>>,
    /// When somebody last asked for a pass.
    reconcile_requested_at: Option<DateTime<Utc>>,
    /// When something that was no reference was last thrown away.
    secret_ref_discarded_at: Option<DateTime<Utc>>,
    /// What the controller wrote.
    status: FullStatus,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When its spec last changed.
    updated_at: DateTime<Utc>,
}

/// Something wrong with a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullViolation {
    /// Where, as a JSON pointer into the manifest.
    pointer: String,
    /// What is wrong.
    detail: String,
}

/// The columns of an agent that the controller writes.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullStatus {
    /// `pending`, `deploying`, `deployed`, `failed` or `deleting`.
    #[schema(value_type = crate::agents::view::DeploymentStatus)]
    deployment_status: String,
    /// Why it failed.
    deployment_error: Option<String>,
    /// The generation that the last finished pass worked on.
    observed_generation: i64,
    /// Where its Worker answers.
    worker_url: Option<String>,
    /// Its Worker.
    worker_name: Option<String>,
    /// Its bucket.
    r2_bucket: Option<String>,
    /// Id of its R2 token.
    r2_token_id: Option<String>,
    /// Whether its Worker has this key.
    has_anthropic_key: bool,
    /// Whether its Worker has this key.
    has_openai_key: bool,
    /// Its IDENTITY.md.
    identity_md: Option<String>,
    /// SHA-256 of its IDENTITY.md.
    identity_sha256: Option<String>,
    /// When it was first deployed: persona and instructions are fixed since.
    first_deployed_at: Option<DateTime<Utc>>,
    /// The account it lives in.
    cloudflare_account: Option<String>,
    /// When its deletion had ended; the record is kept.
    deleted_at: Option<DateTime<Utc>>,
}

/// When an agent is worked on, and how that went.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullWork {
    /// When it is due; null if nothing is to be done.
    next_due_at: Option<DateTime<Utc>>,
    /// Failed passes in a row.
    failure_count: i64,
    /// When that run of failures began.
    failing_since: Option<DateTime<Utc>>,
    /// Seconds of that run that were spent throttled.
    throttled_seconds: i64,
    /// The daemon that works on it.
    lease_owner: Option<String>,
    /// How often it was taken up.
    lease_epoch: i64,
    /// Until when that daemon has it.
    lease_until: Option<DateTime<Utc>>,
    /// Until when a daemon that lost it may still have a request on its way.
    unclean_until: Option<DateTime<Utc>>,
    /// The last plan: what differs, what is to be done and why.
    #[schema(value_type = Option<Object>)]
    plan_report: Option<Value>,
}

/// Something that was made for an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullResource {
    /// `worker`, `worker_route`, `r2_objects`, `r2_bucket`, `r2_token` or `agent_card`.
    kind: String,
    /// Its name at Cloudflare.
    name: String,
    /// The id Cloudflare gave it.
    external_id: Option<String>,
    /// The last try whose outcome decides.
    try_id: Option<String>,
    /// `absent`, `unknown`, `present` or `value_unplaced`.
    state: String,
    /// Hash of what was last asked for.
    desired_hash: Option<String>,
    /// By what drift is recognised.
    observed_hash: Option<String>,
    /// The version that the last write made.
    version_id: Option<String>,
    /// Failed tries since the last success.
    attempts: i64,
    /// The last failure.
    last_error: Option<String>,
    /// When its last effect began.
    intent_at: Option<DateTime<Utc>>,
    /// Until when a request may still land.
    settle_until: Option<DateTime<Utc>>,
    /// When the last definite answer about it was recorded.
    confirmed_at: Option<DateTime<Utc>>,
    /// `deleted`, `already_absent`, `kept`, or `failed` and tried again.
    cleanup_result: Option<String>,
    /// Why cleanup failed.
    cleanup_error: Option<String>,
    /// When cleanup ended well.
    cleaned_at: Option<DateTime<Utc>>,
}

/// What is known of a secret of the Worker; never its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullSecret {
    /// Its name.
    name: String,
    /// The provider whose key it is.
    provider: Option<String>,
    /// `reference`, `write_through` or `generated`.
    source: String,
    /// The reference it was read through.
    reference: Option<String>,
    /// `pushing`, `pushed` or `verified`.
    state: String,
    /// The last four digits of its fingerprint.
    fingerprint: Option<String>,
    /// When it was last pushed.
    pushed_at: Option<DateTime<Utc>>,
}

/// Something that can be said about an agent, and since when.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullCondition {
    /// What is said.
    condition: FullConditionSaid,
    /// When `status` last changed.
    last_transition_at: DateTime<Utc>,
}

/// Something that can be said about an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullConditionSaid {
    /// What it speaks of: `Ready`, `Stalled` and others.
    kind: String,
    /// `True`, `False` or `Unknown`.
    status: String,
    /// Why, in one word.
    reason: String,
    /// Why, for people.
    message: String,
    /// The generation it was observed at.
    observed_generation: i64,
}

/// A connection to the Hub.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullPresence {
    /// Whether it is believed to be open.
    connected: bool,
    /// The Hub's id of it.
    connection_id: String,
    /// Which Hub process holds it.
    hub: String,
    /// What the Worker said of itself.
    runtime: Option<String>,
    /// When it began.
    connected_at: DateTime<Utc>,
    /// The last sign of life.
    last_seen: DateTime<Utc>,
    /// When it ended.
    disconnected_at: Option<DateTime<Utc>>,
}

/// What came of speaking to a Worker.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullContact {
    /// What the Worker was to run with then.
    mark: String,
    /// Tries in a row that did not end well.
    tries: i64,
    /// The last one.
    tried_at: DateTime<Utc>,
    /// When it last heard us.
    answered_at: Option<DateTime<Utc>>,
    /// Why the last try did not end well.
    problem: Option<String>,
    /// Repairs in a row that its reports asked for.
    repairs: i64,
    /// The upload that it last said brought what runs.
    try_id: Option<String>,
    /// SHA-256 of the runtime that it last said it runs.
    runtime: Option<String>,
}
