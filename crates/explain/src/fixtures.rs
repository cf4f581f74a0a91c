//! Snapshots for unit tests.

use chrono::{DateTime, TimeZone, Utc};
use talon_core::agent::Agent;
use talon_core::condition::{Condition, ConditionType, Reason, StoredCondition, Truth};
use talon_core::id::Generation;
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentName, AgentSpec, Owner, Snapshot};

/// The moment at which every fixture is looked at.
pub fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 3, 40, 1)
        .single()
        .expect("a time")
}

/// An agent that nobody has looked at.
pub fn pending(name: &str) -> Snapshot {
    let spec: AgentSpec = serde_json::from_value(serde_json::json!({
        "persona": "p", "instructions": "i", "model": "anthropic/a",
        "apiKeyRefs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"},
    }))
    .expect("a spec");
    let id = AgentId(
        "7f3c0e9a-0000-4000-8000-000000000001"
            .parse()
            .expect("an id"),
    );
    let name = AgentName::parse(name).expect("a name");
    let made = now() - chrono::TimeDelta::days(4);
    let mut agent = Agent::new(id, name, Owner::default(), spec, made);
    agent.status.auth_token_hash = Some("secret-hash".to_owned());
    Snapshot::new(agent, now())
}

/// An agent that is live and as its row says.
pub fn deployed(name: &str) -> Snapshot {
    let mut s = pending(name);
    s.agent.status.deployment_status = DeploymentStatus::Deployed;
    s.agent.status.observed_generation = Generation(1);
    s.agent.status.first_deployed_at = Some(now() - chrono::TimeDelta::days(3));
    s.agent.status.worker_url = Some(format!("https://{name}.dev.workers.dev"));
    s.work.next_due_at = None;
    s.resources = [
        ResourceKind::Worker,
        ResourceKind::R2Bucket,
        ResourceKind::R2Token,
        ResourceKind::AgentCard,
    ]
    .map(|kind| record(kind, ResourceState::Present))
    .to_vec();
    set(
        &mut s,
        ConditionType::Ready,
        Truth::True,
        Reason::Deployed,
        "generation 1",
    );
    s
}

/// The record of a resource.
pub fn record(kind: ResourceKind, state: ResourceState) -> ResourceRecord {
    ResourceRecord {
        kind,
        name: format!("bot-{kind}"),
        external_id: None,
        try_id: None,
        state,
        desired_hash: None,
        observed_hash: None,
        version_id: None,
        attempts: 0,
        last_error: None,
        intent_at: Some(now()),
        settle_until: None,
        confirmed_at: Some(now() + chrono::TimeDelta::milliseconds(800)),
        cleanup_result: None,
        cleanup_error: None,
        cleaned_at: None,
    }
}

/// Sets a condition at the agent's present generation, an hour ago.
pub fn set(s: &mut Snapshot, kind: ConditionType, status: Truth, reason: Reason, message: &str) {
    s.conditions.retain(|c| c.condition.kind != kind);
    s.conditions.push(StoredCondition {
        condition: Condition {
            kind,
            status,
            reason,
            message: message.to_owned(),
            observed_generation: s.agent.generation,
        },
        last_transition_at: now() - chrono::TimeDelta::hours(1),
    });
}
