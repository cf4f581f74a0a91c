//! The steps of an agent's life with how long each took, on a common scale.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::Snapshot;
use talon_core::resource::ResourceKind;
use talon_explain::steps::{self, Mark, Step};
use talon_explain::{age, view};

use crate::chart;
use crate::ui::Markup;

/// Steps that begin longer than this before the latest one belong to an earlier run: they are in place, and have no lane.
const ONE_RUN: TimeDelta = TimeDelta::hours(1);

/// A step as it is shown.
pub struct Shown {
    pub tone: &'static str,
    pub icon: &'static str,
    pub label: &'static str,
    pub said: &'static str,
    pub word: String,
    pub detail: String,
    pub lane: Markup,
    pub took: String,
}

/// The steps, and what they took together.
pub struct Timeline {
    pub heading: &'static str,
    pub total: String,
    pub steps: Vec<Shown>,
}

/// Tone, icon and word of a mark.
pub fn mark(mark: Mark) -> (&'static str, &'static str, &'static str) {
    match mark {
        Mark::Done => ("good", "check", "done"),
        Mark::Working => ("busy", "turn", "under way"),
        Mark::Waiting => ("idle", "dots", "waiting"),
        Mark::Failed => ("bad", "cross", "failed"),
    }
}

type Span = (DateTime<Utc>, DateTime<Utc>);

/// When the effect behind a step ran; until now if it still does.
fn span(s: &Snapshot, step: &Step) -> Option<Span> {
    let record = s
        .resources
        .iter()
        .find(|r| view::kind_label(r.kind) == step.label && r.kind != ResourceKind::R2Objects)?;
    let begin = record.intent_at?;
    let end = match step.mark {
        Mark::Working | Mark::Failed => s.now,
        _ => record.cleaned_at.or(record.confirmed_at)?,
    };
    (end >= begin).then_some((begin, end))
}

pub fn of(s: &Snapshot) -> Timeline {
    let deleting = s.agent.is_deleting();
    let steps = if deleting {
        steps::deleting(s)
    } else {
        steps::deploying(s, s.agent.created_at)
    };
    let spans: Vec<Option<Span>> = steps.iter().map(|step| span(s, step)).collect();
    let latest = spans.iter().flatten().map(|(begin, _)| *begin).max();
    let run: Vec<Option<Span>> = spans
        .into_iter()
        .map(|span| span.filter(|(begin, _)| latest.is_some_and(|l| *begin > l - ONE_RUN)))
        .collect();
    let from = run.iter().flatten().map(|(begin, _)| *begin).min();
    let to = run.iter().flatten().map(|(_, end)| *end).max();
    let whole = match (from, to) {
        (Some(from), Some(to)) => (to - from).to_std().unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let share = |at: DateTime<Utc>| {
        let passed = from.map(|from| (at - from).to_std().unwrap_or_default());
        passed.unwrap_or_default().as_secs_f64() / whole.as_secs_f64().max(0.001)
    };
    Timeline {
        heading: if deleting {
            "Cleanup, step by step"
        } else {
            "Deployment, step by step"
        },
        total: if whole.is_zero() {
            String::new()
        } else {
            format!("{} in all", took(whole))
        },
        steps: steps
            .into_iter()
            .zip(run)
            .map(|(step, span)| {
                let (tone, icon, said) = mark(step.mark);
                Shown {
                    tone,
                    icon,
                    label: step.label,
                    said,
                    lane: span
                        .map_or_else(Markup::default, |(b, e)| chart::lane(share(b), share(e))),
                    took: span
                        .and_then(|(b, e)| (e - b).to_std().ok())
                        .or(step.took)
                        .map(took)
                        .unwrap_or_default(),
                    word: step.word,
                    detail: step.detail,
                }
            })
            .collect(),
    }
}

/// A duration as a timeline shows it.
pub fn took(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        age::seconds(duration)
    } else {
        age::short(duration)
    }
}
