//! A claim of one agent, due or not: for who acts on a person's word and not because something is due.

use std::time::Duration;

use async_trait::async_trait;
use talon_core::AgentId;

use crate::StoreResult;
use crate::types::Claim;

/// Claims by agent; part of every [`Store`](crate::Store).
#[async_trait]
pub trait ClaimStore: Send + Sync + 'static {
    /// Claims this agent as [`Store::claim_due`](crate::Store::claim_due) would, whether it is due or not: raises its epoch,
    /// sets owner and `lease_until`; a lease found expired but not given back raises `unclean_until`. When it is due stays
    /// as it is. `None` while somebody else has a lease; `NotFound` if there is no such agent or it is archived.
    async fn claim_agent(
        &self,
        id: AgentId,
        holder: &str,
        lease: Duration,
    ) -> StoreResult<Option<Claim>>;
}
