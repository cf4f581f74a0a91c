//! The Agent Router, as far as a pass needs it.

use async_trait::async_trait;

use crate::card::AgentCard;
use crate::id::{AgentId, Epoch};

/// Why the Registry did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It will never take this card as it is.
    #[error("the registry refused the card: {0}")]
    Refused(String),
    /// Not reachable, or not able to, now.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    /// Somebody else has taken over this agent.
    #[error("the lease on this agent was lost")]
    StaleEpoch,
}

/// Registers and removes Agent Cards. All calls are idempotent.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Registers or replaces the card of an agent.
    async fn register(
        &self,
        agent: AgentId,
        epoch: Epoch,
        card: &AgentCard,
    ) -> Result<(), RegistryError>;
    /// Removes the card; `false` if there was none.
    async fn deregister(&self, agent: AgentId, epoch: Epoch) -> Result<bool, RegistryError>;
    /// The card as registered, if any.
    async fn lookup(&self, agent: AgentId) -> Result<Option<AgentCard>, RegistryError>;
    /// Hash of every registered card by agent, for resync. See [`AgentCard`]'s canonical hash.
    async fn list(&self) -> Result<Vec<(AgentId, String)>, RegistryError>;
}
