//! How queue and calls went in the last minutes, for small charts. Kept in memory, by each process for itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use talon_store::glance::ControllerState;
use talon_store::{StoreResult, WholeStore};
use tokio_util::sync::CancellationToken;

use crate::gauge::{Calls, Gauge, Passes};

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(10);
/// How many are kept: ten minutes.
pub const KEPT: usize = 60;

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Agents due and not worked on.
    pub due: u64,
    /// Agents worked on.
    pub working: u64,
    /// Calls within five minutes; `None` if nobody counts them here.
    pub calls: Option<u32>,
    /// The latest passes; `None` if none ran here.
    pub passes: Option<Passes>,
    /// How long the database took to answer the smallest question.
    pub database: Duration,
}

/// The last looks, the latest last.
#[derive(Clone)]
pub struct Samples {
    kept: Arc<Mutex<VecDeque<Sample>>>,
    gauge: Option<Arc<dyn Gauge>>,
}

impl Samples {
    /// Begins to gather, until `stop`.
    pub fn gather(
        store: Arc<dyn WholeStore>,
        gauge: Option<Arc<dyn Gauge>>,
        stop: CancellationToken,
    ) -> Self {
        let samples = Self {
            kept: Arc::default(),
            gauge,
        };
        let gathering = samples.clone();
        tokio::spawn(async move {
            loop {
                // Without an answer there is nothing to keep; the pages say so themselves.
                if let Ok(sample) = gathering.sample(&*store).await {
                    gathering.keep(sample);
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
        samples
    }

    fn keep(&self, sample: Sample) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(sample);
    }

    async fn sample(&self, store: &dyn WholeStore) -> StoreResult<Sample> {
        let database = answer_time(store).await?;
        Ok(self.look(&store.controller_state().await?, database))
    }

    /// What a look at the controller says.
    pub fn look(&self, state: &ControllerState, database: Duration) -> Sample {
        Sample {
            due: state.due,
            working: state.replicas.iter().map(|r| r.agents).sum(),
            calls: self.calls(state).map(|c| c.used),
            passes: self.gauge.as_ref().and_then(|gauge| gauge.passes()),
            database,
        }
    }

    /// Calls within five minutes: as the database counts them, else as this process does.
    pub fn calls(&self, state: &ControllerState) -> Option<Calls> {
        if state.budgets.is_empty() {
            return self.gauge.as_ref().map(|gauge| gauge.calls());
        }
        let since = state.now.timestamp_millis() - 300_000;
        let counted = |b: &talon_store::glance::AccountBudget| {
            let slots = b.slots.iter().filter(|slot| slot.start_ms > since);
            slots.fold(0u32, |sum, slot| sum.saturating_add(slot.used))
        };
        let used = state.budgets.iter().map(counted).max().unwrap_or(0);
        let paused = state.budgets.iter().filter_map(|b| b.paused_until).max();
        Some(Calls {
            used,
            paused_for: paused.and_then(|until| (until - state.now).to_std().ok()),
        })
    }

    /// What was gathered.
    pub fn all(&self) -> Vec<Sample> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().copied().collect()
    }
}

/// How long the database takes to answer the smallest question there is.
pub async fn answer_time(store: &dyn WholeStore) -> StoreResult<Duration> {
    let asked = Instant::now();
    store.last_change().await?;
    Ok(asked.elapsed())
}
