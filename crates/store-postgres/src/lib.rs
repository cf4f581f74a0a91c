//! The store on PostgreSQL: any number of replicas on one database.
//!
//! Guarantees: the rules of the SQL contract are enforced by the database itself (`migrations/postgres`), whoever
//! writes; all timestamps are the database's; every write of a pass is fenced by the lease's epoch; no error repeats a
//! value, neither ours nor the server's. Assumes PostgreSQL 13 or later and UTF-8.
//!
//! Queries are checked when they run, by the tests, and not when they are compiled: `query!` would want either a server
//! or generated files wherever this crate is built.

mod access;
mod actor;
mod budget;
mod cards;
mod claim;
mod claims;
mod cleanup;
mod commit;
mod connect;
mod credentials;
mod error;
mod events;
mod feed;
mod fleet;
mod glance;
mod installation;
mod listen;
mod migrate;
mod mutation;
mod people;
mod presence;
mod search;
mod snapshot;
mod tasks;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPool};
use talon_core::card::AgentCard;
use talon_core::event::{Event, NewEvent};
use talon_core::mutation::{Finish, Mutation};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, AgentName, AgentSpec, InstallId, Owner, Snapshot};
use talon_store::wake::Wake;
use talon_store::{
    Applied, ApplyOptions, BrakeFacts, BudgetAsk, Change, Claim, Committed, EventFilter, Grant,
    Hold, HoldKind, Install, Leftover, ListFilter, RowState, Store, StoreResult,
};
use tokio::sync::OnceCell;

use crate::error::retrying;
use crate::listen::Listening;
pub use crate::migrate::{BOOTSTRAP_SQL, MigrateOptions, MigrateReport};

/// A store on one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
    wake: Arc<Wake>,
    /// What the role may read of an agent; asked at the first reading.
    sight: OnceCell<snapshot::Sight>,
    /// Started by the first [`Store::wait`], so that a short command opens no connection for it.
    listening: OnceLock<Listening>,
}

impl PostgresStore {
    /// Connects to a database whose schema is exactly this program's.
    ///
    /// Errors: `Unavailable` if it cannot be reached, `Corrupt` if `talon migrate` must run first or the schema is
    /// newer than the program.
    pub async fn open(url: &str) -> StoreResult<Self> {
        let options = connect::parse(url)?;
        let mut connection = connect::single(&options).await?;
        migrate::check(&mut connection).await?;
        // A failure to say goodbye changes nothing.
        let _ = connection.close().await;
        let pool = connect::pool(options.clone());
        Ok(Self {
            pool,
            options,
            wake: Arc::default(),
            sight: OnceCell::new(),
            listening: OnceLock::new(),
        })
    }

    /// Brings a database to this program's schema: roles, search path, migrations, grants and, if wanted, settings that
    /// keep statements out of the server's log. Idempotent, safe to run from several places at once. What the
    /// connecting role may not do is a warning in the report, unless the schema itself could not be brought up.
    pub async fn migrate(url: &str, options: MigrateOptions) -> StoreResult<MigrateReport> {
        migrate::migrate(&connect::parse(url)?, options).await
    }

