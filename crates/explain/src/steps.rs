//! The lines of progress: one for each thing an agent consists of, from a snapshot alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Truth};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::SecretState;

use crate::{safe, view};

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Done.
    Done,
    /// Under way.
    Working,
    /// Waits for something else.
    Waiting,
    /// Failed; tried again.
    Failed,
}

impl Mark {
    /// The glyph; a word always stands beside it.
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Done => "✓",
            Self::Working => "⟳",
            Self::Waiting => "·",
            Self::Failed => "✗",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How it stands.
    pub mark: Mark,
    /// What it is.
    pub label: &'static str,
    /// Its name and such.
    pub detail: String,
    /// How it stands, in words.
    pub word: String,
    /// How long it took.
    pub took: Option<Duration>,
}

/// The steps of bringing an agent up. `since`: when what is being watched began; what was in place before says so.
pub fn deploying(snapshot: &Snapshot, since: DateTime<Utc>) -> Vec<Step> {
    let made = |kind| resource_step(snapshot, kind, since);
    let mut steps = vec![
        identity_step(snapshot),
        made(ResourceKind::R2Bucket),
        made(ResourceKind::R2Token),
        made(ResourceKind::Worker),
        secrets_step(snapshot),
        made(ResourceKind::WorkerRoute),
        made(ResourceKind::AgentCard),
    ];
    if let Some(hub) = view::condition(snapshot, ConditionType::HubConnected) {
        let connected = hub.condition.status == Truth::True;
        steps.push(Step {
            mark: if connected { Mark::Done } else { Mark::Waiting },
            label: "Hub",
            detail: safe(&hub.condition.message),
            word: if connected {
                "connected"
            } else {
                "not connected"
            }
            .to_owned(),
            took: None,
        });
    }
    mark_waiting(&mut steps);
    steps
}

/// What a step that has not begun waits for: the first one before it that is not done.
fn mark_waiting(steps: &mut [Step]) {
    let mut blocker: Option<&'static str> = None;
    for step in steps {
        match (step.mark, blocker) {
            (Mark::Waiting, Some(label)) if step.word.is_empty() => {
                step.word = format!("waiting for {label}");
            }
            (Mark::Waiting, None) if step.word.is_empty() => {
                step.word = "next".to_owned();
                blocker = Some(step.label);
            }
            (Mark::Working | Mark::Failed, None) => blocker = Some(step.label),
            (Mark::Done | Mark::Working | Mark::Failed | Mark::Waiting, _) => {}
        }
    }
}

fn identity_step(snapshot: &Snapshot) -> Step {
    let status = &snapshot.agent.status;
    let (mark, detail, word) = match (&status.identity_sha256, &status.identity_md) {
        (Some(sha), text) => {
            let size = text.as_ref().map_or(0, String::len);
            let frozen = status.first_deployed_at.is_some();
            (
                Mark::Done,
                format!("sha256 {}  {}", view::short_hash(sha), bytes(size)),
                if frozen { "locked" } else { "compiled" },
            )
        }
        (None, _) => (Mark::Waiting, String::new(), ""),
    };
    Step {
        mark,
        label: "IDENTITY.md",
        detail,
        word: word.to_owned(),
        took: None,
    }
}

fn bytes(n: usize) -> String {
    if n < 1024 {
        format!("{n} B")
    } else {
        // Fifteen digits of precision are enough for the size of a text.
        format!("{:.1} KiB", n as f64 / 1024.0)
    }
}

fn resource_step(snapshot: &Snapshot, kind: ResourceKind, since: DateTime<Utc>) -> Step {
    let done = view::done_word(kind);
    let label = view::kind_label(kind);
    let Some(record) = snapshot.resource(kind) else {
        return Step {
            mark: Mark::Waiting,
            label,
            detail: String::new(),
            word: String::new(),
            took: None,
        };
    };
    let (mark, word) = match (record.state, &record.last_error) {
        (ResourceState::Present, None) => (
            Mark::Done,
            if record.confirmed_at.is_some_and(|at| at >= since) {
                done.to_owned()
            } else {
                "in place".to_owned()
            },
        ),
        (ResourceState::ValueUnplaced, None) => {
            (Mark::Working, "value not on the Worker yet".into())
        }
        (ResourceState::Unknown, None) => (Mark::Working, "under way".to_owned()),
        (ResourceState::Absent, None) => (Mark::Waiting, String::new()),
        (_, Some(error)) => (
            Mark::Failed,
            format!("try {}: {}", record.attempts.max(1), safe(error)),
        ),
    };
    let took = (mark == Mark::Done && word == done)
        .then(|| view::took(record))
        .flatten();
    Step {
        mark,
        label,
        detail: detail(snapshot, record),
        word,
        took,
    }
}

