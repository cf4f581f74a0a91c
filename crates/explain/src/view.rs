//! What people are shown of an agent: words derived from a snapshot, and the document that `-o json` prints.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, StoredCondition, Truth};
use talon_core::model::ModelRef;
use talon_core::presence::Presence;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord};
use talon_core::secret::Provider;
use talon_core::task::Task;

use crate::{age, safe};

/// The condition of a type, if it was ever written.
pub fn condition(snapshot: &Snapshot, kind: ConditionType) -> Option<&StoredCondition> {
    snapshot
        .conditions
        .iter()
        .find(|c| c.condition.kind == kind)
}

/// Whether a condition is `True`.
pub fn holds(snapshot: &Snapshot, kind: ConditionType) -> bool {
    condition(snapshot, kind).is_some_and(|c| c.condition.status == Truth::True)
}

/// A condition that is `True` and speaks of the present generation: one left from before an edit says nothing.
pub fn holds_now(snapshot: &Snapshot, kind: ConditionType) -> Option<&StoredCondition> {
    condition(snapshot, kind).filter(|c| {
        c.condition.status == Truth::True
            && c.condition.observed_generation >= snapshot.agent.generation
    })
}

/// `Ready`, as the table shows it.
pub fn ready(snapshot: &Snapshot) -> Truth {
    condition(snapshot, ConditionType::Ready).map_or(Truth::Unknown, |c| {
        if c.condition.observed_generation < snapshot.agent.generation {
            Truth::False
        } else {
            c.condition.status
        }
    })
}

/// Whether what is deployed is what the row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// It is.
    InSync,
    /// It is not, or not yet.
    OutOfDate,
    /// It was, until something was changed behind our back.
    Drifted,
    /// There shall be nothing.
    Deleting,
    /// There is nothing any more.
    Deleted,
}

