//! Waking whoever waits for work: a counter of announcements, and for each waiting task how far it has been told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task;

/// More waiting tasks than this are never kept apart; the one that asked least recently is told once too often instead.
const MAX_TASKS: usize = 64;

/// Longest single wait; also keeps deadlines representable.
const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// How far a task has been told, and when it last asked.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    seen: u64,
    asked: u64,
}

#[derive(Debug, Default)]
struct Told {
    announced: u64,
    /// Counts the calls, so that which task is forgotten never hangs on the order of a map.
    asked: u64,
    tasks: HashMap<Option<task::Id>, Cursor>,
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

    /// Whether there was an announcement since the last call in this task that said so. A task that asks for the first time hears of everything there ever was.
    pub fn take(&self) -> bool {
        let mut told = self.told();
        told.asked += 1;
        let (announced, asked) = (told.announced, told.asked);
        let cursor = told.tasks.entry(task::try_id()).or_default();
        cursor.asked = asked;
        if cursor.seen == announced {
            return false;
        }
        cursor.seen = announced;
        if told.tasks.len() > MAX_TASKS {
            let idlest = told.tasks.iter().min_by_key(|(_, cursor)| cursor.asked);
            if let Some(idlest) = idlest.map(|(key, _)| *key) {
                told.tasks.remove(&idlest);
            }
        }
        true
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
    async fn silence_ends_after_max() {
        let wake = Wake::default();
        let start = tokio::time::Instant::now();
        assert!(!wake.wait(Duration::from_secs(5)).await);
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
