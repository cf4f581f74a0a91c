//! Waking whoever waits for work: a counter of announcements, and for each waiting task how far it has been told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task;
use tokio::time::Instant;

/// Up to so many tasks, nobody looks for any that are to be forgotten.
const FEW_TASKS: usize = 64;

/// A task that has not asked for so long is forgotten, however many there are: it has ended, or is told once too often.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// Longest single wait; also keeps deadlines representable.
const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// How far a task has been told, and when it last asked.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    seen: u64,
    asked: Instant,
}

#[derive(Debug)]
struct Told {
    announced: u64,
    tasks: HashMap<Option<task::Id>, Cursor>,
    /// With more tasks than this, those that are to be forgotten are looked for.
    enough: usize,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            announced: 0,
            tasks: HashMap::new(),
            enough: FEW_TASKS,
        }
    }
}

impl Told {
    /// Forgets who has not asked for long. Never by number alone: of many that wait, each one forgotten would return at
    /// once, and have another one forgotten.
    fn forget(&mut self, now: Instant) {
        if self.tasks.len() > self.enough {
            self.tasks
                .retain(|_, cursor| now - cursor.asked < FORGOTTEN_AFTER);
            self.enough = FEW_TASKS.max(2 * self.tasks.len());
        }
    }
}

/// Tells every waiting task of every announcement, also of those made while the task was not waiting. Each task of the
/// runtime is told on its own, so that one that waits never takes another's wake-up.
#[derive(Debug, Default)]
pub struct Wake {
    told: Mutex<Told>,
    notify: Notify,
}

impl Wake {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may have become due.
    pub fn announce(&self) {
        self.told().announced += 1;
        self.notify.notify_waiters();
    }

    /// Whether there was an announcement since the last call in this task that said so. A task that asks for the first
    /// time hears of everything there ever was.
    pub fn take(&self) -> bool {
        let asked = Instant::now();
        let mut told = self.told();
        let seen = told.announced;
        let before = told.tasks.insert(task::try_id(), Cursor { seen, asked });
        told.forget(asked);
        before.map_or(0, |cursor| cursor.seen) != seen
    }

    /// Returns at once or as soon as [`Wake::take`] says so, at the latest after `max`. Returns what `take` said.
    pub async fn wait(&self, max: Duration) -> bool {
        let timeout = tokio::time::sleep(max.min(MAX_WAIT));
        tokio::pin!(timeout);
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.take() {
                return true;
            }
            tokio::select! {
                biased;
                () = &mut notified => {}
                () = &mut timeout => return self.take(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn every_task_is_told() {
        let wake = Arc::new(Wake::default());
        let mut waiters = Vec::new();
        for _ in 0..3 {
            let wake = wake.clone();
            waiters.push(tokio::spawn(async move {
                let first = wake.wait(Duration::from_secs(5)).await;
                // Announced while this task does not wait.
                wake.announce();
                (first, wake.wait(Duration::from_secs(5)).await)
            }));
        }
        tokio::task::yield_now().await;
        wake.announce();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), (true, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_wait_each_is_told_once() {
        const MANY: usize = 200;
        let (wake, returns) = (Arc::new(Wake::default()), Arc::new(AtomicUsize::new(0)));
        for _ in 0..MANY {
            let (wake, returns) = (wake.clone(), returns.clone());
            tokio::spawn(async move {
                loop {
                    wake.wait(MAX_WAIT).await;
                    returns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        for told in 1..=3 {
            wake.announce();
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(returns.load(Ordering::Relaxed), told * MANY);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_ended_are_forgotten() {
        let wake = Arc::new(Wake::default());
        wake.announce();
        for _ in 0..10 {
            for _ in 0..FEW_TASKS {
                let wake = wake.clone();
                assert!(tokio::spawn(async move { wake.take() }).await.unwrap());
            }
            tokio::time::advance(FORGOTTEN_AFTER).await;
        }
        assert!(wake.told().tasks.len() <= 2 * FEW_TASKS);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_max() {
        let wake = Wake::default();
        let start = tokio::time::Instant::now();
        assert!(!wake.wait(Duration::from_secs(5)).await);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
