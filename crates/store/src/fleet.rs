//! What the HTTP API asks about many agents at once, and in whose name it writes. Apart from [`Store`](crate::Store), so that
//! the controller depends on none of it.

use async_trait::async_trait;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentName, AgentSpec, Owner, Snapshot};

use crate::{Applied, ApplyOptions, Hold, StoreError, StoreResult};

/// Which agents a page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageFilter {
    /// Only this status.
    pub status: Option<DeploymentStatus>,
    /// Only this owner.
    pub owner: Option<Owner>,
    /// Only those whose name or display name holds this text, whatever the case of its ASCII letters.
    pub text: Option<String>,
    /// Archived rows too.
    pub include_archived: bool,
}

/// Behind which agent a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlace {
    /// Its name.
    pub name: String,
    /// Its id: archived agents may share a name.
    pub id: AgentId,
}

/// In whose name a person's write is made, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub name: String,
    /// From where.
    pub source: String,
}

/// Which agent somebody decided about, since its name may be another's by the time of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The agent.
    pub id: AgentId,
    /// The generation that it must be at; `None`: any.
    pub generation: Option<i64>,
}

impl Decided {
    /// Checks the living agent that has the name now: `NotFound` if it is another, `Stale` if it has moved on.
    pub fn check(self, id: AgentId, actual: i64) -> StoreResult<()> {
        if self.id != id {
            return Err(StoreError::NotFound);
        }
        match self.generation.filter(|expected| *expected != actual) {
            Some(expected) => Err(StoreError::Stale { expected, actual }),
            None => Ok(()),
        }
    }
}

/// The fleet, as the HTTP API sees it.
#[async_trait]
pub trait FleetStore: Send + Sync + 'static {
    /// At most `limit` agents that fit, in the order of names (then ids), behind `after`.
    async fn page(
        &self,
        filter: &PageFilter,
        after: Option<&PagePlace>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>>;

    /// How many agents fit.
    async fn count(&self, filter: &PageFilter) -> StoreResult<i64>;

    /// The number from which on every entry of the change feed is kept (at most 1 if nothing was ever pruned): who has seen
    /// the one before it has missed nothing.
    async fn first_change(&self) -> StoreResult<i64>;

    /// [`Store::apply`](crate::Store::apply) in somebody's name.
    async fn apply_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied>;

    /// [`Store::request_deletion`](crate::Store::request_deletion) in somebody's name; with `decided`, only of that agent at
    /// that generation, which is looked at in the same transaction.
    async fn request_deletion_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
    ) -> StoreResult<()>;

    /// [`Store::set_suspend`](crate::Store::set_suspend) in somebody's name; `decided` as above.
    async fn set_suspend_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
    ) -> StoreResult<bool>;
    /// [`Store::request_reconcile`](crate::Store::request_reconcile) in somebody's name; `decided` as above. The audit log
    /// calls it `cleanup_retry` where the agent is being deleted.
    async fn request_reconcile_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
    ) -> StoreResult<()>;

    /// Puts a hold of [`HoldKind::Operator`](crate::HoldKind::Operator) in force in somebody's name; `false` if there is one.
    async fn set_hold_as(&self, actor: &Actor, reason: &str) -> StoreResult<bool>;

    /// [`Store::release_hold`](crate::Store::release_hold) in somebody's name.
    async fn release_hold_as(&self, actor: &Actor) -> StoreResult<Option<Hold>>;
}
