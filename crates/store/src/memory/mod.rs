//! The in-memory store: the same semantics as the databases, under one mutex, deterministic with a seed and on any
//! [`Clock`]. The seeded simulation runs on it.

mod access;
mod controller;
mod credentials;
mod fleet;
mod glance;
mod installation;
mod mutate;
mod people;
mod presence;
mod search;
mod state;
mod tasks;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::clock::Clock;
use talon_core::event::{Event, NewEvent};
use talon_core::mutation::{Finish, Mutation};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, AgentName, AgentSpec, InstallId, Owner, Snapshot};

use crate::types::{
    Applied, ApplyOptions, BrakeFacts, BudgetAsk, Change, Claim, Committed, EventFilter, Grant,
    Hold, HoldKind, Install, Leftover, ListFilter, RowState,
};
use crate::wake::Wake;
use crate::{ClaimStore, Store, StoreResult};
use state::State;

/// A store that lives and dies with the process.
pub struct MemoryStore {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    wake: Wake,
}

/// Everything a [`MemoryStore`] held at one moment, as a database backup would.
#[derive(Clone)]
pub struct Backup(State);

impl MemoryStore {
    /// An empty store on this clock, with random row ids.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self::with_seed(clock, high ^ low)
    }

    /// An empty store whose row ids follow from the seed.
    pub fn with_seed(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self {
            state: Mutex::new(State::new(seed)),
            clock,
            wake: Wake::default(),
        }
    }

    /// Copies everything, as a backup of a database does.
    pub fn backup(&self) -> Backup {
        Backup(self.state().clone())
    }

    /// Goes back to a backup, whatever has happened since. Ids of later rows stay new.
    pub fn restore(&self, backup: &Backup) {
        let mut state = self.state();
        let (ids, cards) = (state.ids.clone(), state.cards_version);
        *state = backup.0.clone();
        state.ids = ids;
        state.cards_version = cards + 1;
        drop(state);
        self.wake.announce();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&State, state::Now) -> T) -> T {
        let state = self.state();
        read(&state, self.clock.now())
    }

    fn write<T>(&self, write: impl FnOnce(&mut State, state::Now) -> T) -> T {
        let mut state = self.state();
        write(&mut state, self.clock.now())
    }

    /// As `write`, and something may be due afterwards.
    fn wake<T>(&self, write: impl FnOnce(&mut State, state::Now) -> T) -> T {
        let result = self.write(write);
        self.wake.announce();
        result
    }
}

#[async_trait]
impl ClaimStore for MemoryStore {
    async fn claim_agent(
        &self,
        id: AgentId,
        holder: &str,
        lease: Duration,
    ) -> StoreResult<Option<Claim>> {
        self.write(|s, now| s.claim_agent(id, holder, lease, now))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn apply(
        &self,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        self.wake(|s, now| s.apply(None, name, owner, spec, options, now))
    }

    async fn get(&self, name: &str, include_archived: bool) -> StoreResult<Option<Snapshot>> {
        Ok(self.read(|s, now| s.get(name, include_archived, now)))
    }

    async fn list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>> {
        Ok(self.read(|s, now| s.list(filter, now)))
    }

    async fn request_deletion(&self, name: &AgentName, keep_bucket: bool) -> StoreResult<()> {
        self.wake(|s, now| s.request_deletion(None, name, None, keep_bucket, now))
    }

    async fn request_reconcile(&self, name: &AgentName) -> StoreResult<()> {
        self.wake(|s, now| s.request_reconcile(None, name, None, now))
    }

    async fn set_suspend(&self, name: &AgentName, suspend: bool) -> StoreResult<bool> {
        self.wake(|s, now| s.set_suspend(None, name, None, suspend, now))
    }

    async fn events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>> {
        Ok(self.read(|s, _| s.events(filter)))
    }

    async fn changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>> {
        Ok(self.read(|s, _| s.changes_after(seq, limit)))
    }

    async fn last_change(&self) -> StoreResult<i64> {
        Ok(self.read(|s, _| s.change_seq))
    }

    async fn claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>> {
        Ok(self.write(|s, now| s.claim_due(holder, lease, limit, now)))
    }

    async fn renew(&self, claims: &[Claim], lease: Duration) -> StoreResult<Vec<AgentId>> {
        Ok(self.write(|s, now| s.renew(claims, lease, now)))
    }

    async fn load(&self, id: AgentId) -> StoreResult<Option<Snapshot>> {
        Ok(self.read(|s, now| s.load(id, now)))
    }

    async fn load_page(&self, after: Option<AgentId>, limit: i64) -> StoreResult<Vec<Snapshot>> {
        Ok(self.read(|s, now| s.load_page(after, limit, now)))
    }

    async fn commit(&self, claim: &Claim, mutations: &[Mutation]) -> StoreResult<Committed> {
        self.write(|s, now| s.commit(claim, mutations, now))
    }

    async fn finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()> {
        self.wake(|s, now| s.finish(claim, finish, now))
    }

    async fn release(&self, claim: &Claim) -> StoreResult<()> {
        self.wake(|s, _| s.release(claim))
    }

    async fn enqueue(&self, ids: &[AgentId]) -> StoreResult<u64> {
        Ok(self.wake(|s, now| s.enqueue(ids, now)))
    }

    async fn next_due_in(&self) -> StoreResult<Option<Duration>> {
        Ok(self.read(|s, now| s.next_due_in(now)))
    }

    async fn wait(&self, max: Duration) -> StoreResult<()> {
        self.wake.wait(max).await;
        Ok(())
    }

    async fn leftovers(&self) -> StoreResult<Vec<Leftover>> {
        Ok(self.read(|s, _| s.leftovers()))
    }

    async fn correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        self.write(|s, now| s.correct_cleanup(id, kind, result, error, now))
    }

