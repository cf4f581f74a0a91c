//! The words of `talon why`, as a page shows them.

use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason};
use talon_explain::why::{Explanation, explain};
use talon_explain::{safe, view};
use talon_store::Hold;

use crate::commands::with_copies;
use crate::ui::{Markup, pill, short_stamps};
use crate::visitor::{Role, Visitor};

/// Somewhere to go to put it right.
pub struct Fix {
    pub href: String,
    pub label: &'static str,
}

/// Why an agent is as it is.
pub struct Why {
    pub tone: &'static str,
    pub icon: &'static str,
    pub headline: String,
    pub blocked_at: Option<String>,
    pub reason: String,
    pub what: String,
    pub do_this: Vec<Markup>,
    pub fix: Option<Fix>,
    pub waiting: String,
}

pub fn why(s: &Snapshot, hold: Option<&Hold>, visitor: &Visitor) -> Why {
    let e = explain(s, hold);
    let (tone, icon) = tone(s, &e);
    Why {
        tone,
        icon,
        do_this: e.do_this.iter().map(|line| with_copies(line)).collect(),
        fix: fix(s, &e, visitor),
        waiting: e.waiting.join(", "),
        headline: short_stamps(&e.headline, s.now),
        blocked_at: e.blocked_at,
        reason: e.reason,
        what: e.what,
    }
}

fn tone(s: &Snapshot, e: &Explanation) -> (&'static str, &'static str) {
    if e.reason == Reason::AsExpected.as_str() || e.reason == Reason::Deleted.as_str() {
        ("good", "check")
    } else if !s.agent.violations.is_empty() || view::holds_now(s, ConditionType::Stalled).is_some()
    {
        ("bad", "cross")
    } else if e.blocked_at.is_some() {
        ("warn", "warn")
    } else {
        ("busy", "turn")
    }
}

/// The page on which it can be put right, where there is one.
fn fix(s: &Snapshot, e: &Explanation, visitor: &Visitor) -> Option<Fix> {
    if s.agent.is_archived() {
        return view::leftovers(s).next().map(|_| Fix {
            href: "/cleanup".to_owned(),
            label: "Look at what is left",
        });
    }
    if visitor.role < Role::Operator {
        return None;
    }
    let page = |path: &str, label| {
        Some(Fix {
            href: format!("/agents/{}/{path}", s.agent.name),
            label,
        })
    };
    let reason: Reason = e.reason.parse().ok()?;
    match reason {
        Reason::InvalidSpec | Reason::CloudflareRejected | Reason::SecretOutOfScope => {
            page("edit", "Edit the agent")
        }
        Reason::AwaitingKeys | Reason::SecretValueMissing | Reason::SecretRefDiscarded => {
            page("secrets", "Set the key")
        }
        Reason::CloudflareAuth if visitor.owner.is_none() => Some(Fix {
            href: "/controller".to_owned(),
            label: "Look at the token",
        }),

        Reason::MassChange | Reason::RestoredDatabase | Reason::HeldByOperator
            if visitor.owner.is_none() =>
        {
            Some(Fix {
                href: "/controller".to_owned(),
                label: "Look at the hold",
            })
        }
        _ => None,
    }
}

/// An agent that wants a look, in a line or two.
pub struct Attention {
    pub name: String,
    pub tone: &'static str,
    pub icon: &'static str,
    pub pill: Markup,
    pub reason: String,
    pub since: Markup,
    pub what: String,
    pub do_this: Markup,
    pub fix: Option<Fix>,
}

pub fn attention(s: &Snapshot, visitor: &Visitor) -> Attention {
    let e = explain(s, None);
    let (tone, icon) = match tone(s, &e) {
        ("good" | "busy", _) if s.agent.is_deleting() => ("gone", "trash"),
        ("busy", icon) => ("warn", icon),
        other => other,
    };
    let since = view::holds_now(s, ConditionType::Stalled)
        .map(|c| c.last_transition_at)
        .or(s.agent.deletion_requested_at)
        .or(s.work.failing_since)
        .or_else(|| view::condition(s, ConditionType::Reconciling).map(|c| c.last_transition_at))
        .unwrap_or(s.agent.updated_at);
    Attention {
        name: s.agent.name.to_string(),
        tone,
        icon,
        pill: match s.agent.is_archived() {
            true => pill("warn", "warn", "left over"),
            false => crate::ui::status_pill(s.agent.status.deployment_status),
        },
        fix: fix(s, &e, visitor),
        reason: e.reason,
        since: crate::ui::ago(s.now, since),
        what: match e.blocked_at {
            Some(at) => format!("{at}: {}", e.what.replace('\n', "; ")),
            None => e.what.replace('\n', "; "),
        },
        do_this: with_copies(&safe(e.do_this.first().map_or("nothing", String::as_str))),
    }
}