impl Agreement {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::OutOfDate => "out of date",
            Self::Drifted => "drifted",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

/// See [`Agreement`].
pub fn agreement(snapshot: &Snapshot) -> Agreement {
    let agent = &snapshot.agent;
    if agent.is_archived() {
        Agreement::Deleted
    } else if agent.is_deleting() {
        Agreement::Deleting
    } else if holds(snapshot, ConditionType::Drifted) {
        Agreement::Drifted
    } else if ready(snapshot) == Truth::True && agent.status.observed_generation >= agent.generation
    {
        Agreement::InSync
    } else {
        Agreement::OutOfDate
    }
}

/// How far cleanup has come: things done with, and things there are.
pub fn cleanup_progress(snapshot: &Snapshot) -> (usize, usize) {
    let concerned = |r: &&ResourceRecord| {
        r.kind != ResourceKind::WorkerRoute && (r.cleanup_result.is_some() || r.intent_at.is_some())
    };
    let done = snapshot
        .resources
        .iter()
        .filter(concerned)
        .filter(|r| r.cleanup_result.is_some_and(|c| c != CleanupResult::Failed))
        .count();
    (done, snapshot.resources.iter().filter(concerned).count())
}

/// What cleanup could not remove.
pub fn leftovers(snapshot: &Snapshot) -> impl Iterator<Item = &ResourceRecord> {
    snapshot
        .resources
        .iter()
        .filter(|r| r.cleanup_result == Some(CleanupResult::Failed))
}

/// The most telling thing to say in one line, escaped for a terminal.
pub fn message(snapshot: &Snapshot) -> String {
    let agent = &snapshot.agent;
    let told =
        |kind| holds_now(snapshot, kind).map(|c| said(c.condition.reason, &c.condition.message));
    if agent.is_archived() {
        let left = leftovers(snapshot).count();
        return if left == 0 {
            "cleaned up; the record is kept for billing".to_owned()
        } else {
            format!("{left} left over: talon why {}", agent.name)
        };
    }
    if agent.is_deleting() {
        let (done, all) = cleanup_progress(snapshot);
        let retrying: Vec<_> = leftovers(snapshot).map(|r| r.kind.as_str()).collect();
        let mut text = if all == 0 {
            "nothing at Cloudflare yet".to_owned()
        } else {
            format!("{done} of {all} cleaned")
        };
        if !retrying.is_empty() {
            text.push_str(&format!(", {} retrying", retrying.join(", ")));
        }
        return told(ConditionType::Held).unwrap_or(text);
    }
    if let Some(violation) = agent.violations.first() {
        return safe(&format!("{}: {}", violation.pointer, violation.detail));
    }
    told(ConditionType::Stalled)
        .or_else(|| told(ConditionType::Held))
        .or_else(|| agent.status.deployment_error.as_deref().map(safe))
        .or_else(|| told(ConditionType::Throttled))
        .or_else(|| agent.spec.suspend.then(|| "suspended".to_owned()))
        .or_else(|| told(ConditionType::Drifted))
        .or_else(|| told(ConditionType::Reconciling))
        .or_else(|| awaiting_keys(snapshot).map(|c| said(c.condition.reason, &c.condition.message)))
        .or_else(|| connected(snapshot))
        .or_else(|| told(ConditionType::Ready))
        .or_else(|| unseen(snapshot))
        .unwrap_or_default()
}

fn connected(snapshot: &Snapshot) -> Option<String> {
    let hub = condition(snapshot, ConditionType::HubConnected)?;
    (hub.condition.status == Truth::True && ready(snapshot) == Truth::True).then(|| {
        format!(
            "connected {} ago",
            age::since(snapshot.now, hub.last_transition_at)
        )
    })
}

/// Who serves the agent's model, if its name says so.
pub fn provider(snapshot: &Snapshot) -> Option<Provider> {
    ModelRef::parse(&snapshot.agent.spec.model).map(|model| model.provider)
}

/// The model's provider has no key at this generation: nothing is wrong, and nothing will happen.
pub fn awaiting_keys(snapshot: &Snapshot) -> Option<&StoredCondition> {
    condition(snapshot, ConditionType::Reconciling).filter(|c| {
        c.condition.reason == Reason::AwaitingKeys
            && c.condition.observed_generation >= snapshot.agent.generation
    })
}

fn unseen(snapshot: &Snapshot) -> Option<String> {
    (snapshot.agent.status.observed_generation < snapshot.agent.generation).then(|| {
        match snapshot.work.lease_owner {
            Some(_) => "a daemon is at work on it",
            None => "not picked up by a daemon yet",
        }
        .to_owned()
    })
}

fn said(reason: Reason, message: &str) -> String {
    match (reason, message.is_empty()) {
        (Reason::AsExpected, _) => safe(message),
        (reason, true) => reason.to_string(),
        (Reason::Deployed | Reason::Idle | Reason::InProgress, false) => safe(message),
        (reason, false) => format!("{reason}: {}", safe(message)),
    }
}

/// Whether the agent has been due for so long that no daemon seems to run.
pub fn nobody_home(snapshot: &Snapshot) -> bool {
    const PATIENCE_SECONDS: i64 = 10;
    snapshot.work.lease_owner.is_none()
        && snapshot
            .work
            .next_due_at
            .is_some_and(|due| (snapshot.now - due).num_seconds() >= PATIENCE_SECONDS)
}

/// Age of the row.
pub fn row_age(snapshot: &Snapshot) -> String {
    age::since(snapshot.now, snapshot.agent.created_at)
}

/// The document that `-o json` and `-o yaml` print, and that `--for=jsonpath` looks into: metadata, spec and status,
/// without hashes of tokens.
pub fn document(snapshot: &Snapshot) -> Value {
    let agent = &snapshot.agent;
    let status = &agent.status;
    json!({
        "apiVersion": "talon.dev/v1",
        "kind": "OpenClawAgent",
        "metadata": {
            "name": agent.name,
            "owner": agent.owner,
            "id": agent.id,
            "generation": agent.generation,
            "createdAt": agent.created_at,
            "updatedAt": agent.updated_at,
            "deletionRequestedAt": agent.deletion_requested_at,
        },
        "spec": agent.spec,
        "status": {
            "deploymentStatus": status.deployment_status,
            "deploymentError": status.deployment_error,
            "ready": ready(snapshot).as_str(),
            "sync": agreement(snapshot).as_str(),
            "message": message(snapshot),
            "observedGeneration": status.observed_generation,
            "workerUrl": status.worker_url,
            "workerName": status.worker_name,
            "r2Bucket": status.r2_bucket,
            "r2TokenId": status.r2_token_id,
            "hasAnthropicKey": status.has_anthropic_key,
            "hasOpenaiKey": status.has_openai_key,
            "identitySha256": status.identity_sha256,
            "firstDeployedAt": status.first_deployed_at,
            "runtimeSha256": snapshot.contact.as_ref().and_then(|c| c.runtime.as_deref()),
            "connection": snapshot.presence.as_ref().map(connection_document),
            "cloudflareAccount": status.cloudflare_account,
            "deletedAt": status.deleted_at,
            "reconcileRequestedAt": agent.reconcile_requested_at,
            "nextDueAt": snapshot.work.next_due_at,
            "failureCount": snapshot.work.failure_count,
            "violations": agent.violations,
            "conditions": snapshot.conditions.iter().map(condition_document).collect::<Vec<_>>(),
            "resources": snapshot.resources.iter().map(resource_document).collect::<Vec<_>>(),
            "secrets": snapshot.secrets.iter().map(|s| json!({
                "name": s.name,
                "provider": s.provider,
                "source": s.source,
                "reference": s.reference,
                "state": s.state,
                "fingerprint": s.fingerprint.as_deref().map(fingerprint),
                "pushedAt": s.pushed_at,
            })).collect::<Vec<_>>(),
        },
    })
}

/// The hash of the token that it registered with stays here.
fn connection_document(p: &Presence) -> Value {
    json!({
        "connected": p.connected,
        "connectionId": p.connection_id,
        "hub": p.hub,
        "runtime": p.runtime,
        "connectedAt": p.connected_at,
        "lastSeen": p.last_seen,
        "disconnectedAt": p.disconnected_at,
    })
}

/// A task without what was asked and answered.
pub fn task_document(t: &Task) -> Value {
    json!({
        "id": t.id,
        "session": t.session,
        "state": t.state,
        "askedBy": t.asked_by,
        "attempts": t.attempts,
        "createdAt": t.created_at,
        "finishedAt": t.finished_at,
    })
}

fn condition_document(stored: &StoredCondition) -> Value {
    let c = &stored.condition;
    json!({
        "type": c.kind,
        "status": c.status,
        "reason": c.reason,
        "message": c.message,
        "observedGeneration": c.observed_generation,
        "lastTransitionAt": stored.last_transition_at,
    })
}

fn resource_document(r: &ResourceRecord) -> Value {
    json!({
        "kind": r.kind,
        "name": r.name,
        "externalId": r.external_id,
        "state": r.state,
        "attempts": r.attempts,
        "lastError": r.last_error,
        "confirmedAt": r.confirmed_at,
        "cleanupResult": r.cleanup_result,
        "cleanupError": r.cleanup_error,
        "cleanedAt": r.cleaned_at,
    })
}

/// The last four digits of a fingerprint.
pub fn last_four(hex: &str) -> &str {
    hex.get(hex.len().saturating_sub(4)..).unwrap_or_default()
}

/// The part of a fingerprint that is shown: its last four digits.
pub fn fingerprint(hex: &str) -> String {
    format!("····{}", last_four(hex))
}

/// The first and last digits of a hash.
pub fn short_hash(hex: &str) -> String {
    match (
        hex.get(..4),
        hex.len().checked_sub(4).and_then(|n| hex.get(n..)),
    ) {
        (Some(head), Some(tail)) if hex.len() > 12 => format!("{head}…{tail}"),
        _ => hex.to_owned(),
    }
}

/// What a kind of resource is called in front of people.
pub fn kind_label(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Worker => "Worker",
        ResourceKind::WorkerRoute => "Address",
        ResourceKind::R2Objects => "R2 objects",
        ResourceKind::R2Bucket => "R2 bucket",
        ResourceKind::R2Token => "R2 token",
        ResourceKind::AgentCard => "Agent card",
    }
}