fn detail(snapshot: &Snapshot, record: &ResourceRecord) -> String {
    match record.kind {
        ResourceKind::R2Token => match &record.external_id {
            Some(id) => format!("{}  read and write, 1 bucket", view::short_hash(&safe(id))),
            None => "read and write, 1 bucket".to_owned(),
        },
        ResourceKind::WorkerRoute => snapshot
            .agent
            .status
            .worker_url
            .as_deref()
            .map_or_else(|| safe(&record.name), safe),
        ResourceKind::AgentCard => format!("ws-agent://{}", snapshot.agent.name),
        ResourceKind::Worker | ResourceKind::R2Objects | ResourceKind::R2Bucket => {
            safe(&record.name)
        }
    }
}

fn secrets_step(snapshot: &Snapshot) -> Step {
    let names: Vec<_> = snapshot
        .secrets
        .iter()
        .map(|s| match (&s.provider, &s.fingerprint) {
            (Some(_), Some(print)) => format!("{} {}", safe(&s.name), view::fingerprint(print)),
            _ => safe(&s.name),
        })
        .collect();
    let pushed = snapshot
        .secrets
        .iter()
        .filter(|s| s.state != SecretState::Pushing)
        .count();
    let (mark, word) = if names.is_empty() {
        (Mark::Waiting, String::new())
    } else if pushed == names.len() {
        (Mark::Done, format!("{pushed} of {pushed} pushed"))
    } else {
        (Mark::Working, format!("{pushed} of {} pushed", names.len()))
    };
    let shown = snapshot
        .secrets
        .iter()
        .filter(|s| s.provider.is_some())
        .count();
    let mut keys: Vec<String> = snapshot
        .secrets
        .iter()
        .zip(names)
        .filter(|(s, _)| s.provider.is_some())
        .map(|(_, text)| text)
        .collect();
    if snapshot.secrets.len() > shown {
        keys.push(format!(
            "and {} of Talon's own",
            snapshot.secrets.len() - shown
        ));
    }
    Step {
        mark,
        label: "Secrets",
        detail: keys.join("  "),
        word,
        took: None,
    }
}

/// The order in which cleanup is told.
const CLEANUP_ORDER: [ResourceKind; 5] = [
    ResourceKind::Worker,
    ResourceKind::R2Objects,
    ResourceKind::R2Bucket,
    ResourceKind::R2Token,
    ResourceKind::AgentCard,
];

/// The steps of taking an agent down, with each resource's result.
pub fn deleting(snapshot: &Snapshot) -> Vec<Step> {
    let mut steps: Vec<Step> = CLEANUP_ORDER
        .iter()
        .filter_map(|kind| snapshot.resource(*kind))
        .map(|record| cleanup_step(snapshot, record))
        .collect();
    let archived = snapshot.agent.is_archived();
    steps.push(Step {
        mark: if archived { Mark::Done } else { Mark::Waiting },
        label: "Record",
        detail: if archived {
            "kept for billing, hidden from lists".to_owned()
        } else {
            "archived when the rest is cleaned up".to_owned()
        },
        word: String::new(),
        took: None,
    });
    steps
}

fn cleanup_step(snapshot: &Snapshot, record: &ResourceRecord) -> Step {
    let (mark, word) = match record.cleanup_result {
        Some(CleanupResult::Deleted) => (Mark::Done, "deleted".to_owned()),
        Some(CleanupResult::AlreadyAbsent) => (Mark::Done, "already gone".to_owned()),
        Some(CleanupResult::Kept) => (Mark::Done, "kept on request".to_owned()),
        Some(CleanupResult::Failed) => (
            Mark::Failed,
            format!(
                "FAILED  {}",
                safe(
                    record
                        .cleanup_error
                        .as_deref()
                        .or(record.last_error.as_deref())
                        .unwrap_or("tried again later")
                )
            ),
        ),
        None if record.last_error.is_some() => (Mark::Working, "trying again".to_owned()),
        None => (Mark::Waiting, "to be deleted".to_owned()),
    };
    let mut text = detail(snapshot, record);
    if record.kind == ResourceKind::R2Objects
        && record.cleanup_result == Some(CleanupResult::Deleted)
        && let Some(said) = &record.cleanup_error
    {
        text = safe(said);
    }
    Step {
        mark,
        label: view::kind_label(record.kind),
        detail: text,
        word,
        took: None,
    }
}
