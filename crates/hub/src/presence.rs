//! What the database is told of connections: ends at once, signs of life in batches.

use std::sync::Arc;
use std::time::Duration;

use crate::directory::{Kind, Link};
use crate::shared::Shared;

/// Longest wait between two tries to store that a connection ended.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Stores that a connection ended; goes on trying while the database does not answer. If the Hub stops before it
/// succeeds, its next start knows that the connection is gone.
pub fn ended(shared: &Arc<Shared>, link: Arc<Link>) {
    let hub = shared.clone();
    shared.spawn(async move {
        let mut wait = Duration::from_millis(100);
        loop {
            let stored = match &link.kind {
                Kind::Managed { id, .. } => {
                    hub.store.agent_disconnected(*id, &link.connection_id).await
                }
                Kind::Hosted { .. } => {
                    let (name, connection) = (&link.name, &link.connection_id);
                    hub.store.hosted_disconnected(name, connection).await
                }
            };
            let Err(e) = stored else { return };
            tracing::warn!(agent = %link.name, error = %e, "the end of a connection could not be stored");
            if hub.stopping.is_cancelled() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = hub.stopping.cancelled() => {} // one more try
            }
            wait = (wait * 2).min(LONGEST_RETRY);
        }
    });
}

/// Stores signs of life until the Hub stops.
pub async fn store_signs_of_life(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(shared.config.seen_every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => store_once(&shared).await,
            () = shared.stopping.cancelled() => return,
        }
    }
}

async fn store_once(shared: &Shared) {
    let (mut managed, mut hosted) = (Vec::new(), Vec::new());
    for link in shared.directory.all() {
        if link.take_seen() {
            let connection = link.connection_id.clone();
            match &link.kind {
                Kind::Managed { id, .. } => managed.push((*id, connection)),
                Kind::Hosted { .. } => hosted.push((link.name.clone(), connection)),
            }
        }
    }
    if !managed.is_empty()
        && let Err(e) = shared.store.agents_seen(&managed).await
    {
        tracing::warn!(error = %e, "signs of life could not be stored");
    }
    if !hosted.is_empty()
        && let Err(e) = shared.store.hosted_seen(&hosted).await
    {
        tracing::warn!(error = %e, "signs of life could not be stored");
    }
}
