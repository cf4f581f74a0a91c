//! Watching agents: by the database's change feed, or by a daemon's stream.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;
use serde_json::Value;
use talon_core::{AgentId, Snapshot};
use talon_factory::wire;
use talon_store::WholeStore;
use tokio::time::Instant;

use super::{Answer, Watch};
use crate::client::{self, Refused, Server};

/// Entries of the feed that are read at once.
const PAGE: i64 = 500;
/// How long before a stream that broke is taken up again.
const PAUSE: Duration = Duration::from_secs(1);

/// The change feed of a database.
pub struct Feed {
    store: Arc<dyn WholeStore>,
    seen: i64,
}

impl Feed {
    /// From now on.
    pub async fn begin(store: Arc<dyn WholeStore>) -> Answer<Self> {
        let seen = store.last_change().await?;
        Ok(Self { store, seen })
    }

    async fn read(&mut self) -> Answer<Vec<Snapshot>> {
        let changes = self.store.changes_after(self.seen, PAGE).await?;
        let mut ids: Vec<AgentId> = changes.iter().map(|c| c.agent_id).collect();
        ids.sort();
        ids.dedup();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(self.store.load(id).await?);
        }
        // Only now: whoever is interrupted in between is told again.
        self.seen = changes.last().map_or(self.seen, |c| c.seq);
        Ok(found)
    }
}

#[async_trait]
impl Watch for Feed {
    async fn next(&mut self, at_most: Duration) -> Answer<Vec<Snapshot>> {
        let found = self.read().await?;
        if !found.is_empty() {
            return Ok(found);
        }
        self.store.wait(at_most).await?;
        self.read().await
    }

    async fn hint(&mut self, _: &[AgentId], at_most: Duration) -> Answer<()> {
        // Tells of every write, child rows included, which the feed does not.
        Ok(self.store.wait(at_most).await?)
    }
}

/// A daemon's stream of changes, taken up again where it broke.
pub struct Stream {
    server: Arc<Server>,
    open: Option<client::Events>,
    /// Where to go on; `None`: with every agent there is.
    seen: Option<i64>,
}

impl Stream {
    /// From now on.
    pub async fn begin(server: Arc<Server>) -> Answer<Self> {
        let now = server
            .get(&super::remote::AGENTS, &[("page_size", "1")])
            .await?;
        Ok(Self {
            server,
            open: None,
            seen: now["resource_version"].as_i64(),
        })
    }

    async fn connect(&mut self) -> Result<(), Refused> {
        let from = self.seen.map(|seen| seen.to_string());
        let mut query = vec![("watch", "1"), ("view", "full")];
        query.extend(from.as_deref().map(|from| ("resource_version", from)));
        let stream = self.server.events(&super::remote::AGENTS, &query).await?;
        self.open = Some(stream);
        Ok(())
    }

    /// What came, if it is an agent.
    fn take(&mut self, message: client::Message) -> Answer<Option<Snapshot>> {
        if let Some(seq) = message.id.as_deref().and_then(|id| id.parse().ok()) {
            self.seen = Some(seq);
        }
        let Ok(object) = serde_json::from_str::<Value>(&message.data) else {
            return Err(self.server.stranger());
        };
        match message.event.as_deref() {
            Some("ERROR") => {
                // The one that is told so is that what came next is no longer kept.
                self.open = None;
                self.seen = None;
                Ok(None)
            }
            Some("ADDED" | "MODIFIED" | "DELETED") => Ok(wire::decode(object)),
            // A bookmark, or a word of a newer daemon.
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Watch for Stream {
    async fn next(&mut self, at_most: Duration) -> Answer<Vec<Snapshot>> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if self.open.is_none() {
                match self.connect().await {
                    Ok(()) => {}
                    Err(refused) if refused.status == Some(StatusCode::GONE) => {
                        self.seen = None;
                        continue;
                    }
                    Err(refused) if refused.is_passing() => {
                        tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
                        return Ok(Vec::new());
                    }
                    Err(refused) => return Err(refused.into()),
                }
            }
            let Some(stream) = &mut self.open else {
                continue;
            };
            match tokio::time::timeout_at(deadline, stream.message()).await {
                Err(_) => return Ok(Vec::new()),
                Ok(Ok(Some(message))) => {
                    if let Some(snapshot) = self.take(message)? {
                        return Ok(vec![snapshot]);
                    }
                }
                // It ended, in good order or not: what comes next is asked for anew.
                Ok(Ok(None) | Err(_)) => {
                    self.open = None;
                    tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
                }
            }
        }
        Ok(Vec::new())
    }

    async fn hint(&mut self, of: &[AgentId], at_most: Duration) -> Answer<()> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            let changed = self.next(deadline - Instant::now()).await?;
            let concerns = |s: &Snapshot| of.is_empty() || of.contains(&s.agent.id);
            if changed.iter().any(concerns) {
                break;
            }
        }
        Ok(())
    }
}
