//! Progress for logs: one line for each thing that changed between two looks at an agent.

use talon_core::Snapshot;
use talon_core::condition::ConditionType;
use talon_core::resource::{CleanupResult, ResourceRecord, ResourceState};
use talon_core::snapshot::SecretState;

use super::{age, safe};
use crate::view;

/// What changed from `before` (`None`: nothing was known) to `after`, each line with its time stamp.
pub fn between(before: Option<&Snapshot>, after: &Snapshot) -> Vec<String> {
    let stamp = age::stamp(after.now);
    let mut lines = Vec::new();
    for record in &after.resources {
        let old = before.and_then(|b| b.resource(record.kind));
        lines.extend(resource(old, record));
    }
    let pushed = |s: &Snapshot| -> Vec<String> {
        s.secrets
            .iter()
            .filter(|r| r.state != SecretState::Pushing)
            .map(|r| r.name.clone())
            .collect()
    };
    let now_pushed = pushed(after);
    if !now_pushed.is_empty() && before.map(pushed).as_ref() != Some(&now_pushed) {
        lines.push(format!("secrets pushed names={}", safe(&now_pushed.join(","))));
    }
    for kind in [
        ConditionType::Stalled,
        ConditionType::Held,
        ConditionType::Throttled,
    ] {
        lines.extend(condition(kind, before, after));
    }
    let status = after.agent.status.deployment_status;
    if before.is_some_and(|b| b.agent.status.deployment_status != status) {
        lines.push(format!("agent/{} {status}", after.agent.name));
    }
    lines.into_iter().map(|l| format!("{stamp} {l}")).collect()
}

fn resource(old: Option<&ResourceRecord>, new: &ResourceRecord) -> Option<String> {
    let kind = new.kind.as_str();
    let name = safe(&new.name);
    if old.and_then(|o| o.cleanup_result) != new.cleanup_result
        && let Some(result) = new.cleanup_result
    {
        let error = match (result, &new.cleanup_error) {
            (CleanupResult::Failed, Some(error)) => format!(" error=\"{}\"", safe(error)),
            _ => String::new(),
        };
        return Some(format!("{kind} {result} name={name}{error}"));
    }
    if new.attempts > old.map_or(0, |o| o.attempts) {
        let error = new.last_error.as_deref().unwrap_or_default();
        return Some(format!(
            "{kind} retrying attempt={} error=\"{}\"",
            new.attempts,
            safe(error)
        ));
    }
    if old.map(|o| o.state) == Some(new.state) {
        return None;
    }
    let word = match new.state {
        ResourceState::Present => "present",
        ResourceState::Unknown => "requested",
        ResourceState::ValueUnplaced => "created value=unplaced",
        ResourceState::Absent => {
            old?;
            "absent"
        }
    };
    Some(format!("{kind} {word} name={name}"))
}

fn condition(kind: ConditionType, before: Option<&Snapshot>, after: &Snapshot) -> Option<String> {
    let now = view::holds_now(after, kind)?;
    let was = before
        .and_then(|b| view::holds_now(b, kind))
        .is_some_and(|w| w.condition == now.condition);
    (!was).then(|| {
        format!(
            "agent/{} {} reason={} message=\"{}\"",
            after.agent.name,
            kind.as_str().to_lowercase(),
            now.condition.reason,
            safe(&now.condition.message)
        )
    })
}
