//! Agents that are being deleted. The database ends their tasks when the deletion is requested, by whatever way; this tells
//! those who follow the tasks, and ends the connections: the agent stops its work and is not let in again.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use crate::shared::Shared;

/// Looks again and again until the Hub stops.
pub async fn watch(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(shared.config.deletions_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => look(&shared).await,
            () = shared.stopping.cancelled() => return,
        }
    }
}

async fn look(shared: &Shared) {
    if shared.directory.count() == 0 && shared.streams.count() == 0 {
        return; // nobody to tell
    }
    let deleting: HashSet<String> = match shared.store.deleting_agents().await {
        Ok(names) => names.into_iter().collect(),
        Err(e) => {
            tracing::warn!(error = %e, "cannot tell which agents are being deleted");
            return;
        }
    };
    if deleting.is_empty() {
        return;
    }
    shared.streams.look(&deleting);
    for name in &deleting {
        if let Some(link) = shared.directory.get(name) {
            link.deleting();
        }
    }
}
