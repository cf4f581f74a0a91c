//! The Worker's own door: what it says of itself.

use std::time::Duration;

use talon_core::deliver::{WakeError, WorkerReport};
use talon_core::secret::names as secret_names;
use talon_core::{Snapshot, TryId};
use talon_plan::desired::{RUNTIME_VARIABLE, TRY_VARIABLE};
use talon_plan::heard::{Answer, heard};

use crate::reality::sha;
use crate::stage::Stage;

/// A Worker that does not hear.
pub fn silent() -> Answer {
    Answer {
        woken: false,
        report: Err(WakeError::Unreachable("it answers 404".to_owned())),
    }
}

impl Stage {
    /// Speaks to the Worker, and notes what came of it.
    pub fn speak(&mut self, snapshot: &Snapshot) {
        self.knocks += 1;
        let answer = self.says.clone().unwrap_or_else(|| self.truth());
        self.advance(Duration::from_millis(100));
        self.db.commit(self.now, &heard(snapshot, &answer));
    }

    /// What the live Worker says of itself.
    pub fn truth(&self) -> Answer {
        let worker = self.reality.workers.get(&self.names().worker);
        let Some(worker) = worker.filter(|w| w.route) else {
            return silent();
        };
        let text = |name: &str| worker.plain.get(name).cloned();
        let mut secrets = worker.secrets.clone();
        let report = WorkerReport {
            try_id: text(TRY_VARIABLE).and_then(|t| TryId::parse(&t)),
            runtime: text(RUNTIME_VARIABLE),
            secrets_rev: secrets.remove(secret_names::SECRETS_REV),
            fingerprints: secrets.into_iter().map(|(n, v)| (n, sha(&v))).collect(),
        };
        Answer {
            woken: true,
            report: Ok(report),
        }
    }
}
