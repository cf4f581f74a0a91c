//! `GET /agents/{name}/logs`: what the controller did for an agent line by line, and what its Worker prints meanwhile.
//!
//! The controller's lines are those of the daemon in this process. A Worker's lines are kept nowhere and show what people say
//! to the agent: they are there for operators only, and only as they come.

mod line;
mod lines;
mod source;
mod stream;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};
use talon_core::logs::LogLine;

use self::line::Line;
use self::source::Wanted;
pub use self::stream::stream;
use super::visit::Visit;
use crate::error::{PageError, rendered};
use crate::ui::{Markup, icon, stamp};
use crate::visitor::Role;

/// Lines that a page begins with.
const FIRST: usize = 200;

/// Why there are no lines.
enum Lacking {
    /// No daemon runs in this process.
    Daemon,
    /// The visitor's role does not open a Worker's lines.
    Role,
}

/// What the address asks for, as far as there is any.
struct Shown {
    lines: Vec<Markup>,
    /// Where to follow from.
    place: String,
    /// Since when lines are kept.
    since: Markup,
    /// How many older ones are no longer kept.
    dropped: u64,
}

/// A choice of whose lines to show.
struct Choice {
    wanted: Wanted,
    label: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "agent_logs.html")]
struct LogsTab {
    name: String,
    choices: Vec<Choice>,
    wanted: Wanted,
    may_tail: bool,
    shown: Result<Shown, Lacking>,
}

/// Where to follow the controller's lines from. A place holds for one daemon: another one, or the same one started anew,
/// numbers its own.
fn place_of(since: DateTime<Utc>, place: u64) -> String {
    format!("{}-{place}", since.timestamp_micros())
}

/// The place that [`place_of`] wrote, if it is one of the daemon that keeps lines since then.
fn read_place(text: &str, since: DateTime<Utc>) -> Option<u64> {
    let (of, place) = text.split_once('-')?;
    let is_ours = of.parse() == Ok(since.timestamp_micros());
    place.parse().ok().filter(|_| is_ours)
}

fn html(line: &LogLine) -> Result<Markup, PageError> {
    Ok(Markup::trusted(rendered(&Line::of(line))?))
}

/// `GET /agents/{name}/logs`.
pub async fn show(visit: Visit) -> Result<Response, PageError> {
    let wanted = Wanted::read(&visit.asked.source);
    let may_tail = visit.session.visitor.role >= Role::Operator;
    let shown = match visit.app.logs() {
        None => Err(Lacking::Daemon),
        Some(_) if wanted.worker() && !may_tail => Err(Lacking::Role),
        Some(logs) => {
            let most = if wanted.controller() { FIRST } else { 0 };
            let recent = logs.recent(visit.snapshot.agent.id, most);
            Ok(Shown {
                lines: recent.lines.iter().map(html).collect::<Result<_, _>>()?,
                place: place_of(recent.since, recent.place),
                since: stamp(recent.since),
                dropped: recent.dropped,
            })
        }
    };
    let choices = Wanted::ALL.map(|(choice, label)| Choice {
        wanted: choice,
        label,
        chosen: choice == wanted,
    });
    let tab = LogsTab {
        name: visit.snapshot.agent.name.to_string(),
        choices: choices.into(),
        wanted,
        may_tail,
        shown,
    };
    visit.show("/logs", &tab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_for_the_daemon_that_gave_it() {
        let at = |seconds| DateTime::from_timestamp(seconds, 5_000).expect("a time");
        let place = place_of(at(1_800_000_000), 7);
        assert_eq!(read_place(&place, at(1_800_000_000)), Some(7));
        assert_eq!(read_place(&place, at(1_800_000_001)), None);
        for bad in ["", "-", "7", "1800000000000005-", "x-7"] {
            assert_eq!(read_place(bad, at(1_800_000_000)), None, "{bad}");
        }
    }
}
