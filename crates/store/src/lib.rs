//! Where rows live: the [`Store`] trait, an in-memory store, and the one conformance suite that every store passes.
//!
//! Guarantees asked of every store: all timestamps come from the store's own clock; every write of a pass carries the
//! lease's epoch and is refused when a newer one exists; the rules of the SQL contract (immutability, latch,
//! generation, deletion as a request) hold whoever writes.

pub mod access;
pub mod budget;
pub mod claim;
pub mod codes;
pub mod columns;
pub mod conformance;
pub mod error;
pub mod fleet;
pub mod glance;
pub mod memory;
pub mod network;
pub mod search;
pub mod types;
pub mod wake;
pub mod writes;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::event::{Event, NewEvent};
use talon_core::mutation::{Finish, Mutation};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, AgentName, AgentSpec, InstallId, Owner, Snapshot};

pub use claim::ClaimStore;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use types::*;

/// All of a store: what the controller and the commands need, what the Hub, the Router, the HTTP API and the dashboard need.
pub trait WholeStore:
    Store
    + network::HubStore
    + search::SearchStore
    + fleet::FleetStore
    + access::AccessStore
    + glance::GlanceStore
{
}
impl<T> WholeStore for T where
    T: Store
        + network::HubStore
        + search::SearchStore
        + fleet::FleetStore
        + access::AccessStore
        + glance::GlanceStore
{
}

/// Shorthand.
pub type StoreResult<T> = Result<T, StoreError>;

/// The database, as the controller and the commands see it. Object-safe; shared by `Arc<dyn Store>`.
#[async_trait]
pub trait Store: ClaimStore {
    // ---- for people -------------------------------------------------------------------------------------------

