//! What happens to agents, read once from the change feed for everybody who watches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use talon_core::{AgentId, Snapshot};
use talon_store::{Change, StoreResult};
use tokio::sync::broadcast;

use super::view::AgentView;
use crate::App;

/// Events kept for those who read slowly; who falls further behind reads the feed itself again.
const KEPT: usize = 1_024;
/// Entries read at once.
pub const BATCH: i64 = 500;
/// How long nobody looks if nothing tells that something changed: statuses are written by others, without a word.
const LOOK: Duration = Duration::from_millis(250);
/// How often watchers are told how far they are.
const BOOKMARK: Duration = Duration::from_secs(30);
/// How long to wait before a database that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What happened to one agent.
#[derive(Debug)]
pub struct Happened {
    /// Place in the feed.
    pub seq: i64,
    /// The agent as it stood when this was read.
    pub snapshot: Snapshot,
    /// As JSON; made once for everybody.
    pub json: String,
}

/// What watchers are told.
#[derive(Debug, Clone)]
pub enum Told {
    /// Something happened.
    Happened(Arc<Happened>),
    /// Everything up to this place was told.
    Bookmark(i64),
}

/// The one reader of the change feed.
#[derive(Debug)]
pub struct Feed {
    told: broadcast::Sender<Told>,
    reading: std::sync::Once,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(KEPT),
            reading: std::sync::Once::new(),
        }
    }
}

impl Feed {
    /// What happens from now on. The first call begins the reading.
    pub fn subscribe(&self, app: &App) -> broadcast::Receiver<Told> {
        let receiver = self.told.subscribe();
        self.reading.call_once(|| {
            let (app, told) = (app.clone(), self.told.clone());
            tokio::spawn(async move {
                let stopping = app.stopping().clone();
                tokio::select! {
                    () = read(&app, &told) => {}
                    () = stopping.cancelled() => {}
                }
            });
        });
        receiver
    }
}

async fn read(app: &App, told: &broadcast::Sender<Told>) {
    let mut seq = None;
    let mut bookmarked = Instant::now();
    loop {
        match step(app, told, &mut seq).await {
            Ok(true) => {}
            Ok(false) => {
                if app.store().wait(LOOK).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the change feed cannot be read");
                tokio::time::sleep(PAUSE).await;
            }
        }
        if let Some(seq) = seq
            && bookmarked.elapsed() >= BOOKMARK
        {
            bookmarked = Instant::now();
            // Nobody may be listening.
            let _ = told.send(Told::Bookmark(seq));
        }
    }
}

/// Reads on; whether there was anything.
async fn step(
    app: &App,
    told: &broadcast::Sender<Told>,
    seq: &mut Option<i64>,
) -> StoreResult<bool> {
    let from = match *seq {
        // Whoever subscribed before this reads the feed up to here themselves.
        None => *seq.insert(app.store().last_change().await?),
        Some(from) => from,
    };
    let changes = app.store().changes_after(from, BATCH).await?;
    let Some(last) = changes.last() else {
        return Ok(false);
    };
    let last = last.seq;
    if told.receiver_count() > 0 {
        for happened in happened(app, &changes).await? {
            // Nobody may be listening any more.
            let _ = told.send(Told::Happened(Arc::new(happened)));
        }
    }
    *seq = Some(last);
    Ok(true)
}

/// One event for each agent that the entries speak of, at the place of its last entry, in the order of places.
pub async fn happened(app: &App, changes: &[Change]) -> StoreResult<Vec<Happened>> {
    let mut all = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let again = |later: &Change| later.agent_id == change.agent_id;
        if changes[at + 1..].iter().any(again) {
            continue;
        }
        all.extend(one(app, change.agent_id, change.seq).await?);
    }
    Ok(all)
}

async fn one(app: &App, id: AgentId, seq: i64) -> StoreResult<Option<Happened>> {
    let snapshot = app.store().load(id).await?;
    Ok(snapshot.map(|snapshot| Happened {
        seq,
        // Cannot fail: views are texts, numbers and lists.
        json: serde_json::to_string(&AgentView::from(&snapshot)).unwrap_or_default(),
        snapshot,
    }))
}