/// What is said of a kind of resource once it is in place by our doing.
pub fn done_word(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Worker => "uploaded",
        ResourceKind::WorkerRoute => "switched on",
        ResourceKind::R2Objects | ResourceKind::R2Bucket | ResourceKind::R2Token => "created",
        ResourceKind::AgentCard => "registered",
    }
}

/// How long the effect behind a record took, if both ends are known.
pub fn took(record: &ResourceRecord) -> Option<std::time::Duration> {
    let end: DateTime<Utc> = record.cleaned_at.or(record.confirmed_at)?;
    (end - record.intent_at?).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn in_sync_means_ready_at_this_generation() {
        let mut s = fixtures::deployed("bot");
        assert_eq!((ready(&s), agreement(&s)), (Truth::True, Agreement::InSync));
        s.agent.generation.0 += 1;
        assert_eq!(
            (ready(&s), agreement(&s)),
            (Truth::False, Agreement::OutOfDate)
        );
        s.agent.deletion_requested_at = Some(fixtures::now());
        assert_eq!(agreement(&s), Agreement::Deleting);
    }

    #[test]
    fn the_message_tells_the_most_urgent_thing() {
        let mut s = fixtures::deployed("bot");
        assert_eq!(message(&s), "generation 1");
        fixtures::set(
            &mut s,
            ConditionType::HubConnected,
            Truth::True,
            Reason::AsExpected,
            "",
        );
        assert_eq!(message(&s), "connected 1h ago");
        fixtures::set(
            &mut s,
            ConditionType::Throttled,
            Truth::True,
            Reason::RateLimited,
            "429",
        );
        assert_eq!(message(&s), "RateLimited: 429");
        s.agent.status.deployment_error = Some("it broke".to_owned());
        assert_eq!(message(&s), "it broke");
        fixtures::set(
            &mut s,
            ConditionType::Stalled,
            Truth::True,
            Reason::SecretValueMissing,
            "no value",
        );
        assert_eq!(message(&s), "SecretValueMissing: no value");
    }

    #[test]
    fn deletion_tells_how_far_it_is() {
        let mut s = fixtures::deployed("bot");
        s.agent.deletion_requested_at = Some(fixtures::now());
        s.resources[0].cleanup_result = Some(CleanupResult::AlreadyAbsent);
        s.resources[1].cleanup_result = Some(CleanupResult::Failed);
        assert_eq!(message(&s), "1 of 4 cleaned, r2_bucket retrying");
    }

    #[test]
    fn the_document_holds_no_hash_of_a_token() {
        let text = document(&fixtures::deployed("bot")).to_string();
        assert!(!text.contains("secret-hash"), "{text}");
    }
}
