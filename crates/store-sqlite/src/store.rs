//! [`Store`], method by method.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::event::{Event, NewEvent};
use talon_core::mutation::{Finish, Mutation};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, AgentName, AgentSpec, InstallId, Owner, Snapshot};
use talon_store::{
    Applied, ApplyOptions, BrakeFacts, BudgetAsk, Change, Claim, Committed, EventFilter, Grant,
    Hold, HoldKind, Install, Leftover, ListFilter, RowState, Store, StoreResult,
};

use crate::open::SqliteStore;

#[async_trait]
impl Store for SqliteStore {
    async fn apply(
        &self,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        self.do_apply(None, name, owner, spec, options).await
    }

    async fn get(&self, name: &str, include_archived: bool) -> StoreResult<Option<Snapshot>> {
        self.do_get(name, include_archived).await
    }

    async fn list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>> {
        self.do_list(filter).await
    }

    async fn request_deletion(&self, name: &AgentName, keep_bucket: bool) -> StoreResult<()> {
        self.do_request_deletion(None, name, None, keep_bucket)
            .await
    }

    async fn request_reconcile(&self, name: &AgentName) -> StoreResult<()> {
        self.do_request_reconcile(None, name, None).await
    }

    async fn set_suspend(&self, name: &AgentName, suspend: bool) -> StoreResult<bool> {
        self.do_set_suspend(None, name, None, suspend).await
    }

    async fn events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>> {
        self.do_events(filter).await
    }

    async fn changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>> {
        self.do_changes_after(seq, limit).await
    }

    async fn last_change(&self) -> StoreResult<i64> {
        self.do_last_change().await
    }

    async fn claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>> {
        self.do_claim_due(holder, lease, limit).await
    }

    async fn renew(&self, claims: &[Claim], lease: Duration) -> StoreResult<Vec<AgentId>> {
        self.do_renew(claims, lease).await
    }

    async fn load(&self, id: AgentId) -> StoreResult<Option<Snapshot>> {
        self.do_load(id).await
    }

    async fn load_page(&self, after: Option<AgentId>, limit: i64) -> StoreResult<Vec<Snapshot>> {
        self.do_load_page(after, limit).await
    }

    async fn commit(&self, claim: &Claim, mutations: &[Mutation]) -> StoreResult<Committed> {
        self.do_commit(claim, mutations).await
    }

    async fn finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()> {
        self.do_finish(claim, finish).await
    }

    async fn release(&self, claim: &Claim) -> StoreResult<()> {
        self.do_release(claim).await
    }

    async fn enqueue(&self, ids: &[AgentId]) -> StoreResult<u64> {
        self.do_enqueue(ids).await
    }

    async fn next_due_in(&self) -> StoreResult<Option<Duration>> {
        self.do_next_due_in().await
    }

    async fn wait(&self, max: Duration) -> StoreResult<()> {
        self.watch.wait(max).await
    }

    async fn leftovers(&self) -> StoreResult<Vec<Leftover>> {
        self.do_leftovers().await
    }

    async fn correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        self.do_correct_cleanup(id, kind, result, error).await
    }

    async fn ownership(&self, ids: &[AgentId]) -> StoreResult<Vec<(AgentId, RowState)>> {
        self.do_ownership(ids).await
    }

    async fn owned_buckets(&self, buckets: &[String]) -> StoreResult<BTreeSet<String>> {
        self.do_owned_buckets(buckets).await
    }

    async fn record_event(&self, agent: Option<AgentId>, event: &NewEvent) -> StoreResult<()> {
        self.do_record_event(agent, event).await
    }

    async fn prune(&self, keep: Duration) -> StoreResult<u64> {
        self.do_prune(keep).await
    }

    async fn card(&self, id: AgentId) -> StoreResult<Option<AgentCard>> {
        self.do_card(id).await
    }

    async fn card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>> {
        self.do_card_hashes().await
    }

    async fn install(&self) -> StoreResult<Option<Install>> {
        self.do_install().await
    }

    async fn init_install(&self, id: &InstallId, key_check: &str) -> StoreResult<Install> {
        self.do_init_install(id, key_check).await
    }

    async fn try_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<bool> {
        self.do_try_lease(name, holder, ttl).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> StoreResult<()> {
        self.do_release_lease(name, holder).await
    }

    async fn take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant> {
        self.do_take_budget(account, ask).await
    }

    async fn pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()> {
        self.do_pause_budget(account, pause).await
    }

    async fn hold(&self) -> StoreResult<Option<Hold>> {
        self.do_hold().await
    }

    async fn set_hold(&self, kind: HoldKind, reason: &str) -> StoreResult<bool> {
        self.do_set_hold(None, kind, reason).await
    }

    async fn release_hold(&self) -> StoreResult<Option<Hold>> {
        self.do_release_hold(None).await
    }

    async fn brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts> {
        self.do_brake_facts(window).await
    }
}
