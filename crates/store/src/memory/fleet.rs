//! Pages of the fleet, and writes in somebody's name.

use async_trait::async_trait;
use talon_core::{AgentName, AgentSpec, Owner, Snapshot};

use super::MemoryStore;
use super::state::{Row, State};
use crate::fleet::{Actor, Decided, FleetStore, PageFilter, PagePlace};
use crate::{Applied, ApplyOptions, Hold, HoldKind, StoreResult};

impl PageFilter {
    fn takes(&self, row: &Row) -> bool {
        let agent = &row.agent;
        let holds = |text: &str| {
            let text = text.to_ascii_lowercase();
            let display = agent.spec.display_name.as_deref().unwrap_or_default();
            agent.name.as_str().contains(&text) || display.to_ascii_lowercase().contains(&text)
        };
        (self.include_archived || !agent.is_archived())
            && self
                .status
                .is_none_or(|s| s == agent.status.deployment_status)
            && self.owner.as_ref().is_none_or(|o| *o == agent.owner)
            && self.text.as_deref().is_none_or(holds)
    }
}

impl State {
    fn fitting(&self, filter: &PageFilter) -> Vec<&Row> {
        let mut found: Vec<_> = self.rows.values().filter(|row| filter.takes(row)).collect();
        found.sort_by(|a, b| (&a.agent.name, a.agent.id).cmp(&(&b.agent.name, b.agent.id)));
        found
    }
}

#[async_trait]
impl FleetStore for MemoryStore {
    async fn page(
        &self,
        filter: &PageFilter,
        after: Option<&PagePlace>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let limit = usize::try_from(limit).unwrap_or_default();
        Ok(self.read(|s, now| {
            s.fitting(filter)
                .into_iter()
                .filter(|row| {
                    after.is_none_or(|after| {
                        (row.agent.name.as_str(), row.agent.id) > (after.name.as_str(), after.id)
                    })
                })
                .take(limit)
                .map(|row| row.snapshot(now))
                .collect()
        }))
    }

    async fn count(&self, filter: &PageFilter) -> StoreResult<i64> {
        let count = self.read(|s, _| s.fitting(filter).len());
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    async fn first_change(&self) -> StoreResult<i64> {
        Ok(self.read(|s, _| s.changes.first().map_or(0, |(change, _)| change.seq)))
    }

    async fn apply_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        self.wake(|s, now| s.apply(Some(actor), name, owner, spec, options, now))
    }

    async fn request_deletion_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
    ) -> StoreResult<()> {
        self.wake(|s, now| s.request_deletion(Some(actor), name, decided, keep_bucket, now))
    }

    async fn set_suspend_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
    ) -> StoreResult<bool> {
        self.wake(|s, now| s.set_suspend(Some(actor), name, decided, suspend, now))
    }

    async fn request_reconcile_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
    ) -> StoreResult<()> {
        self.wake(|s, now| s.request_reconcile(Some(actor), name, decided, now))
    }

    async fn set_hold_as(&self, actor: &Actor, reason: &str) -> StoreResult<bool> {
        Ok(self.write(|s, now| s.set_hold(Some(actor), HoldKind::Operator, reason, now)))
    }

    async fn release_hold_as(&self, actor: &Actor) -> StoreResult<Option<Hold>> {
        Ok(self.wake(|s, now| s.release_hold(Some(actor), now)))
    }
}