    async fn ownership(&self, ids: &[AgentId]) -> StoreResult<Vec<(AgentId, RowState)>> {
        Ok(self.read(|s, _| s.ownership(ids)))
    }

    async fn owned_buckets(&self, buckets: &[String]) -> StoreResult<BTreeSet<String>> {
        Ok(self.read(|s, _| s.owned_buckets(buckets)))
    }

    async fn record_event(&self, agent: Option<AgentId>, event: &NewEvent) -> StoreResult<()> {
        self.write(|s, now| s.record_event(agent, event, now));
        Ok(())
    }

    async fn prune(&self, keep: Duration) -> StoreResult<u64> {
        Ok(self.write(|s, now| s.prune(keep, now)))
    }

    async fn card(&self, id: AgentId) -> StoreResult<Option<AgentCard>> {
        Ok(self.read(|s, _| s.rows.get(&id).and_then(|row| row.card.clone())))
    }

    async fn card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>> {
        Ok(self.read(|s, _| s.card_hashes()))
    }

    async fn install(&self) -> StoreResult<Option<Install>> {
        Ok(self.read(|s, _| s.install.clone()))
    }

    async fn init_install(&self, id: &InstallId, key_check: &str) -> StoreResult<Install> {
        Ok(self.write(|s, _| s.init_install(id, key_check)))
    }

    async fn try_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<bool> {
        Ok(self.write(|s, now| s.try_lease(name, holder, ttl, now)))
    }

    async fn release_lease(&self, name: &str, holder: &str) -> StoreResult<()> {
        self.write(|s, _| s.release_lease(name, holder));
        Ok(())
    }

    async fn take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant> {
        Ok(self.write(|s, now| s.take_budget(account, ask, now)))
    }

    async fn pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()> {
        self.write(|s, now| s.pause_budget(account, pause, now));
        Ok(())
    }

    async fn hold(&self) -> StoreResult<Option<Hold>> {
        Ok(self.read(|s, _| s.hold.clone()))
    }

    async fn set_hold(&self, kind: HoldKind, reason: &str) -> StoreResult<bool> {
        Ok(self.write(|s, now| s.set_hold(None, kind, reason, now)))
    }

    async fn release_hold(&self) -> StoreResult<Option<Hold>> {
        Ok(self.wake(|s, now| s.release_hold(None, now)))
    }

    async fn brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts> {
        Ok(self.read(|s, now| s.brake_facts(window, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WholeStore;
    use crate::conformance::{self, support};
    use chrono::{DateTime, Utc};

    struct System;

    impl Clock for System {
        fn now(&self) -> DateTime<Utc> {
            Utc::now()
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        conformance::run(|| async {
            Arc::new(MemoryStore::new(Arc::new(System))) as Arc<dyn WholeStore>
        })
        .await;
    }

    #[tokio::test]
    async fn ids_follow_from_the_seed() {
        let mut made = Vec::new();
        for seed in [1, 1, 2] {
            let store = MemoryStore::with_seed(Arc::new(System), seed);
            let name = AgentName::parse("research-pro").unwrap();
            let applied = store
                .apply(
                    &name,
                    &Owner::default(),
                    &support::spec(),
                    ApplyOptions::default(),
                )
                .await
                .unwrap();
            made.push(applied.id);
        }
        assert_eq!(made[0], made[1]);
        assert_ne!(made[0], made[2]);
        assert_eq!(made[0].0.get_version_num(), 4);
    }

    #[tokio::test]
    async fn a_backup_comes_back_whole() {
        let store = MemoryStore::with_seed(Arc::new(System), 1);
        let owner = Owner::default();
        let one = AgentName::parse("agent-one").unwrap();
        let two = AgentName::parse("agent-two").unwrap();
        let options = ApplyOptions::default();
        store
            .apply(&one, &owner, &support::spec(), options)
            .await
            .unwrap();
        let backup = store.backup();
        let lost = store
            .apply(&two, &owner, &support::spec(), options)
            .await
            .unwrap();
        store.restore(&backup);
        assert_eq!(store.last_change().await.unwrap(), 1);
        assert!(store.load(lost.id).await.unwrap().is_none());
        let again = store
            .apply(&two, &owner, &support::spec(), options)
            .await
            .unwrap();
        assert_ne!(again.id, lost.id);
    }
}
