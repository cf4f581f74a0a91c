//! Progress for logs: one line for each thing that changed between two looks at an agent.

use talon_core::Snapshot;
use talon_core::condition::ConditionType;
use talon_core::resource::{CleanupResult, ResourceRecord, ResourceState};
use talon_core::snapshot::SecretState;

use super::{age, safe};
use crate::view;

/// What changed from `before` (`None`: nothing was known) to `after`, each line with its time stamp. `after_edit`: the
/// agent was edited just now, so that what happened since then is news even at the first look.
pub fn between(before: Option<&Snapshot>, after: &Snapshot, after_edit: bool) -> Vec<String> {
    let stamp = age::stamp(after.now);
    let mut lines = Vec::new();
    for record in &after.resources {
        let old = before.and_then(|b| b.resource(record.kind));
        // At the first look, what was in place before the last edit is no news.
        let news = before.is_some()
            || (after_edit
                && record.confirmed_at.max(record.cleaned_at) >= Some(after.agent.updated_at));
        if news {
            lines.extend(resource(old, record));
        }
    }
    let pushed = |s: &Snapshot| -> Vec<String> {
        s.secrets
            .iter()
            .filter(|r| r.state != SecretState::Pushing)
            .map(|r| r.name.clone())
            .collect()
    };
    let now_pushed = pushed(after);
    if !now_pushed.is_empty() && before.is_some_and(|b| pushed(b) != now_pushed) {
        lines.push(format!(
            "secrets pushed names={}",
            safe(&now_pushed.join(","))
        ));
    }
    for kind in [
        ConditionType::Stalled,
        ConditionType::Held,
        ConditionType::Throttled,
    ] {
        lines.extend(condition(kind, before, after));
    }
    let status = after.agent.status.deployment_status;
    if before.map(|b| b.agent.status.deployment_status) != Some(status) {
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
        ResourceState::Present => view::done_word(new.kind),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use talon_core::condition::{Reason, Truth};
    use talon_core::resource::ResourceKind;
    use talon_core::status::DeploymentStatus;

    #[test]
    fn each_change_is_one_line_with_a_stamp() {
        let before = fixtures::pending("bot");
        let mut after = before.clone();
        after.agent.status.deployment_status = DeploymentStatus::Deploying;
        after.resources.push(fixtures::record(
            ResourceKind::R2Bucket,
            ResourceState::Present,
        ));
        let mut token = fixtures::record(ResourceKind::R2Token, ResourceState::Unknown);
        token.attempts = 2;
        token.last_error = Some("POST token: \u{1b}[31mbad".to_owned());
        after.resources.push(token);
        fixtures::set(
            &mut after,
            ConditionType::Throttled,
            Truth::True,
            Reason::RateLimited,
            "429",
        );
        assert_eq!(
            between(Some(&before), &after, false),
            [
                "2026-11-23T03:40:01Z r2_bucket created name=bot-r2_bucket",
                "2026-11-23T03:40:01Z r2_token retrying attempt=2 error=\"POST token: \\u{1b}[31mbad\"",
                "2026-11-23T03:40:01Z agent/bot throttled reason=RateLimited message=\"429\"",
                "2026-11-23T03:40:01Z agent/bot deploying",
            ]
        );
        assert_eq!(between(Some(&after), &after, true), Vec::<String>::new());
    }

    #[test]
    fn what_was_in_place_before_is_no_news() {
        let only_the_status = ["2026-11-23T03:40:01Z agent/bot deployed"];
        let mut s = fixtures::deployed("bot");
        for r in &mut s.resources {
            r.confirmed_at = Some(fixtures::now());
        }
        s.agent.updated_at = fixtures::now() - chrono::TimeDelta::hours(1);
        assert_eq!(between(None, &s, false), only_the_status);
        assert!(between(None, &s, true).len() > 1);
        s.agent.updated_at = fixtures::now() + chrono::TimeDelta::hours(1);
        assert_eq!(between(None, &s, true), only_the_status);
    }

    #[test]
    fn cleanup_is_told_by_its_result() {
        let before = fixtures::deployed("bot");
        let mut after = before.clone();
        for r in &mut after.resources {
            r.state = ResourceState::Absent;
            r.cleanup_result = Some(CleanupResult::Deleted);
        }
        let lines = between(Some(&before), &after, false);
        assert!(
            lines
                .iter()
                .any(|l| l.ends_with("worker deleted name=bot-worker")),
            "{lines:?}"
        );
    }
}
