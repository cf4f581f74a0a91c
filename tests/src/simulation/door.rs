//! The Workers themselves in memory: what they say when they are spoken to, and what can go wrong with that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::TryId;
use talon_core::deliver::{WakeError, WorkerDoor, WorkerReport};
use talon_core::secret::{SecretValue, names};
use talon_plan::desired::{RUNTIME_VARIABLE, TRY_VARIABLE};
use tokio::time::sleep;

use super::cloud::Account;
use super::dice::Dice;
use super::seat::Seat;
use super::world::Worker;

/// What goes wrong with one word to a Worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The control token is not accepted.
    Refused,
    /// Nobody answers, until the patience of whoever asks is at its end.
    Silent,
    /// The address leads nowhere yet.
    NotFound,
    /// A version from before the last write answers.
    Stale,
    /// Other values than it has.
    Wrong,
    /// Nonsense.
    Nonsense,
}

/// Dice of its own: whether agents are spoken to changes nothing of what else happens in a history.
pub type DoorDice = Arc<Mutex<Dice>>;

/// One process's way to the Workers.
pub struct SimDoor {
    /// The account.
    pub account: Arc<Account>,
    /// The process.
    pub seat: Arc<Seat>,
    /// Chance.
    pub dice: DoorDice,
}

impl SimDoor {
    fn throw<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fault(&self) -> Option<Fault> {
        let chance = self.account.state().faults.weather.doors;
        let fault = self.throw(|dice| {
            let hit = dice.permille(chance);
            let which = [
                Fault::Refused,
                Fault::Silent,
                Fault::NotFound,
                Fault::Stale,
                Fault::Wrong,
                Fault::Nonsense,
            ];
            hit.then(|| *dice.pick(&which))
        })?;
        self.account.state().faults.note(format!("door {fault:?}"));
        Some(fault)
    }

    /// Waits for the answer; gives the Worker behind the address, if it accepts the token.
    async fn knock(
        &self,
        url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(Worker, Option<Fault>), WakeError> {
        self.seat.alive().await;
        let fault = self.fault();
        let latency = Duration::from_millis(self.throw(|dice| dice.range(5..800)));
        if fault == Some(Fault::Silent) {
            sleep(timeout).await;
            return Err(WakeError::Unreachable("no answer in time".to_owned()));
        }
        sleep(latency.min(timeout)).await;
        self.seat.alive().await;
        let host = url.strip_prefix("https://").unwrap_or_default();
        let name = host.split('.').next().unwrap_or_default();
        let worker = self.account.state().world.now.workers.get(name).cloned();
        let nowhere = || WakeError::Unreachable("it answers 404 Not Found".to_owned());
        let worker = worker.filter(|w| w.route).ok_or_else(nowhere)?;
        let token = worker.secrets.get(names::CONTROL_TOKEN);
        let accepted = token.map(String::as_str) == Some(control.expose());
        match fault {
            Some(Fault::NotFound) => Err(nowhere()),
            Some(Fault::Refused) => Err(WakeError::Refused),
            _ if !accepted => Err(WakeError::Refused),
            fault => Ok((worker, fault)),
        }
    }
}

#[async_trait]
impl WorkerDoor for SimDoor {
    async fn wake(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(), WakeError> {
        let answer = self.knock(worker_url, control, timeout).await.map(drop);
        self.account
            .tell(|| format!("wake {worker_url}: {answer:?}"));
        answer
    }

    async fn status(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<WorkerReport, WakeError> {
        let (worker, fault) = self.knock(worker_url, control, timeout).await?;
        if fault == Some(Fault::Nonsense) {
            return Err(WakeError::Unintelligible("it is no report".to_owned()));
        }
        let secrets = match fault {
            Some(Fault::Stale) => worker.versions.values().next().unwrap_or(&worker.secrets),
            Some(_) | None => &worker.secrets,
        };
        let fingerprints: BTreeMap<String, String> = (secrets.iter())
            .filter(|(name, _)| *name != names::SECRETS_REV)
            .map(|(name, value)| {
                let wrong = fault == Some(Fault::Wrong) && name.len() % 2 == 0;
                let value = SecretValue::new(if wrong {
                    "another".to_owned()
                } else {
                    value.clone()
                });
                (name.clone(), value.fingerprint(control, name))
            })
            .collect();
        let report = WorkerReport {
            try_id: worker.plain.get(TRY_VARIABLE).and_then(|t| TryId::parse(t)),
            runtime: worker.plain.get(RUNTIME_VARIABLE).cloned(),
            secrets_rev: secrets.get(names::SECRETS_REV).cloned(),
            fingerprints,
        };
        self.account
            .tell(|| format!("status {worker_url}: {fault:?}"));
        Ok(report)
    }
}
