//! Tasks end at their deadline, and ended ones are kept for a while only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use talon_core::task::TaskState;
use talon_store::StoreResult;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatch;
use crate::shared::Shared;

/// What the text of such a task says.
const EXPIRED: &str = "no answer before the deadline";
/// Longest sleep: other processes store tasks too.
const LONGEST: Duration = Duration::from_secs(30);
/// Shortest sleep, so that many tasks that end one after the other are one statement.
const SHORTEST: Duration = Duration::from_millis(100);
/// Wait after the database failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often ended tasks are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// When the next deadline is, as far as this process knows.
#[derive(Default)]
pub struct Deadlines {
    /// `None` while the database is being asked and nothing has been stored since.
    next: Mutex<Option<Instant>>,
    sooner: Notify,
}

impl Deadlines {
    fn next(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was stored that ends by itself after so long.
    pub fn stored(&self, deadline_in: Duration) {
        let at = Instant::now() + deadline_in;
        let mut next = self.next();
        if next.is_none_or(|next| at < next) {
            *next = Some(at);
            self.sooner.notify_one();
        }
    }

    /// The database is about to be asked.
    fn asking(&self) {
        *self.next() = None;
    }

    /// The database said so; what was stored meanwhile counts too.
    fn answered(&self, in_: Duration) {
        let at = Instant::now() + in_;
        let mut next = self.next();
        *next = Some(next.map_or(at, |stored| stored.min(at)));
    }

    /// Returns at the next deadline.
    async fn wait(&self) {
        loop {
            let next = *self.next();
            let until = next.unwrap_or_else(|| Instant::now() + LONGEST);
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.sooner.notified() => {}
            }
        }
    }
}

/// Ends tasks at their deadline until the Hub stops.
pub async fn watch(shared: Arc<Shared>) {
    let mut prune_at = Instant::now() + PRUNE_EVERY;
    loop {
        shared.deadlines.asking();
        let next = match expire(&shared).await {
            Ok(next) => next.min(LONGEST),
            Err(e) => {
                tracing::warn!(error = %e, "cannot end tasks at their deadline");
                RETRY
            }
        };
        shared.deadlines.answered(next);
        if Instant::now() >= prune_at {
            prune_at = Instant::now() + PRUNE_EVERY;
            if let Err(e) = shared.store.prune_tasks(shared.config.keep_tasks).await {
                tracing::warn!(error = %e, "old tasks could not be removed");
            }
        }
        let rest = async {
            tokio::time::sleep(SHORTEST).await;
            shared.deadlines.wait().await;
        };
        tokio::select! {
            () = rest => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Ends what is due; how long until the next deadline.
async fn expire(shared: &Shared) -> StoreResult<Duration> {
    for task in shared.store.expire_tasks(EXPIRED).await? {
        tracing::info!(agent = %task.agent, task = %task.id, attempts = task.attempts, "task ended at its deadline");
        dispatch::ended_without_agent(shared, &task.agent, &task.id, TaskState::Failed, EXPIRED);
    }
    Ok(shared.store.next_task_deadline().await?.unwrap_or(LONGEST))
}
