//! What the daemon tells its operator at the default level, one line each.
//!
//! Guarantees: no text that a user wrote but names; what Cloudflare or the Router said has the shapes of keys taken out
//! and moves no terminal.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use talon_core::Snapshot;
use talon_core::condition::Reason;
use talon_core::logs::LogLevel;
use talon_core::mutation::Mutation;
use talon_core::status::DeploymentStatus;
use talon_core::text::for_terminal;
use talon_plan::Held;
use talon_secrets::Redactor;

use crate::answers::Answers;
use crate::failure::Verdict;
use crate::logbook::LogBook;

/// Text of others, fit for a log line.
pub fn safe(text: &str) -> String {
    for_terminal(&Redactor::new().redact(text)).into_owned()
}

/// Says where these writes, which were just made, take the agent's status, if they do. The seconds run from the last
/// change of the spec, or the request to delete, to the look that the writes rest on.
pub fn transition(book: &LogBook, snapshot: &Snapshot, written: &[Mutation]) {
    let agent = &snapshot.agent;
    let since = agent.deletion_requested_at.unwrap_or(agent.updated_at);
    let after_s = (snapshot.now - since).as_seconds_f64().max(0.0);
    let (name, generation) = (agent.name.as_str(), agent.generation.0);
    if written.iter().any(|m| matches!(m, Mutation::Archive)) {
        tracing::info!(agent = name, generation, after_s, "deleting -> archived");
        note(book, snapshot, LogLevel::Info, "deleting -> archived", None);
        return;
    }
    let from = agent.status.deployment_status;
    let last = |m: &Mutation| match m {
        Mutation::Status(s) => s
            .deployment_status
            .map(|to| (to, s.deployment_error.clone().flatten())),
        _ => None,
    };
    match written.iter().rev().find_map(last) {
        Some((DeploymentStatus::Failed, error)) if from != DeploymentStatus::Failed => {
            let error = safe(&error.unwrap_or_default());
            tracing::warn!(agent = name, generation, after_s, error, "{from} -> failed");
            let text = format!("{from} -> failed");
            note(book, snapshot, LogLevel::Warn, &text, Some(&error));
        }
        Some((to, _)) if to != from => {
            tracing::info!(agent = name, generation, after_s, "{from} -> {to}");
            note(
                book,
                snapshot,
                LogLevel::Info,
                &format!("{from} -> {to}"),
                None,
            );
        }
        Some(_) | None => {}
    }
}

fn note(book: &LogBook, snapshot: &Snapshot, level: LogLevel, text: &str, error: Option<&str>) {
    let mut line = book
        .line(level, text)
        .with("gen", snapshot.agent.generation.0);
    if let Some(error) = error {
        line = line.with("error", error);
    }
    book.write(snapshot.agent.id, line);
}

/// Says how a step went: how often it was tried, what Cloudflare answered last, how long it took. A throttled step did not
/// fail: of pauses the budget speaks, once for all agents.
pub fn step(
    book: &LogBook,
    snapshot: &Snapshot,
    step: &str,
    answers: &Answers,
    took: Duration,
    failed: Option<&Verdict>,
) {
    let agent = &snapshot.agent;
    let (name, generation) = (agent.name.as_str(), agent.generation.0);
    let attempt = snapshot.work.failure_count + 1;
    let dur_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let level = match failed {
        None => LogLevel::Info,
        Some(verdict) if verdict.failure.throttled => LogLevel::Debug,
        Some(_) => LogLevel::Warn,
    };
    let mut line = book
        .line(level, "")
        .with("gen", generation)
        .with("step", step)
        .with("attempt", attempt);
    if let Some(http) = answers.http {
        line = line.with("http", http);
    }
    if answers.calls > 1 {
        line = line.with("calls", answers.calls);
    }
    line = line.with("dur", format_args!("{dur_ms}ms"));
    if let Some(ray) = &answers.ray {
        line = line.with("ray", ray);
    }
    let (http, ray) = (answers.http, answers.ray.as_deref());
    match failed {
        None => {
            tracing::debug!(
                agent = name,
                generation,
                step,
                attempt,
                http,
                dur_ms,
                ray,
                "step done"
            );
        }
        Some(verdict) => {
            let (class, error) = (verdict.class(), safe(&verdict.failure.message));
            line = line.with("class", class).with("error", &error);
            if verdict.failure.throttled {
                tracing::debug!(agent = name, step, class, error, "step put off");
            } else {
                tracing::warn!(agent = name, step, class, error, "step failed");
            }
        }
    }
    book.write(agent.id, line);
}

