//! What the daemon tells its operator at the default level, one line each.
//!
//! Guarantees: no text that a user wrote but names; what Cloudflare or the Router said has the shapes of keys taken out
//! and moves no terminal.

use std::sync::{Mutex, PoisonError};

use talon_core::Snapshot;
use talon_core::condition::Reason;
use talon_core::mutation::Mutation;
use talon_core::status::DeploymentStatus;
use talon_core::text::for_terminal;
use talon_plan::Held;
use talon_secrets::Redactor;

/// Text of others, fit for a log line.
pub fn safe(text: &str) -> String {
    for_terminal(&Redactor::new().redact(text)).into_owned()
}

/// Says where these writes, which were just made, take the agent's status, if they do. The seconds run from the last
/// change of the spec, or the request to delete, to the look that the writes rest on.
pub fn transition(snapshot: &Snapshot, written: &[Mutation]) {
    let agent = &snapshot.agent;
    let since = agent.deletion_requested_at.unwrap_or(agent.updated_at);
    let after_s = (snapshot.now - since).as_seconds_f64().max(0.0);
    let (name, generation) = (agent.name.as_str(), agent.generation.0);
    if written.iter().any(|m| matches!(m, Mutation::Archive)) {
        tracing::info!(agent = name, generation, after_s, "deleting -> archived");
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
        }
        Some((to, _)) if to != from => {
            tracing::info!(agent = name, generation, after_s, "{from} -> {to}");
        }
        Some(_) | None => {}
    }
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
            transition(&snapshot(), &status(DeploymentStatus::Deployed, None));
            transition(&snapshot(), &status(DeploymentStatus::Pending, None));
            transition(&snapshot(), &[]);
            transition(&snapshot(), &[Mutation::Archive]);
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
        let lines =
            said(|| transition(&snapshot(), &status(DeploymentStatus::Failed, Some(error))));
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
