//! What happens to agents, read once from the change feed for everybody who watches.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use talon_core::{AgentId, Snapshot};
use talon_store::{Change, StoreResult};
use tokio::sync::{Mutex, broadcast};

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
    /// Something could not be told: read the feed yourself from where you are.
    Broke,
}

/// The one reader of the change feed. It reads as long as anybody watches.
#[derive(Debug)]
pub struct Feed {
    told: broadcast::Sender<Told>,
    /// Held while it is decided whether somebody reads.
    reading: Mutex<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(KEPT),
            reading: Mutex::default(),
        }
    }
}

impl Feed {
    /// What happens from now on: the place in the feed behind which the caller begins must be read after this.
    pub async fn subscribe(&self, app: &App) -> StoreResult<broadcast::Receiver<Told>> {
        let mut reading = self.reading.lock().await;
        if !*reading {
            let seq = app.store().last_change().await?;
            let app = app.clone();
            tokio::spawn(async move {
                let stopping = app.stopping().clone();
                tokio::select! {
                    () = read(&app, seq) => {}
                    () = stopping.cancelled() => {}
                }
            });
            *reading = true;
        }
        Ok(self.told.subscribe())
    }

    /// Whether nobody watches any more. Then reading is over, and the next to subscribe begins it again.
    async fn is_over(&self) -> bool {
        let mut reading = self.reading.lock().await;
        *reading = self.told.receiver_count() > 0;
        !*reading
    }
}

async fn read(app: &App, mut seq: i64) {
    let told = &app.feed().told;
    let mut bookmarked = Instant::now();
    while !app.feed().is_over().await {
        // A defect that one agent meets must not silence everybody's watches.
        let stepped = AssertUnwindSafe(step(app, told, &mut seq)).catch_unwind();
        match stepped.await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                if app.store().wait(LOOK).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the change feed cannot be read");
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => {
                tracing::error!("the reader of the change feed met a defect; it goes on behind it");
                tokio::time::sleep(PAUSE).await;
                match app.store().last_change().await {
                    Ok(last) => {
                        seq = last;
                        // Whoever watches reads for themselves what was left out.
                        let _ = told.send(Told::Broke);
                    }
                    Err(error) => tracing::warn!(%error, "the change feed cannot be read"),
                }
            }
        }
        if bookmarked.elapsed() >= BOOKMARK {
            bookmarked = Instant::now();
            // Nobody may be listening.
            let _ = told.send(Told::Bookmark(seq));
        }
    }
}

/// Reads on; whether there was anything.
async fn step(app: &App, told: &broadcast::Sender<Told>, seq: &mut i64) -> StoreResult<bool> {
    let changes = app.store().changes_after(*seq, BATCH).await?;
    let Some(last) = changes.last() else {
        return Ok(false);
    };
    for happened in happened(app, &changes).await? {
        // Nobody may be listening any more.
        let _ = told.send(Told::Happened(Arc::new(happened)));
    }
    *seq = last.seq;
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

#[cfg(test)]
mod tests {
    use talon_controller::clock::{OsRandom, SystemClock};
    use talon_core::guesses::Guesses;
    use talon_core::secret::SecretValue;
    use talon_core::turns::Turns;
    use talon_core::{AgentName, Owner};
    use talon_store::conformance::support::spec;
    use talon_store::{ApplyOptions, Store};
    use talon_store_sqlite::SqliteStore;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{FactoryConfig, FactoryParts, OperatorToken};

    #[tokio::test]
    async fn the_feed_is_read_while_somebody_watches() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("talon.db");
        let url = file.to_str().expect("a path");
        SqliteStore::migrate(url).await.expect("a schema");
        let store = Arc::new(SqliteStore::open(url).await.expect("a store"));
        let parts = FactoryParts {
            store: store.clone(),
            hub: None,
            search: None,
            deliver: None,
            secrets: None,
            logs: None,
            callbacks: None,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(OsRandom),
            operator: OperatorToken::of(&SecretValue::new("made-up".to_owned())),
            stopping: CancellationToken::new(),
        };
        let app = {
            let config = FactoryConfig::default();
            let turns = Turns::new(config.allowance(), parts.clock.clone());
            let guesses = Guesses::new(config.guesses, parts.clock.clone());
            App::new(parts, config, Arc::new(turns), Arc::new(guesses))
        };
        for name in ["first", "second"] {
            let mut told = app.feed().subscribe(&app).await.expect("a feed");
            assert!(*app.feed().reading.lock().await);
            let name = AgentName::parse(name).expect("a name");
            store
                .apply(&name, &Owner::default(), &spec(), ApplyOptions::default())
                .await
                .expect("applied");
            match told.recv().await.expect("an event") {
                Told::Happened(one) => assert_eq!(one.snapshot.agent.name, name),
                other => panic!("something else, {other:?}"),
            }
            drop(told);
            let over = async {
                while *app.feed().reading.lock().await {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), over)
                .await
                .expect("nobody reads on");
        }
    }
}
