//! What is said of an agent's connection to the Hub. It never gates `deployed`: a Worker that sleeps is as well as one
//! that is connected.

use chrono::{DateTime, SecondsFormat, Utc};
use talon_core::Snapshot;
use talon_core::condition::{Reason, Truth};

use crate::knock::told;

/// The condition `HubConnected`. Says nothing that changes with every sign of life.
pub(crate) fn hub_connected(snapshot: &Snapshot) -> (Truth, Reason, String) {
    let Some(presence) = &snapshot.presence else {
        let text = with_wake(snapshot, "never seen at the Hub".to_owned());
        return (Truth::Unknown, Reason::NotObserved, text);
    };
    if presence.connected {
        let text = format!("connected since {}", moment(presence.connected_at));
        return (Truth::True, Reason::Registered, text);
    }
    let since = moment(presence.disconnected_at.unwrap_or(presence.last_seen));
    if snapshot.agent.spec.keep_alive {
        let text = with_wake(snapshot, format!("not connected since {since}"));
        (Truth::False, Reason::Disconnected, text)
    } else {
        let text = format!("asleep since {since}; a task wakes it (keepAlive is false)");
        (Truth::False, Reason::Asleep, text)
    }
}

/// And when it last was woken, or that was tried, and what came of it.
fn with_wake(snapshot: &Snapshot, text: String) -> String {
    match &snapshot.contact {
        Some(contact) => format!("{text}; {}", told(contact)),
        None => text,
    }
}

fn moment(t: DateTime<Utc>) -> String {
    t.to_rfc3339_opts(SecondsFormat::Secs, true)
}
