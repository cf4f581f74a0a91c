//! Wakes managed agents that have tasks but no connection: once at once, then with backoff for as long as a task is open.
//! The tasks of an agent that is gone meanwhile fail.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use talon_core::task::TaskState;
use talon_store::StoreResult;
use talon_store::network::AGENT_DELETED;
use tokio::sync::Semaphore;

use crate::shared::{Shared, Target};

/// Most tasks of a gone agent that fail in one go.
const BATCH: i64 = 64;

/// Agents that are being woken.
pub struct Waking {
    /// Whether somebody asked again since the last look.
    under_way: Mutex<HashMap<String, bool>>,
    calls: Semaphore,
}

enum Need {
    None,
    Wake,
}

impl Waking {
    /// Nobody; at most so many calls at the same time.
    pub fn new(calls: usize) -> Self {
        Self {
            under_way: Mutex::default(),
            calls: Semaphore::new(calls.max(1)),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes an agent now.
    pub fn now(&self, shared: &Arc<Shared>, name: &str) {
        self.begin(shared, name, Duration::ZERO);
    }

    /// Wakes an agent unless it comes back by itself.
    pub fn later(&self, shared: &Arc<Shared>, name: &str) {
        self.begin(shared, name, shared.config.wake_grace);
    }

    fn begin(&self, shared: &Arc<Shared>, name: &str, grace: Duration) {
        match self.under_way().entry(name.to_owned()) {
            Entry::Occupied(mut known) => {
                known.insert(true);
                return;
            }
            Entry::Vacant(free) => free.insert(false),
        };
        let (hub, name) = (shared.clone(), name.to_owned());
        shared.spawn(async move {
            tokio::select! {
                () = hub.waking.run(&hub, &name, grace) => {}
                () = hub.stopping.cancelled() => {}
            }
        });
    }

    async fn run(&self, shared: &Arc<Shared>, name: &str, grace: Duration) {
        if !grace.is_zero() {
            tokio::time::sleep(shared.spread(grace)).await;
        }
        let mut wait = shared.config.wake_backoff;
        loop {
            match need(shared, name).await {
                Ok(Need::None) if self.leave(name) => return,
                Ok(Need::None) => continue, // asked again meanwhile
                Ok(Need::Wake) => self.call(shared, name).await,
                Err(e) => {
                    tracing::warn!(agent = name, error = %e, "cannot tell whether an agent is to be woken")
                }
            }
            tokio::time::sleep(shared.spread(wait)).await;
            wait = (wait * 2).min(shared.config.wake_backoff_max);
        }
    }

    /// `false` if somebody asked again since the last look.
    fn leave(&self, name: &str) -> bool {
        match self.under_way().entry(name.to_owned()) {
            Entry::Occupied(mut known) if *known.get() => {
                known.insert(false);
                false
            }
            Entry::Occupied(known) => {
                known.remove();
                true
            }
            Entry::Vacant(_) => true,
        }
    }

    async fn call(&self, shared: &Shared, name: &str) {
        let Some(waker) = &shared.waker else { return };
        let Ok(_place) = self.calls.acquire().await else {
            return;
        };
        let timeout = shared.config.wake_timeout;
        let call = waker.wake(name, timeout);
        match tokio::time::timeout(timeout + Duration::from_secs(1), call).await {
            Ok(Ok(())) => tracing::debug!(agent = name, "woken"),
            Ok(Err(e)) => tracing::info!(agent = name, error = %e, "not woken yet"),
            Err(_) => tracing::info!(agent = name, "not woken yet: no answer in time"),
        }
    }
}

async fn need(shared: &Shared, name: &str) -> StoreResult<Need> {
    if shared.directory.get(name).is_some() {
        return Ok(Need::None);
    }
    if shared.store.open_tasks(name, 1).await?.is_empty() {
        return Ok(Need::None);
    }
    match shared.target(name).await? {
        Some(Target::Managed(agent)) if !agent.deleting => Ok(Need::Wake),
        // It comes back by itself or not at all; the task's deadline decides.
        Some(Target::Hosted(_)) => Ok(Need::None),
        Some(Target::Managed(_)) => {
            fail_all(shared, name, AGENT_DELETED).await?;
            Ok(Need::None)
        }
        None => {
            fail_all(shared, name, "the agent is gone").await?;
            Ok(Need::None)
        }
    }
}

async fn fail_all(shared: &Shared, name: &str, why: &str) -> StoreResult<()> {
    loop {
        let tasks = shared.store.open_tasks(name, BATCH).await?;
        if tasks.is_empty() {
            return Ok(());
        }
        for task in tasks {
            let ended = shared
                .store
                .end_task(&task.id, None, TaskState::Failed, why)
                .await?;
            if ended {
                shared.streams.end(&task.id, TaskState::Failed, why);
            }
        }
    }
}
