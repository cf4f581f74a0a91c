//! One process's way to the database, on which everything can go wrong; and what is checked at every write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::event::{Event, NewEvent};
use talon_core::mutation::{Finish, Mutation};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, AgentName, AgentSpec, Generation, InstallId, Owner, Snapshot};
use talon_store::memory::MemoryStore;
use talon_store::{
    Applied, ApplyOptions, BrakeFacts, BudgetAsk, Change, Claim, ClaimStore, Committed,
    EventFilter, Grant, Hold, HoldKind, Install, Leftover, ListFilter, RowState, Store, StoreError,
    StoreResult,
};
use tokio::time::sleep;

use super::cloud::Account;
use super::dice::SharedDice;
use super::faults::StoreFault;
use super::seat::{Moment, Seat};

/// Called with the row as it was and as it is after a write of a pass; returns what is wrong.
pub type Check = Arc<dyn Fn(&Snapshot, &Snapshot) -> Vec<String> + Send + Sync>;

/// What all processes' ways to the database share.
pub struct Database {
    /// The rows.
    pub rows: MemoryStore,
    /// Looks at every write of a pass.
    pub check: Check,
    /// What was found wrong at writes.
    pub broken: Mutex<Vec<String>>,
    /// Writes of passes, resync and sweep that were accepted; leases and budgets do not count.
    pub writes: AtomicU64,
    /// Calls of any kind.
    pub calls: AtomicU64,
    /// Writes refused because they came from an epoch that is over.
    pub stale: AtomicU64,
    /// Nobody reaches the database before this (time since the history began).
    pub away_until: Mutex<Duration>,
    /// The highest observed generation of each agent.
    observed: Mutex<BTreeMap<AgentId, Generation>>,
}

impl Database {
    /// A database around these rows.
    pub fn new(rows: MemoryStore, check: Check) -> Self {
        Self {
            rows,
            check,
            broken: Mutex::default(),
            writes: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            away_until: Mutex::default(),
            observed: Mutex::default(),
        }
    }

    /// What was found wrong so far.
    pub fn broken(&self) -> MutexGuard<'_, Vec<String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets how far generations were observed: the database was set back.
    pub fn set_back(&self) {
        self.observed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn look_at(&self, before: Option<&Snapshot>, after: Option<&Snapshot>, claim: &Claim) {
        let (Some(before), Some(after)) = (before, after) else {
            return;
        };
        let mut wrong = (self.check)(before, after);
        if claim.epoch != before.work.lease_epoch {
            wrong.push(format!(
                "O7: a write of epoch {} was accepted, the row is at {}",
                claim.epoch.0, before.work.lease_epoch.0
            ));
        }
        let now = after.agent.status.observed_generation;
        let mut all = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = all.entry(claim.agent_id).or_default();
        if now < *highest {
            wrong.push(format!(
                "O7: observed_generation went from {highest} to {now}"
            ));
        }
        *highest = now;
        self.broken().extend(wrong);
    }
}

/// One process's way to the database.
pub struct SimStore {
    /// The database.
    pub database: Arc<Database>,
    /// The process.
    pub seat: Arc<Seat>,
    /// Holds the faults.
    pub account: Arc<Account>,
    /// Chance.
    pub dice: SharedDice,
    /// It is never told that something may be due.
    pub deaf: bool,
}

fn away() -> StoreError {
    StoreError::Unavailable("simulated".to_owned())
}

impl SimStore {
    fn fate(&self, writes: bool) -> Option<StoreFault> {
        self.database.calls.fetch_add(1, Ordering::Relaxed);
        let mut state = self.account.state();
        let until = self.database.away_until.lock();
        let until = *until.unwrap_or_else(PoisonError::into_inner);
        if self.account.elapsed() < until {
            state.faults.note("the database is away");
            return Some(StoreFault::Away);
        }
        self.dice.throw(|d| state.faults.store(writes, d))
    }

    async fn travel(&self) {
        self.seat.alive().await;
        let ms = self.dice.throw(|d| d.range(1..4));
        sleep(Duration::from_millis(ms)).await;
    }

