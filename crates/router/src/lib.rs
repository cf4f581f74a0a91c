//! The Agent Router. So far: the registry of Agent Cards, kept in Talon's own database.

use std::sync::Arc;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::mutation::Mutation;
use talon_core::registry::{Registry, RegistryError};
use talon_core::{AgentId, Epoch};
use talon_store::{Claim, Store, StoreError};

/// The registry that stores cards beside the rows; writes carry the epoch of the pass.
pub struct EmbeddedRegistry {
    store: Arc<dyn Store>,
}

impl EmbeddedRegistry {
    /// A registry in this database.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

fn error(e: StoreError) -> RegistryError {
    match e {
        StoreError::StaleEpoch => RegistryError::StaleEpoch,
        StoreError::Rejected { code, message } => {
            RegistryError::Refused(format!("{code} {message}"))
        }
        StoreError::NotFound
        | StoreError::Stale { .. }
        | StoreError::Unavailable(_)
        | StoreError::Corrupt(_) => RegistryError::Unavailable(e.to_string()),
    }
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn register(
        &self,
        agent_id: AgentId,
        epoch: Epoch,
        card: &AgentCard,
    ) -> Result<(), RegistryError> {
        let claim = Claim { agent_id, epoch };
        self.store
            .commit(&claim, &[Mutation::Card(Box::new(card.clone()))])
            .await
            .map(|_| ())
            .map_err(error)
    }

    async fn deregister(&self, agent_id: AgentId, epoch: Epoch) -> Result<bool, RegistryError> {
        let there = self.store.card(agent_id).await.map_err(error)?.is_some();
        if there {
            self.store
                .commit(&Claim { agent_id, epoch }, &[Mutation::CardGone])
                .await
                .map_err(error)?;
        }
        Ok(there)
    }

    async fn lookup(&self, agent_id: AgentId) -> Result<Option<AgentCard>, RegistryError> {
        self.store.card(agent_id).await.map_err(error)
    }

    async fn list(&self) -> Result<Vec<(AgentId, String)>, RegistryError> {
        self.store.card_hashes().await.map_err(error)
    }
}
