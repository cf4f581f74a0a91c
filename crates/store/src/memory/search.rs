//! Cards and the vectors of skills.

use async_trait::async_trait;
use talon_core::AgentId;
use talon_core::status::DeploymentStatus;

use super::MemoryStore;
use super::state::{Row, State};
use crate::StoreResult;
use crate::search::{SearchStore, SkillVectors, Standing, StoredCard, VectorModel, check_vectors};

impl Row {
    fn standing(&self) -> Standing {
        Standing {
            name: self.agent.name.to_string(),
            agent_id: Some(self.agent.id),
            owner: self.agent.owner.to_string(),
            public: self.agent.spec.visibility == talon_core::spec::Visibility::Public,
            deleting: self.agent.is_deleting(),
            deployed: self.agent.status.deployment_status == DeploymentStatus::Deployed,
            connected: self.presence.as_ref().is_some_and(|p| p.connected),
        }
    }
}

impl State {
    fn standing(&self, name: &str) -> Option<Standing> {
        if let Some(id) = self.live_id(name) {
            return self.rows.get(&id).map(Row::standing);
        }
        self.hosted.get(name).map(|(hosted, _)| Standing {
            name: hosted.name.clone(),
            agent_id: None,
            owner: hosted.owner.clone(),
            public: hosted.public,
            deleting: false,
            deployed: false,
            connected: hosted.connected,
        })
    }

    /// Rows that are not archived and have a card.
    fn carded(&self) -> impl Iterator<Item = (&Row, String)> {
        self.rows.values().filter_map(|row| {
            let card = row.card.as_ref().filter(|_| !row.agent.is_archived())?;
            Some((row, card.hash()))
        })
    }
}

#[async_trait]
impl SearchStore for MemoryStore {
    async fn cards_version(&self) -> StoreResult<String> {
        Ok(self.read(|s, _| s.cards_version.to_string()))
    }

    async fn live_cards(&self) -> StoreResult<Vec<(AgentId, String)>> {
        Ok(self.read(|s, _| s.carded().map(|(row, hash)| (row.agent.id, hash)).collect()))
    }

    async fn stored_cards(&self, ids: &[AgentId]) -> StoreResult<Vec<StoredCard>> {
        Ok(self.read(|s, _| {
            s.carded()
                .filter(|(row, _)| ids.contains(&row.agent.id))
                .filter_map(|(row, hash)| {
                    Some(StoredCard {
                        agent_id: row.agent.id,
                        owner: row.agent.owner.to_string(),
                        hash,
                        card: row.card.clone()?,
                    })
                })
                .collect()
        }))
    }

    async fn standings(&self, names: &[String]) -> StoreResult<Vec<Standing>> {
        let names: std::collections::BTreeSet<_> = names.iter().collect();
        Ok(self.read(|s, _| names.iter().filter_map(|name| s.standing(name)).collect()))
    }

    async fn skill_vectors(
        &self,
        model: &VectorModel,
        ids: &[AgentId],
    ) -> StoreResult<Vec<SkillVectors>> {
        Ok(self.read(|s, _| {
            s.carded()
                .filter(|(row, _)| ids.contains(&row.agent.id))
                .filter_map(|(row, hash)| {
                    let vectors = row.vectors.get(&model.id)?;
                    (vectors.card_hash == hash).then(|| vectors.clone())
                })
                .collect()
        }))
    }

    async fn put_skill_vectors(
        &self,
        model: &VectorModel,
        vectors: &SkillVectors,
    ) -> StoreResult<bool> {
        check_vectors(model, vectors)?;
        Ok(self.write(|s, _| {
            let row = s.rows.get_mut(&vectors.agent_id);
            let row = row.filter(|row| !row.agent.is_archived());
            let Some(row) = row.filter(|row| {
                let card = row.card.as_ref();
                card.is_some_and(|card| card.hash() == vectors.card_hash)
            }) else {
                return false;
            };
            row.vectors.insert(model.id.clone(), vectors.clone());
            true
        }))
    }

    async fn drop_other_vectors(&self, keep: &VectorModel) -> StoreResult<u64> {
        Ok(self.write(|s, _| {
            let mut gone = 0;
            for row in s.rows.values_mut() {
                row.vectors.retain(|model, vectors| {
                    let stays = *model == keep.id;
                    if !stays {
                        gone += vectors.skills.len() as u64;
                    }
                    stays
                });
            }
            gone
        }))
    }
}