    /// Closes all connections and waits until they are closed.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn apply(
        &self,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        retrying(|| people::apply(&self.pool, None, name, owner, spec, options)).await
    }

    async fn get(&self, name: &str, include_archived: bool) -> StoreResult<Option<Snapshot>> {
        retrying(|| snapshot::get(&self.pool, &self.sight, name, include_archived)).await
    }

    async fn list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>> {
        retrying(|| snapshot::list(&self.pool, &self.sight, filter)).await
    }

    async fn request_deletion(&self, name: &AgentName, keep_bucket: bool) -> StoreResult<()> {
        retrying(|| people::request_deletion(&self.pool, None, name, None, keep_bucket)).await
    }

    async fn request_reconcile(&self, name: &AgentName) -> StoreResult<()> {
        retrying(|| people::request_reconcile(&self.pool, None, name, None)).await
    }

    async fn set_suspend(&self, name: &AgentName, suspend: bool) -> StoreResult<bool> {
        retrying(|| people::set_suspend(&self.pool, None, name, None, suspend)).await
    }

    async fn events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>> {
        retrying(|| events::read(&self.pool, filter)).await
    }

    async fn changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>> {
        retrying(|| feed::after(&self.pool, seq, limit)).await
    }

    async fn last_change(&self) -> StoreResult<i64> {
        retrying(|| feed::last(&self.pool)).await
    }

    async fn claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>> {
        retrying(|| claims::claim_due(&self.pool, holder, lease, limit)).await
    }

    async fn renew(&self, claims: &[Claim], lease: Duration) -> StoreResult<Vec<AgentId>> {
        retrying(|| claims::renew(&self.pool, claims, lease)).await
    }

    async fn load(&self, id: AgentId) -> StoreResult<Option<Snapshot>> {
        retrying(|| snapshot::load(&self.pool, &self.sight, id)).await
    }

    async fn load_page(&self, after: Option<AgentId>, limit: i64) -> StoreResult<Vec<Snapshot>> {
        retrying(|| snapshot::page(&self.pool, &self.sight, after, limit)).await
    }

    async fn commit(&self, claim: &Claim, mutations: &[Mutation]) -> StoreResult<Committed> {
        retrying(|| commit::commit(&self.pool, claim, mutations)).await
    }

    async fn finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()> {
        retrying(|| commit::finish(&self.pool, claim, finish)).await
    }

    async fn release(&self, claim: &Claim) -> StoreResult<()> {
        retrying(|| claims::release(&self.pool, claim)).await
    }

    async fn enqueue(&self, ids: &[AgentId]) -> StoreResult<u64> {
        retrying(|| claims::enqueue(&self.pool, ids)).await
    }

    async fn next_due_in(&self) -> StoreResult<Option<Duration>> {
        retrying(|| claims::next_due_in(&self.pool)).await
    }

    async fn wait(&self, max: Duration) -> StoreResult<()> {
        self.listening
            .get_or_init(|| Listening::start(self.options.clone(), self.wake.clone()));
        self.wake.wait(max).await;
        Ok(())
    }

    async fn leftovers(&self) -> StoreResult<Vec<Leftover>> {
        retrying(|| cleanup::leftovers(&self.pool)).await
    }

    async fn correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        retrying(|| cleanup::correct(&self.pool, id, kind, result, error)).await
    }

    async fn ownership(&self, ids: &[AgentId]) -> StoreResult<Vec<(AgentId, RowState)>> {
        retrying(|| cleanup::ownership(&self.pool, ids)).await
    }

    async fn owned_buckets(&self, buckets: &[String]) -> StoreResult<BTreeSet<String>> {
        retrying(|| cleanup::owned_buckets(&self.pool, buckets)).await
    }

    async fn record_event(&self, agent: Option<AgentId>, event: &NewEvent) -> StoreResult<()> {
        retrying(|| async {
            let mut connection = self.pool.acquire().await?;
            events::record(&mut connection, agent, event).await
        })
        .await
    }

    async fn prune(&self, keep: Duration) -> StoreResult<u64> {
        retrying(|| events::prune(&self.pool, keep)).await
    }

    async fn card(&self, id: AgentId) -> StoreResult<Option<AgentCard>> {
        retrying(|| cards::card(&self.pool, id)).await
    }

    async fn card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>> {
        retrying(|| cards::hashes(&self.pool)).await
    }

    async fn install(&self) -> StoreResult<Option<Install>> {
        retrying(|| installation::install(&self.pool)).await
    }

    async fn init_install(&self, id: &InstallId, key_check: &str) -> StoreResult<Install> {
        retrying(|| installation::init_install(&self.pool, id, key_check)).await
    }

    async fn try_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<bool> {
        retrying(|| installation::try_lease(&self.pool, name, holder, ttl)).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> StoreResult<()> {
        retrying(|| installation::release_lease(&self.pool, name, holder)).await
    }

    async fn take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant> {
        retrying(|| budget::take(&self.pool, account, ask)).await
    }

    async fn pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()> {
        retrying(|| budget::pause(&self.pool, account, pause)).await
    }

    async fn hold(&self) -> StoreResult<Option<Hold>> {
        retrying(|| installation::hold(&self.pool)).await
    }

    async fn set_hold(&self, kind: HoldKind, reason: &str) -> StoreResult<bool> {
        retrying(|| installation::set_hold(&self.pool, None, kind, reason)).await
    }

    async fn release_hold(&self) -> StoreResult<Option<Hold>> {
        retrying(|| installation::release_hold(&self.pool, None)).await
    }

    async fn brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts> {
        retrying(|| installation::brake_facts(&self.pool, window)).await
    }
}
