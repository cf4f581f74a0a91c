//! Events, as lists show them.

use chrono::{DateTime, Utc};
use talon_core::event::{Event, Severity};
use talon_explain::safe;
use talon_store::CONTROLLER;

use crate::ui::{Markup, ago};

/// One line of a list.
pub struct Line {
    pub agent: Option<String>,
    pub warning: bool,
    pub icon: &'static str,
    pub reason: String,
    pub object: String,
    pub times: String,
    pub age: Markup,
    pub message: String,
}

/// The latest first.
pub fn newest_first(events: Vec<Event>, now: DateTime<Utc>) -> Vec<Line> {
    events.into_iter().rev().map(|e| line(e, now)).collect()
}

fn line(e: Event, now: DateTime<Utc>) -> Line {
    let warning = e.event.severity == Severity::Warning;
    Line {
        agent: (e.agent != CONTROLLER).then_some(e.agent),
        warning,
        icon: if warning { "warn" } else { "check" },
        reason: e.event.reason.to_string(),
        object: safe(&e.event.object),
        times: if e.count > 1 {
            format!(" ×{}", e.count)
        } else {
            String::new()
        },
        age: ago(now, e.last_at),
        message: safe(&e.event.message),
    }
}