/// Says when a pass that could not reach its goal comes back, or that it is held.
pub fn later(book: &LogBook, snapshot: &Snapshot, why: &str, next: Option<Duration>) {
    let mut line = book
        .line(LogLevel::Info, why)
        .with("gen", snapshot.agent.generation.0);
    if let Some(next) = next {
        line = line.with("next", format_args!("{:.1}s", next.as_secs_f64()));
    }
    book.write(snapshot.agent.id, line);
}

/// Remembers what was said of a hold, so that each change of it is said once.
#[derive(Debug, Default)]
pub struct HoldTold(Mutex<Option<Reason>>);

impl HoldTold {
    /// Says that a hold has come into force, or ended, if that is news.
    pub fn tell(&self, held: Option<&Held>) {
        let reason = held.map(|h| h.reason);
        let before = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            reason,
        );
        match held {
            Some(held) if before != reason => {
                tracing::warn!(reason = ?held.reason, why = safe(&held.message), "effects are held");
            }
            None if before.is_some() => tracing::info!("released: effects go on"),
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use talon_core::agent::Agent;
    use talon_core::mutation::StatusWrite;
    use talon_core::{AgentId, AgentName, AgentSpec, Owner};
    use talon_plan::HeldScope;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn said(speak: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, speak);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn book() -> LogBook {
        LogBook::new(Arc::new(crate::clock::SystemClock::default()))
    }

    fn snapshot() -> Snapshot {
        let spec: AgentSpec = serde_json::from_value(serde_json::json!({
            "persona": "my persona", "instructions": "my instructions", "model": "dev/echo",
        }))
        .unwrap();
        let made = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let name = AgentName::parse("research-pro").unwrap();
        let id = AgentId(uuid::Uuid::from_u128(7));
        let agent = Agent::new(id, name, Owner::default(), spec, made);
        Snapshot::new(agent, made + chrono::TimeDelta::milliseconds(3_200))
    }

    fn status(to: DeploymentStatus, error: Option<&str>) -> Vec<Mutation> {
        vec![Mutation::Status(StatusWrite {
            deployment_status: Some(to),
            deployment_error: error.map(|e| Some(e.to_owned())),
            ..StatusWrite::default()
        })]
    }

    #[test]
    fn each_transition_is_one_line_with_generation_and_time_and_what_is_none_is_silent() {
        let lines = said(|| {
            transition(
                &book(),
                &snapshot(),
                &status(DeploymentStatus::Deployed, None),
            );
            transition(
                &book(),
                &snapshot(),
                &status(DeploymentStatus::Pending, None),
            );
            transition(&book(), &snapshot(), &[]);
            transition(&book(), &snapshot(), &[Mutation::Archive]);
        });
        let [deployed, archived] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            deployed.contains("INFO") && deployed.contains("pending -> deployed"),
            "{deployed}"
        );
        for part in ["research-pro", "generation=1", "after_s=3.2"] {
            assert!(deployed.contains(part), "{deployed}");
        }
        assert!(!deployed.contains("my persona"), "{deployed}");
        assert!(archived.contains("deleting -> archived"), "{archived}");
    }

    #[test]
    fn what_others_said_is_one_line_without_escapes_and_keys() {
        let error = "refused\n\u{1b}[2J sk-ant-api03-abcdefghijklmnop";
        let lines = said(|| {
            transition(
                &book(),
                &snapshot(),
                &status(DeploymentStatus::Failed, Some(error)),
            )
        });
        let [line] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            line.contains("WARN") && line.contains("pending -> failed"),
            "{line}"
        );
        assert!(
            !line.contains('\u{1b}') && !line.contains("api03"),
            "{line}"
        );
    }

    #[test]
    fn a_hold_is_told_when_it_begins_and_when_it_ends_and_not_in_between() {
        let held = Held {
            reason: Reason::MassChange,
            message: "too much vanished".to_owned(),
            scope: HeldScope::Risky,
            since: None,
        };
        let told = HoldTold::default();
        let lines = said(|| {
            for held in [None, Some(&held), Some(&held), None, None] {
                told.tell(held);
            }
        });
        let [begins, ends] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert!(
            begins.contains("MassChange") && begins.contains("too much vanished"),
            "{begins}"
        );
        assert!(ends.contains("released"), "{ends}");
    }
}
