//! Waiting, within one request, until an agent is where somebody wants it.

use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use talon_core::condition::{ConditionType, Truth};
use talon_core::turns::Place;
use talon_core::{AgentId, Snapshot};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use super::feed::Told;
use crate::App;
use crate::auth::{Admission, Caller};
use crate::http::{Answer, Kind, Problem};

/// How long nobody looks, if the feed tells nothing of the agent.
const LOOK: Duration = Duration::from_secs(5);
/// How long nobody looks at an agent that lacks only its connection, which makes no entry in the feed.
const LOOK_FOR_CONNECTION: Duration = Duration::from_millis(500);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Deployed at its present generation.
    Ready,
    /// And its Worker connected to the Hub.
    Connected,
    /// Cleaned up, and only a record.
    Deleted,
}

/// Whether to wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WaitParams {
    /// Answer only when the agent is there, needs a person, or time is up; the header `Talon-Wait` says which.
    #[param(inline)]
    pub wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    pub timeout: Option<String>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The agent is there.
    Reached,
    /// A person is needed.
    Stalled,
    /// Time was up.
    TimedOut,
}

impl Ended {
    /// For the header `Talon-Wait`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Reached => "reached",
            Self::Stalled => "stalled",
            Self::TimedOut => "timeout",
        })
    }
}

/// A wait that somebody may have, and the place it takes among their long answers.
pub struct Waiting {
    goal: Goal,
    timeout: Duration,
    admission: Admission,
    _place: Place<String>,
}

impl WaitParams {
    /// What to wait for and how long; `None`: not at all. Asked before anything is done, since a wait may be refused.
    pub fn read(&self, app: &App, caller: &Caller) -> Answer<Option<Waiting>> {
        let max = app.config().max_wait;
        let timeout = match self.timeout.as_deref() {
            None => DEFAULT_TIMEOUT.min(max),
            Some(text) => duration(text).filter(|d| *d <= max).ok_or_else(|| {
                let max = max.as_secs();
                Problem::new(
                    Kind::Malformed,
                    format!("timeout must be a time like 60s, at most {max}s"),
                )
            })?,
        };
        let waiting = self.wait.map(|goal| {
            Ok(Waiting {
                goal,
                timeout,
                admission: Admission::of(caller, app),
                _place: app.stay(caller)?,
            })
        });
        waiting.transpose()
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = (1..=4).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| fits)?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        _ => None,
    }
}

/// Waits; the agent as it stands then.
pub async fn until(app: &App, id: AgentId, mut waiting: Waiting) -> Answer<(Snapshot, Ended)> {
    let deadline = tokio::time::Instant::now() + waiting.timeout;
    let goal = waiting.goal;
    // Before the first look, so that nothing falls between the two.
    let mut told = app.feed().subscribe(app).await?;
    loop {
        waiting.admission.require(app).await?;
        let snapshot = app.store().load(id).await?;
        let snapshot = snapshot.ok_or_else(|| Problem::new(Kind::NotFound, "the agent is gone"))?;
        if let Some(ended) = look(&snapshot, goal) {
            return Ok((snapshot, ended));
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() || app.stopping().is_cancelled() {
            return Ok((snapshot, Ended::TimedOut));
        }
        let lacks_connection = goal == Goal::Connected && is_ready(&snapshot);
        let look = match lacks_connection {
            true => LOOK_FOR_CONNECTION,
            false => LOOK,
        };
        tokio::select! {
            () = news(&mut told, id) => {}
            () = tokio::time::sleep(left.min(look)) => {}
            () = app.stopping().cancelled() => {}
            () = waiting.admission.is_due() => {}
        }
    }
}

/// Ends when the feed tells something of this agent, or may have done so.
async fn news(told: &mut Receiver<Told>, id: AgentId) {
    loop {
        match told.recv().await {
            Ok(Told::Happened(one)) if one.snapshot.agent.id == id => return,
            Ok(Told::Happened(_) | Told::Bookmark(_)) => {}
            Ok(Told::Broke) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn holds(snapshot: &Snapshot, kind: ConditionType) -> bool {
    snapshot.conditions.iter().any(|c| {
        c.condition.kind == kind
            && c.condition.status == Truth::True
            && c.condition.observed_generation == snapshot.agent.generation
    })
}

fn is_ready(snapshot: &Snapshot) -> bool {
    holds(snapshot, ConditionType::Ready)
}

fn look(snapshot: &Snapshot, goal: Goal) -> Option<Ended> {
    let agent = &snapshot.agent;
    let connected = || snapshot.presence.as_ref().is_some_and(|p| p.connected);
    let reached = match goal {
        Goal::Ready => is_ready(snapshot),
        Goal::Connected => is_ready(snapshot) && connected(),
        Goal::Deleted => agent.is_archived(),
    };
    if reached {
        return Some(Ended::Reached);
    }
    // What is being deleted is never ready again.
    let hopeless = goal != Goal::Deleted && agent.is_deleting();
    (hopeless || holds(snapshot, ConditionType::Stalled)).then_some(Ended::Stalled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_strictly() {
        assert_eq!(duration("60s"), Some(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        for bad in [
            "", "s", "60", "-1s", "+1s", "1h", "99999s", "1.5s", "ä", "1ä",
        ] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }
}
