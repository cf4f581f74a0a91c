//! Who follows a task, and what they hear: pieces of the answer as they come, then its end. A follower that reads slowly
//! misses pieces, never the end, which holds the whole answer; it costs a bounded amount of memory and nobody else's time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::deliver::{TaskStream, TaskUpdate};
use talon_core::task::{Task, TaskId, TaskState};
use talon_store::network::HubStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Charged for each waiting piece beside its text, so that empty ones are bounded too.
const PIECE: usize = 64;

/// Everybody who follows a task in this process.
pub struct Streams {
    followers: Mutex<HashMap<TaskId, Vec<Arc<Follower>>>>,
    max_bytes: usize,
    stopping: CancellationToken,
}

struct Follower {
    agent: String,
    waiting: Mutex<Waiting>,
    news: Notify,
    look: Notify,
}

#[derive(Default)]
struct Waiting {
    pieces: VecDeque<TaskUpdate>,
    bytes: usize,
    end: Option<TaskUpdate>,
}

impl Follower {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn piece(&self, state: TaskState, text: &str, max_bytes: usize) {
        let mut waiting = self.waiting();
        let joins = matches!(waiting.pieces.back(), Some(TaskUpdate::Status { state: last, .. }) if *last == state);
        let cost = text.len() + if joins { 0 } else { PIECE };
        if waiting.bytes + cost > max_bytes {
            return; // too slow: this piece is missed
        }
        waiting.bytes += cost;
        match waiting.pieces.back_mut() {
            Some(TaskUpdate::Status { text: tail, .. }) if joins => tail.push_str(text),
            _ => waiting.pieces.push_back(TaskUpdate::Status {
                state,
                text: text.to_owned(),
            }),
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn end(&self, state: TaskState, text: &str) {
        let mut waiting = self.waiting();
        waiting.end = Some(TaskUpdate::Done {
            state,
            text: text.to_owned(),
        });
        drop(waiting);
        self.news.notify_one();
    }

    fn next(&self) -> Option<TaskUpdate> {
        let mut waiting = self.waiting();
        if let Some(piece) = waiting.pieces.pop_front() {
            let text = match &piece {
                TaskUpdate::Status { text, .. } | TaskUpdate::Done { text, .. } => text.len(),
            };
            waiting.bytes = waiting.bytes.saturating_sub(text + PIECE);
            return Some(piece);
        }
        waiting.end.take()
    }
}

impl Streams {
    /// Nobody follows anything yet.
    pub fn new(max_bytes: usize, stopping: CancellationToken) -> Self {
        Self {
            followers: Mutex::default(),
            max_bytes,
            stopping,
        }
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<Arc<Follower>>>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a task from now on. Call it before looking at the task's row, so that its end is not missed in between.
    pub fn follow(
        self: &Arc<Self>,
        id: &TaskId,
        agent: &str,
        store: Arc<dyn HubStore>,
        recheck: Duration,
    ) -> Followed {
        let follower = Arc::new(Follower {
            agent: agent.to_owned(),
            waiting: Mutex::default(),
            news: Notify::new(),
            look: Notify::new(),
        });
        self.followers()
            .entry(id.clone())
            .or_default()
            .push(follower.clone());
        Followed {
            id: id.clone(),
            follower,
            streams: self.clone(),
            store,
            recheck,
            ended: false,
        }
    }

    /// Tells the followers of a task a piece of its answer.
    pub fn piece(&self, id: &TaskId, state: TaskState, text: &str) {
        for follower in self.of(id) {
            follower.piece(state, text, self.max_bytes);
        }
    }

    /// Tells them its end.
    pub fn end(&self, id: &TaskId, state: TaskState, text: &str) {
        for follower in self.of(id) {
            follower.end(state, text);
        }
    }

    /// Makes those who follow tasks of these agents look at the rows now: they may have ended without the Hub.
    pub fn look(&self, agents: &HashSet<String>) {
        for follower in self.followers().values().flatten() {
            if agents.contains(&follower.agent) {
                follower.look.notify_one();
            }
        }
    }

    /// How many follow something.
    pub fn count(&self) -> usize {
        self.followers().values().map(Vec::len).sum()
    }

    fn of(&self, id: &TaskId) -> Vec<Arc<Follower>> {
        self.followers().get(id).cloned().unwrap_or_default()
    }

    fn leave(&self, id: &TaskId, follower: &Arc<Follower>) {
        let mut followers = self.followers();
        if let Some(of_task) = followers.get_mut(id) {
            of_task.retain(|f| !Arc::ptr_eq(f, follower));
            if of_task.is_empty() {
                followers.remove(id);
            }
        }
    }
}

/// One who follows a task.
pub struct Followed {
    id: TaskId,
    follower: Arc<Follower>,
    streams: Arc<Streams>,
    store: Arc<dyn HubStore>,
    recheck: Duration,
    ended: bool,
}

impl Followed {
    /// Takes over what the row says: a task that has ended gives its end at once.
    pub fn caught_up(self, task: &Task) -> Self {
        if task.state.is_final() {
            let text = task.answer.as_deref().unwrap_or_default();
            self.follower.end(task.state, text);
        }
        self
    }

    async fn wait(&self) -> Option<TaskUpdate> {
        loop {
            if let Some(update) = self.follower.next() {
                return Some(update);
            }
            tokio::select! {
                () = self.follower.news.notified() => continue,
                () = self.streams.stopping.cancelled() => return self.follower.next(),
                () = self.follower.look.notified() => {}
                // Whoever ended it may live in another process.
                () = tokio::time::sleep(self.recheck) => {}
            }
            if let Ok(Some(task)) = self.store.task(&self.id).await
                && task.state.is_final()
            {
                let text = task.answer.unwrap_or_default();
                let state = task.state;
                return Some(TaskUpdate::Done { state, text });
            }
        }
    }
}

#[async_trait]
impl TaskStream for Followed {
    async fn next(&mut self) -> Option<TaskUpdate> {
        if self.ended {
            return None;
        }
        let update = self.wait().await;
        if matches!(update, Some(TaskUpdate::Done { .. })) {
            self.ended = true;
        }
        update
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.streams.leave(&self.id, &self.follower);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
