//! The registry in Talon's own database.

use std::sync::Arc;

use async_trait::async_trait;
use talon_core::card::AgentCard;
use talon_core::mutation::Mutation;
use talon_core::registry::{Registry, RegistryError};
use talon_core::{AgentId, Epoch};
use talon_store::search::{SearchStore, SkillVectors};
use talon_store::{Claim, Store, StoreError};

use crate::embed::Embedder;
use crate::skill;

/// The registry that stores cards beside the rows; writes carry the epoch of the pass.
pub struct EmbeddedRegistry {
    store: Arc<dyn Store>,
    vectors: Option<(Arc<dyn SearchStore>, Arc<dyn Embedder>)>,
}

impl EmbeddedRegistry {
    /// A registry in this database.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            vectors: None,
        }
    }

    /// Stores the vectors of a card's skills with the card. Without it, or when the model cannot be reached, the Router makes
    /// them at its next look: a registration does not fail for want of them.
    pub fn with_vectors(
        mut self,
        store: Arc<dyn SearchStore>,
        embedder: Arc<dyn Embedder>,
    ) -> Self {
        self.vectors = Some((store, embedder));
        self
    }

    async fn store_vectors(&self, agent_id: AgentId, card: &AgentCard) {
        let Some((store, embedder)) = &self.vectors else {
            return;
        };
        let (ids, texts): (Vec<_>, Vec<_>) = skill::of_card(card)
            .into_iter()
            .map(|skill| (skill.id.clone(), skill.text_to_embed()))
            .unzip();
        let stored = match embedder.embed(&texts).await {
            Ok(vectors) => {
                let vectors = SkillVectors {
                    agent_id,
                    card_hash: card.hash(),
                    skills: ids.into_iter().zip(vectors).collect(),
                };
                let stored = store.put_skill_vectors(embedder.model(), &vectors).await;
                stored.map(|_| ()).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        if let Err(why) = stored {
            tracing::warn!(agent = card.name, why, "skills have no vectors yet");
        }
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
            .map_err(error)?;
        self.store_vectors(agent_id, card).await;
        Ok(())
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
