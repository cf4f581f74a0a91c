//! What the HTTP layer, the admin endpoints and the handle share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::clock::Clock;

use crate::calllog::{CallLog, CallRecord};
use crate::config::SimConfig;
use crate::faults::{Decision, FaultEngine, Subject};
use crate::quota::{QuotaCounter, Standing};
use crate::runner::Runner;
use crate::tails::Traces;
use crate::world::World;

/// One simulator's state. Each part has its own lock; none is held while another is taken, nor across an await.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    /// What Workers do, for those who listen.
    pub(crate) traces: Traces,
    runner: Arc<dyn Runner>,
    world: Mutex<World>,
    log: Mutex<CallLog>,
    faults: Mutex<FaultEngine>,
    quota: Mutex<QuotaCounter>,
    /// Held while the runner is told something, so that it hears things in order.
    telling: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A handler that panicked leaves at worst half of its own change behind; the others go on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self {
            clock: Arc::clone(&config.clock),
            traces: Traces::new(),
            runner: Arc::clone(&config.runner),
            world: Mutex::new(World::new(config, config.clock.now())),
            log: Mutex::new(CallLog::new(config.log_capacity)),
            faults: Mutex::new(FaultEngine::new(config.seed)),
            quota: Mutex::new(QuotaCounter::new(config.quota)),
            telling: Mutex::new(()),
        }
    }

    /// What runs the code.
    pub(crate) fn runner(&self) -> &dyn Runner {
        self.runner.as_ref()
    }

    /// Does something to the world at this moment and then tells the runner what came of it.
    pub(crate) fn with_world<T>(&self, act: impl FnOnce(&mut World, DateTime<Utc>) -> T) -> T {
        let (result, news) = {
            let mut world = lock(&self.world);
            let result = act(&mut world, self.clock.now());
            (result, !world.events.is_empty())
        };
        if news {
            let _order = lock(&self.telling);
            // One at a time and outside of the world's lock: the runner may look at the world.
            loop {
                let next = lock(&self.world).events.pop_front();
                match next {
                    Some(event) => event.tell(self.runner.as_ref()),
                    None => break,
                }
            }
        }
        result
    }

    pub(crate) fn record(&self, record: CallRecord) {
        lock(&self.log).push(record);
    }

    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        lock(&self.log).records()
    }

    pub(crate) fn clear_calls(&self) {
        lock(&self.log).clear();
    }

    pub(crate) fn decide(&self, subject: &Subject<'_>) -> Decision {
        lock(&self.faults).decide(subject)
    }

    pub(crate) fn with_faults<T>(&self, act: impl FnOnce(&mut FaultEngine) -> T) -> T {
        act(&mut lock(&self.faults))
    }

    pub(crate) fn count(&self, caller: &str) -> Option<Standing> {
        let now: Duration = self.clock.monotonic();
        lock(&self.quota).count(caller, now)
    }

    pub(crate) fn with_quota<T>(&self, act: impl FnOnce(&mut QuotaCounter) -> T) -> T {
        act(&mut lock(&self.quota))
    }
}
