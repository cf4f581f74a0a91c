//! Speaks to the Worker itself: wakes it, and asks with what it runs.

use std::time::Duration;

use talon_core::deliver::{WakeError, WorkerDoor};
use talon_core::name;
use talon_core::secret::SecretValue;
use talon_plan::heard::{Answer, heard};
use talon_plan::{Knock, Plan, World};
use talon_secrets::Redactor;
use talon_store::StoreResult;

use super::Pass;
use crate::observe::knows;
use crate::shared::Seen;

/// Longest wait for the answer to a wake. A Worker gives itself three seconds to connect.
const WAKE: Duration = Duration::from_secs(6);
/// Longest wait for a report.
const STATUS: Duration = Duration::from_secs(4);

/// How many Workers are spoken to at once. While the Hub is away all that are to stay connected are missed together, and
/// each may take seconds: passes that have more to do must not wait behind them.
pub(crate) const AT_ONCE: usize = 4;
/// When a pass comes back that found as many spoken to.
const CROWDED: Duration = Duration::from_secs(5);

impl Pass<'_> {
    /// When the pass is to come back to speak to the Worker; `None`: not at all.
    pub(super) fn knock_due_in(&self, plan: &Plan) -> Option<Duration> {
        let due = plan.knock.due_in()?;
        Some(if self.crowded { due.max(CROWDED) } else { due })
    }

    /// Speaks to the Worker if the plan says so, once in a pass. Whether it did: what came of it is then recorded. It is
    /// never a failure of the pass, and never tried again in it.
    pub(super) async fn knock(
        &mut self,
        world: &World,
        seen: &Seen,
        plan: &Plan,
    ) -> StoreResult<bool> {
        let (Knock::Now { why }, Some(door)) = (&plan.knock, &self.shared.door) else {
            return Ok(false);
        };
        let agent = &seen.snapshot.agent;
        // Both derived, never read back from the row: whoever can write there must not choose who gets the token.
        let worker = name::worker_name(&world.install, agent.id, &agent.name);
        let Some(url) = world.worker_url(&worker) else {
            return Ok(false);
        };
        if self.knocked {
            return Ok(false);
        }
        let Ok(_place) = self.shared.knocks.try_acquire() else {
            self.crowded = true;
            return Ok(false);
        };
        (self.knocked, self.crowded) = (true, false);
        let control = self.shared.key.control_token(agent.id);
        let answer = tokio::select! {
            biased;
            () = self.lease.stop.cancelled() => return Ok(false),
            answer = speak(door.as_ref(), &url, &control) => answer,
        };
        let answer = redacted(answer, &knows(&seen.values));
        if let Err(error) = &answer.report {
            tracing::debug!(agent = agent.name.as_str(), why, %error, "its Worker was spoken to in vain");
        }
        let writes = heard(&seen.snapshot, &answer);
        self.shared.store.commit(&self.lease.claim, &writes).await?;
        Ok(true)
    }
}

async fn speak(door: &dyn WorkerDoor, url: &str, control: &SecretValue) -> Answer {
    match door.wake(url, control, WAKE).await {
        Ok(()) => Answer {
            woken: true,
            report: door.status(url, control, STATUS).await,
        },
        Err(error) => Answer {
            woken: false,
            report: Err(error),
        },
    }
}

fn redacted(mut answer: Answer, redactor: &Redactor) -> Answer {
    if let Err(WakeError::Unreachable(text) | WakeError::Unintelligible(text)) = &mut answer.report
    {
        *text = redactor.redact(text);
    }
    answer
}
