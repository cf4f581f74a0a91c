//! The mass-change brake: a disaster is not repaired faithfully.
//!
//! When too many known Workers vanish between two inventories, or too many agents enter deletion at once, a hold is
//! put in force: nothing is made again and nothing is destroyed until a person releases it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::{AgentId, InstallId, Snapshot};
use talon_plan::know::later;
use talon_store::{HoldKind, Store, StoreResult};

use crate::config::{BrakeConfig, seconds};
use crate::inventory::{Inventory, Watch, marked_workers};

/// Watches inventories and deletions.
pub struct Brake {
    store: Arc<dyn Store>,
    install: InstallId,
    config: BrakeConfig,
    list_lag: Duration,
    known: Mutex<BTreeMap<AgentId, String>>,
    /// The last release that was heard of: what the lists show after a later one is accepted.
    released: Mutex<Option<DateTime<Utc>>>,
}

impl Brake {
    /// A brake that knows no Worker yet; see [`Brake::learn`].
    pub fn new(
        store: Arc<dyn Store>,
        install: InstallId,
        config: BrakeConfig,
        list_lag: Duration,
    ) -> Self {
        Self {
            store,
            install,
            config,
            list_lag,
            known: Mutex::new(BTreeMap::new()),
            released: Mutex::new(None),
        }
    }

    /// Learns from the database which Workers are known, before the first inventory.
    pub async fn learn(&self) -> StoreResult<()> {
        let mut known = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.load_page(after, 500).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.agent.id);
            for snapshot in &page {
                let worker = snapshot
                    .resource(ResourceKind::Worker)
                    .filter(|r| r.state == ResourceState::Present);
                if let Some(worker) = worker.filter(|_| !snapshot.agent.is_deleting()) {
                    known.insert(snapshot.agent.id, worker.name.clone());
                }
            }
        }
        *self.known() = known;
        let last = self.last_release().await?;
        *self.released() = last;
        Ok(())
    }

    /// A Worker was uploaded: it is known from now on.
    pub fn uploaded(&self, agent: AgentId, worker: &str) {
        self.known().insert(agent, worker.to_owned());
    }

    /// A Worker was deleted on purpose: it is not missed.
    pub fn deleted(&self, agent: AgentId) {
        self.known().remove(&agent);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<AgentId, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn released(&self) -> std::sync::MutexGuard<'_, Option<DateTime<Utc>>> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn last_release(&self) -> StoreResult<Option<DateTime<Utc>>> {
        Ok(self.store.brake_facts(Duration::ZERO).await?.last_release)
    }

    /// Puts a hold in force if too many agents entered deletion at once.
    pub async fn check_deletions(&self) -> StoreResult<()> {
        let facts = self
            .store
            .brake_facts(seconds(self.config.deletions_window_seconds))
            .await?;
        if facts.recent_deletions > self.config.deletions {
            let reason = format!(
                "{} agents entered deletion within {} s (more than {} hold everything that destroys); \
                 if this is meant: talon release-hold",
                facts.recent_deletions, self.config.deletions_window_seconds, self.config.deletions
            );
            self.hold(&reason).await?;
        }
        Ok(())
    }

    async fn hold(&self, reason: &str) -> StoreResult<()> {
        if self.store.set_hold(HoldKind::MassChange, reason).await? {
            tracing::error!(reason, "holding");
        }
        Ok(())
    }

    async fn check_vanished(&self, after: &Inventory) -> StoreResult<()> {
        let last = self.last_release().await?;
        if last > *self.released() {
            // Somebody looked and let go: what vanished is no news, and must not hold again what was just released.
            *self.released() = last;
            self.accept(after);
            return Ok(());
        }
        let known = self.known().clone();
        let suspects: Vec<AgentId> = known
            .iter()
            .filter(|(_, name)| !after.workers.contains_key(*name))
            .map(|(id, _)| *id)
            .collect();
        let limit =
            (self.config.vanished_min as f64).max(known.len() as f64 * self.config.vanished_share);
        let mut fresh = Vec::new();
        if suspects.len() as f64 > limit {
            let mut vanished = 0u64;
            for id in &suspects {
                let snapshot = self.store.load(*id).await?;
                match snapshot {
                    Some(s) if self.is_missed(&s) => vanished += 1,
                    Some(_) => fresh.push(*id),
                    None => {}
                }
            }
            if vanished as f64 > limit {
                let reason = format!(
                    "{vanished} of {} known Workers vanished from Cloudflare's list at once; nothing is made again until \
                     somebody looked: talon doctor, then talon release-hold",
                    known.len()
                );
                return self.hold(&reason).await;
            }
        }
        let mut known = self.known();
        known.retain(|id, _| !suspects.contains(id) || fresh.contains(id));
        known.extend(marked_workers(after, &self.install).map(|(id, w)| (id, w.name.clone())));
        Ok(())
    }

    /// Whether an agent should have its Worker, and for long enough that a list must show it. One that a call has found
    /// gone before any list did is missed like the others.
    fn is_missed(&self, snapshot: &Snapshot) -> bool {
        let agent = &snapshot.agent;
        let Some(worker) = snapshot.resource(ResourceKind::Worker) else {
            return false;
        };
        let lacking = match worker.state {
            ResourceState::Present | ResourceState::ValueUnplaced => worker
                .confirmed_at
                .is_some_and(|c| later(c, self.list_lag) < snapshot.now),
            ResourceState::Absent => agent.status.first_deployed_at.is_some(),
            ResourceState::Unknown => false,
        };
        lacking && !agent.is_deleting() && !agent.is_archived()
    }

    /// What this inventory shows is what is known from now on.
    fn accept(&self, inventory: &Inventory) {
        let shown = marked_workers(inventory, &self.install)
            .map(|(id, w)| (id, w.name.clone()))
            .collect();
        *self.known() = shown;
    }
}

#[async_trait]
impl Watch for Brake {
    async fn compare(&self, _before: Option<&Inventory>, after: &Inventory) -> StoreResult<()> {
        self.check_vanished(after).await
    }
}

#[cfg(test)]
#[path = "brake_tests.rs"]
mod tests;
