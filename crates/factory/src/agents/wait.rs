//! Waiting, within one request, until an agent is where somebody wants it.

use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use talon_core::condition::{ConditionType, Truth};
use talon_core::{AgentId, Snapshot};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::http::{Answer, Kind, Problem};

/// How long nobody looks, if nothing tells that something changed.
const LOOK: Duration = Duration::from_millis(500);
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

impl WaitParams {
    /// What to wait for and how long; `None`: not at all.
    pub fn read(&self, app: &App) -> Answer<Option<(Goal, Duration)>> {
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
        Ok(self.wait.map(|goal| (goal, timeout)))
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
pub async fn until(
    app: &App,
    id: AgentId,
    goal: Goal,
    timeout: Duration,
) -> Answer<(Snapshot, Ended)> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let snapshot = app.store().load(id).await?;
        let snapshot = snapshot.ok_or_else(|| Problem::new(Kind::NotFound, "the agent is gone"))?;
        if let Some(ended) = look(&snapshot, goal) {
            return Ok((snapshot, ended));
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() || app.stopping().is_cancelled() {
            return Ok((snapshot, Ended::TimedOut));
        }
        tokio::select! {
            waited = app.store().wait(left.min(LOOK)) => waited?,
            () = app.stopping().cancelled() => {}
        }
    }
}

fn look(snapshot: &Snapshot, goal: Goal) -> Option<Ended> {
    let agent = &snapshot.agent;
    let holds = |kind| {
        snapshot.conditions.iter().any(|c| {
            c.condition.kind == kind
                && c.condition.status == Truth::True
                && c.condition.observed_generation == agent.generation
        })
    };
    let connected = || snapshot.presence.as_ref().is_some_and(|p| p.connected);
    let reached = match goal {
        Goal::Ready => holds(ConditionType::Ready),
        Goal::Connected => holds(ConditionType::Ready) && connected(),
        Goal::Deleted => agent.is_archived(),
    };
    if reached {
        return Some(Ended::Reached);
    }
    // What is being deleted is never ready again.
    let hopeless = goal != Goal::Deleted && agent.is_deleting();
    (hopeless || holds(ConditionType::Stalled)).then_some(Ended::Stalled)
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
