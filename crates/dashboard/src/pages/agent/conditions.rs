//! The conditions of an agent, each with a mark that says whether it is good as it is.

use talon_core::Snapshot;
use talon_core::condition::Truth;
use talon_explain::safe;

use crate::ui::{Markup, ago, icon};

/// A condition as it is shown.
pub struct ConditionLine {
    pub mark: Markup,
    pub kind: String,
    pub reason: String,
    pub since: Markup,
    pub message: String,
}

/// All that the controller wrote.
pub fn of(s: &Snapshot) -> Vec<ConditionLine> {
    s.conditions
        .iter()
        .map(|stored| {
            let c = &stored.condition;
            use talon_core::condition::ConditionType as T;
            // Of these, it is good that they do not hold.
            let bad_if_true = matches!(c.kind, T::Stalled | T::Held | T::Throttled | T::Drifted);
            let calm = matches!(c.kind, T::Reconciling | T::HubConnected);
            let (tone, image) = match (c.status, bad_if_true, calm) {
                (Truth::True, false, _) | (Truth::False, true, _) => ("good", "check"),
                (Truth::True, true, _) => ("bad", "cross"),
                (Truth::False, false, true) | (Truth::Unknown, ..) => ("idle", "dots"),
                (Truth::False, false, false) => ("warn", "warn"),
            };
            ConditionLine {
                mark: Markup::trusted(format!(
                    "<span class=\"mark {tone}\">{}<span class=\"sr\">{}</span></span>",
                    icon(image),
                    c.status.as_str()
                )),
                kind: format!("{} {}", c.kind, c.status.as_str()),
                reason: c.reason.to_string(),
                since: ago(s.now, stored.last_transition_at),
                message: safe(&c.message),
            }
        })
        .collect()
}
