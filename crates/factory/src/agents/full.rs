//! An agent with everything that is known of it: what `?view=full` shows, and what a client makes a snapshot of again.
//!
//! Guarantees: whoever reads it decides about the agent as one who reads the database does, so that a command says the
//! same either way. It holds no value of a secret, no hash of a token, and of a fingerprint its last four digits only.
//! Words that this program does not know, of a newer one, are left out of the lists in which they stand.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use talon_core::Snapshot;
use utoipa::ToSchema;

use chrono::{DateTime, Utc};

use super::spec::{self, Spec};

/// How much of an agent is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// What most programs need.
    #[default]
    Normal,
    /// Everything that is known, as the command line shows it.
    Full,
}

/// A snapshot as the API writes it.
pub fn encode(snapshot: &Snapshot) -> Value {
    let mut value = serde_json::to_value(snapshot).unwrap_or_default();
    let agent = &mut value["agent"];
    agent["spec"] = Spec::from(&snapshot.agent.spec).into_json();
    agent["violations"] = json!(snapshot.agent.violations);
    without(&mut agent["status"], "auth_token_hash");
    without(&mut value["presence"], "token_sha256");
    without(&mut value, "auth_tokens");
    for secret in value["secrets"].as_array_mut().into_iter().flatten() {
        if let Some(fingerprint) = secret["fingerprint"].as_str() {
            secret["fingerprint"] = super::view::tail(fingerprint).into();
        }
    }
    value
}

fn without(value: &mut Value, key: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
}

/// The snapshot that was written; `None` if it is none that this program can read.
pub fn decode(mut value: Value) -> Option<Snapshot> {
    let agent = value.get_mut("agent")?;
    agent["spec"] = serde_json::to_value(spec::from_json(agent["spec"].take())?).ok()?;
    agent["status"]
        .as_object_mut()?
        .insert("auth_token_hash".to_owned(), Value::Null);
    if let Some(presence) = value["presence"].as_object_mut() {
        presence.insert("token_sha256".to_owned(), "".into());
    }
    value["auth_tokens"] = json!([]);
    let mut snapshot = value.clone();
    for list in ["resources", "secrets", "conditions"] {
        snapshot[list] = json!([]);
    }
    let mut snapshot: Snapshot = serde_json::from_value(snapshot).ok()?;
    snapshot.resources = known(value["resources"].take());
    snapshot.secrets = known(value["secrets"].take());
    snapshot.conditions = known(value["conditions"].take());
    Some(snapshot)
}

fn known<T: DeserializeOwned>(list: Value) -> Vec<T> {
    let items = match list {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect()
}

/// Everything that is known of an agent, read in one transaction. Times are the database's. For programs that show agents
/// as the command line does; others are better served with the normal view, which changes less.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code)] // Only its schema is used, as of the others here.
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
#[allow(dead_code)]
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
#[allow(dead_code)]
pub struct FullViolation {
    /// Where, as a JSON pointer into the manifest.
    pointer: String,
    /// What is wrong.
    detail: String,
}

/// The columns of an agent that the controller writes.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code)]
pub struct FullStatus {
    /// `pending`, `deploying`, `deployed`, `failed` or `deleting`.
    #[schema(value_type = super::view::DeploymentStatus)]
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
#[allow(dead_code)]
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
#[allow(dead_code)]
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
#[allow(dead_code)]
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
#[allow(dead_code)]
pub struct FullCondition {
    /// What is said.
    condition: FullConditionSaid,
    /// When `status` last changed.
    last_transition_at: DateTime<Utc>,
}

/// Something that can be said about an agent.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code)]
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
#[allow(dead_code)]
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
#[allow(dead_code)]
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

/// A page of agents with everything that is known of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullAgentList {
    /// The agents.
    #[schema(value_type = Vec<FullAgent>)]
    pub items: Vec<Value>,
    /// Where the next page begins; null on the last one.
    pub next_page_token: Option<String>,
    /// Watch from here to miss nothing that came after this page was read.
    pub resource_version: i64,
    /// How many agents fit, at about this time.
    pub total_estimate: i64,
}

#[cfg(test)]
#[path = "full_tests.rs"]
mod tests;