    /// Creates the agent or brings its spec to exactly this (one upsert). `Unchanged` writes nothing and moves no
    /// generation. Errors: `Stale` when `if_generation` does not match (0 = must not exist), `Rejected` with the
    /// contract's code when a rule refuses it (another owner included: `owner` is given at creation only). `dry_run`
    /// does all of it and rolls back; the id of a row that would be new means nothing then.
    async fn apply(
        &self,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied>;

    /// One agent by name. Live ones first; with `include_archived`, else the most recently archived of that name.
    async fn get(&self, name: &str, include_archived: bool) -> StoreResult<Option<Snapshot>>;

    /// Agents in name order.
    async fn list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>>;

    /// Asks for deletion (what `DELETE FROM` becomes). Asking twice changes nothing. `Rejected` if protected,
    /// `NotFound` if no live agent has the name (as for the two requests below).
    async fn request_deletion(&self, name: &AgentName, keep_bucket: bool) -> StoreResult<()>;

    /// Makes a pass due now (`reconcile_requested_at`, which always moves forward).
    async fn request_reconcile(&self, name: &AgentName) -> StoreResult<()>;

    /// Sets `suspend`; returns whether it changed.
    async fn set_suspend(&self, name: &AgentName, suspend: bool) -> StoreResult<bool>;

    /// Events, oldest first by `last_at`. Those of the controller itself bear the name [`CONTROLLER`].
    async fn events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>>;

    /// The ordered change feed: entries after `seq`, at most `limit`. None is ever skipped for readers that go on
    /// from the last seq they saw, whatever the order of commits.
    async fn changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>>;

    /// The highest seq of the feed that a reader may have seen (0 if none).
    async fn last_change(&self) -> StoreResult<i64>;

    // ---- for the controller -----------------------------------------------------------------------------------

    /// Claims up to `limit` due agents without a live lease: raises their epoch, sets owner and `lease_until`. A lease
    /// found expired but not given back raises `unclean_until`. Oldest due first, deletions before the rest.
    async fn claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>>;

    /// Prolongs leases whose epoch still is ours; returns the agents for which it is not, or whose lease was given back.
    async fn renew(&self, claims: &[Claim], lease: Duration) -> StoreResult<Vec<AgentId>>;

    /// Everything known about one agent, in one read transaction.
    async fn load(&self, id: AgentId) -> StoreResult<Option<Snapshot>>;

    /// Snapshots of every agent that is not archived, in id order, after `after`; for resync. Read-only.
    async fn load_page(&self, after: Option<AgentId>, limit: i64) -> StoreResult<Vec<Snapshot>>;

    /// Applies the mutations in order, in one transaction, if the claim's epoch is current; else `StaleEpoch` (`NotFound`
    /// if there is no such agent). A lease that has run out but was claimed by nobody since still may write.
    /// `latched` tells whether a `Latch` among them took effect.
    async fn commit(&self, claim: &Claim, mutations: &[Mutation]) -> StoreResult<Committed>;

    /// The last commit of a pass; frees the lease. `next_due_at` becomes now if the generation or
    /// `reconcile_requested_at` moved since the pass loaded them, if the hold that it worked under is no longer in force, or
    /// if the agent came to the Hub or left it since the claim ([`network::PresenceStore`]). Skips every write that would
    /// change nothing.
    async fn finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()>;

    /// Frees a lease without another word (shutdown before anything was done); the agent stays due.
    async fn release(&self, claim: &Claim) -> StoreResult<()>;

    /// Makes agents due now (resync found work). Those already due keep their time. Returns how many moved.
    async fn enqueue(&self, ids: &[AgentId]) -> StoreResult<u64>;

    /// How long until the next agent is due and not leased (a lease in force counts until its end); `None` if nobody is.
    async fn next_due_in(&self) -> StoreResult<Option<Duration>>;

    /// Returns when something may have become due (notification, or another process wrote), or after `max`.
    /// Only a hint: callers look for themselves. Never misses a change made after the previous call returned; each
    /// task of the runtime is told on its own, so that two that wait take nothing from each other.
    async fn wait(&self, max: Duration) -> StoreResult<()>;

    /// What cleanup left behind in archived rows (resource rows with `cleanup_result = failed`), by agent name.
    async fn leftovers(&self) -> StoreResult<Vec<Leftover>>;

    /// Corrects the cleanup result of an archived agent (the sweep has removed a leftover, missed it, or found it again);
    /// any result but `failed` sets `cleaned_at`. `NotFound` unless the agent is archived and has a record of this kind.
    async fn correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()>;

    /// Which of these agents have a row, and whether it is archived.
    async fn ownership(&self, ids: &[AgentId]) -> StoreResult<Vec<(AgentId, RowState)>>;

    /// Which of these bucket names stand in a row (`r2_bucket`, which is written before the bucket is made), live or
    /// archived.
    async fn owned_buckets(&self, buckets: &[String]) -> StoreResult<BTreeSet<String>>;

    /// Appends or folds an event that belongs to no pass. `agent = None`: of the controller itself.
    async fn record_event(&self, agent: Option<AgentId>, event: &NewEvent) -> StoreResult<()>;

    /// Prunes events, change-feed entries and, where there is one, the audit log (of which at least a week stays) beyond
    /// what is kept, and retired auth tokens, which are kept no longer than [`KEEP_RETIRED_TOKENS`]. The feed's last
    /// entry stays, so that `last_change` never goes back. Returns how many rows went.
    async fn prune(&self, keep: Duration) -> StoreResult<u64>;

    // ---- cards (embedded Registry) ------------------------------------------------------------------------------

    /// The card of an agent.
    async fn card(&self, id: AgentId) -> StoreResult<Option<AgentCard>>;

    /// `(agent, card hash)` of every card. The hash is `talon_core::card::AgentCard::hash`.
    async fn card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>>;

    // ---- the whole installation -----------------------------------------------------------------------------------

    /// The install's row, if the database has been initialised.
    async fn install(&self) -> StoreResult<Option<Install>>;

    /// Initialises the install row; an existing one stays and is returned.
    async fn init_install(&self, id: &InstallId, key_check: &str) -> StoreResult<Install>;

    /// Takes or prolongs a named lease for a singleton; `false` if somebody else holds it.
    async fn try_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<bool>;

    /// Gives it back.
    async fn release_lease(&self, name: &str, holder: &str) -> StoreResult<()>;

    /// Takes up to `want` calls from the account's shared window of `ceiling` calls per `window`, and none of the last
    /// `reserve`. Returns how many were granted and, if none, when to ask again. In no span of `window`, wherever it
    /// starts, more than `ceiling` are granted; without a reserve, a whole ceiling may be taken at once.
    async fn take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant>;

    /// Tells every replica that Cloudflare wants a pause; a longer one in force stays.
    async fn pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()>;

    /// The hold in force, if any.
    async fn hold(&self) -> StoreResult<Option<Hold>>;

    /// Puts a hold in force; one already in force stays as it is. Returns whether it is new.
    async fn set_hold(&self, kind: HoldKind, reason: &str) -> StoreResult<bool>;

    /// Ends the hold and remembers when (`last_release`). Every non-archived agent becomes due. Returns it.
    async fn release_hold(&self) -> StoreResult<Option<Hold>>;

    /// What the brake needs: deletions requested after the last release and within `window`, not archived; and when
    /// the last release was.
    async fn brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts>;
}