    async fn read<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        self.travel().await;
        self.seat.alive().await;
        if self.fate(false).is_some() {
            return Err(away());
        }
        let answer = call.await;
        self.seat.alive().await;
        answer
    }

    /// A write that is no point to die at: leases, claims, events of no pass.
    async fn light<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        self.travel().await;
        self.seat.alive().await;
        let fault = self.fate(true);
        if fault == Some(StoreFault::Away) {
            return Err(away());
        }
        let answer = call.await;
        self.travel().await;
        self.seat.alive().await;
        if fault == Some(StoreFault::AckLost) {
            return Err(away());
        }
        answer
    }

    /// A write of a pass.
    async fn write<T>(
        &self,
        claim: &Claim,
        what: impl FnOnce() -> String,
        call: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let number = self.seat.number();
        self.travel().await;
        self.seat.may_die(number, Moment::Before).await;
        let fault = self.fate(true);
        if fault == Some(StoreFault::Away) {
            return Err(away());
        }
        let before = self.database.rows.load(claim.agent_id).await?;
        let answer = call.await;
        self.account.tell(|| {
            format!(
                "database: {} {fault:?}{}",
                what(),
                if answer.is_ok() { "" } else { " refused" }
            )
        });
        match &answer {
            Ok(_) => {
                self.database.writes.fetch_add(1, Ordering::Relaxed);
                let after = self.database.rows.load(claim.agent_id).await?;
                self.database
                    .look_at(before.as_ref(), after.as_ref(), claim);
            }
            Err(StoreError::StaleEpoch) => {
                self.database.stale.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        if self.seat.dies_in_flight(number) {
            self.seat.may_die(number, Moment::InFlight).await;
        }
        self.seat.may_die(number, Moment::After).await;
        self.travel().await;
        self.seat.alive().await;
        if fault == Some(StoreFault::AckLost) {
            return Err(away());
        }
        answer
    }
}

#[async_trait]
impl ClaimStore for SimStore {
    async fn claim_agent(
        &self,
        id: AgentId,
        holder: &str,
        lease: Duration,
    ) -> StoreResult<Option<Claim>> {
        self.light(self.database.rows.claim_agent(id, holder, lease))
            .await
    }
}

#[async_trait]
impl Store for SimStore {
    async fn apply(
        &self,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        self.light(self.database.rows.apply(name, owner, spec, options))
            .await
    }

    async fn get(&self, name: &str, include_archived: bool) -> StoreResult<Option<Snapshot>> {
        self.read(self.database.rows.get(name, include_archived))
            .await
    }

    async fn list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>> {
        self.read(self.database.rows.list(filter)).await
    }

    async fn request_deletion(&self, name: &AgentName, keep_bucket: bool) -> StoreResult<()> {
        self.light(self.database.rows.request_deletion(name, keep_bucket))
            .await
    }

    async fn request_reconcile(&self, name: &AgentName) -> StoreResult<()> {
        self.light(self.database.rows.request_reconcile(name)).await
    }

    async fn set_suspend(&self, name: &AgentName, suspend: bool) -> StoreResult<bool> {
        self.light(self.database.rows.set_suspend(name, suspend))
            .await
    }

    async fn events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>> {
        self.read(self.database.rows.events(filter)).await
    }

    async fn changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>> {
        self.read(self.database.rows.changes_after(seq, limit))
            .await
    }

    async fn last_change(&self) -> StoreResult<i64> {
        self.read(self.database.rows.last_change()).await
    }

    async fn claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>> {
        self.light(self.database.rows.claim_due(holder, lease, limit))
            .await
    }

    async fn renew(&self, claims: &[Claim], lease: Duration) -> StoreResult<Vec<AgentId>> {
        self.light(self.database.rows.renew(claims, lease)).await
    }

    async fn load(&self, id: AgentId) -> StoreResult<Option<Snapshot>> {
        self.read(self.database.rows.load(id)).await
    }

    async fn load_page(&self, after: Option<AgentId>, limit: i64) -> StoreResult<Vec<Snapshot>> {
        self.read(self.database.rows.load_page(after, limit)).await
    }

    async fn commit(&self, claim: &Claim, mutations: &[Mutation]) -> StoreResult<Committed> {
        let what = || format!("commit {} {mutations:?}", claim.agent_id);
        self.write(claim, what, self.database.rows.commit(claim, mutations))
            .await
    }

    async fn finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()> {
        let what = || {
            let facts: Vec<_> = finish
                .mutations
                .iter()
                .filter(|m| !matches!(m, Mutation::Condition(_)))
                .collect();
            format!(
                "finish {} due {:?} {:?} {facts:?}",
                claim.agent_id, finish.next_due_in, finish.progress
            )
        };
        self.write(claim, what, self.database.rows.finish(claim, finish))
            .await
    }

    async fn release(&self, claim: &Claim) -> StoreResult<()> {
        self.light(self.database.rows.release(claim)).await
    }

    async fn enqueue(&self, ids: &[AgentId]) -> StoreResult<u64> {
        self.database.writes.fetch_add(1, Ordering::Relaxed);
        self.light(self.database.rows.enqueue(ids)).await
    }

    async fn next_due_in(&self) -> StoreResult<Option<Duration>> {
        self.read(self.database.rows.next_due_in()).await
    }

    async fn wait(&self, max: Duration) -> StoreResult<()> {
        self.seat.alive().await;
        if self.deaf {
            sleep(max).await;
            return Ok(());
        }
        self.database.rows.wait(max).await
    }

    async fn leftovers(&self) -> StoreResult<Vec<Leftover>> {
        self.read(self.database.rows.leftovers()).await
    }

    async fn correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        self.database.writes.fetch_add(1, Ordering::Relaxed);
        self.light(self.database.rows.correct_cleanup(id, kind, result, error))
            .await
    }

    async fn ownership(&self, ids: &[AgentId]) -> StoreResult<Vec<(AgentId, RowState)>> {
        self.read(self.database.rows.ownership(ids)).await
    }

    async fn owned_buckets(&self, buckets: &[String]) -> StoreResult<BTreeSet<String>> {
        self.read(self.database.rows.owned_buckets(buckets)).await
    }

    async fn record_event(&self, agent: Option<AgentId>, event: &NewEvent) -> StoreResult<()> {
        self.database.writes.fetch_add(1, Ordering::Relaxed);
        self.light(self.database.rows.record_event(agent, event))
            .await
    }

    async fn prune(&self, keep: Duration) -> StoreResult<u64> {
        self.light(self.database.rows.prune(keep)).await
    }

    async fn card(&self, id: AgentId) -> StoreResult<Option<AgentCard>> {
        self.read(self.database.rows.card(id)).await
    }

    async fn card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>> {
        self.read(self.database.rows.card_hashes()).await
    }

    async fn install(&self) -> StoreResult<Option<Install>> {
        self.read(self.database.rows.install()).await
    }

    async fn init_install(&self, id: &InstallId, key_check: &str) -> StoreResult<Install> {
        self.light(self.database.rows.init_install(id, key_check))
            .await
    }

    async fn try_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<bool> {
        self.light(self.database.rows.try_lease(name, holder, ttl))
            .await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> StoreResult<()> {
        self.light(self.database.rows.release_lease(name, holder))
            .await
    }

    async fn take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant> {
        self.light(self.database.rows.take_budget(account, ask))
            .await
    }

    async fn pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()> {
        self.light(self.database.rows.pause_budget(account, pause))
            .await
    }

    async fn hold(&self) -> StoreResult<Option<Hold>> {
        self.read(self.database.rows.hold()).await
    }

    async fn set_hold(&self, kind: HoldKind, reason: &str) -> StoreResult<bool> {
        self.light(self.database.rows.set_hold(kind, reason)).await
    }

    async fn release_hold(&self) -> StoreResult<Option<Hold>> {
        self.light(self.database.rows.release_hold()).await
    }

    async fn brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts> {
        self.read(self.database.rows.brake_facts(window)).await
    }
}
