//! What the Router keeps in the database: the vectors of skills; and what it reads there: cards, and how agents stand.
//! Apart from [`Store`](crate::Store), as the Hub's part is; every store implements it.

use async_trait::async_trait;
use talon_core::AgentId;
use talon_core::card::AgentCard;

use crate::{StoreError, StoreResult};

/// Which embedding model made a vector. Vectors of two models are never compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorModel {
    /// Name and version of the model.
    pub id: String,
    /// How long its vectors are.
    pub dimensions: usize,
}

/// A registered card.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCard {
    /// The agent.
    pub agent_id: AgentId,
    /// Whose it is, by its row.
    pub owner: String,
    /// The card's hash, as [`Store::card_hashes`](crate::Store::card_hashes) gives it.
    pub hash: String,
    /// The card.
    pub card: AgentCard,
}

/// The vectors of a card's skills, in the order of the card.
#[derive(Debug, Clone, PartialEq)]
pub struct SkillVectors {
    /// The agent.
    pub agent_id: AgentId,
    /// Hash of the card that they were made from.
    pub card_hash: String,
    /// Skill id and vector.
    pub skills: Vec<(String, Vec<f32>)>,
}

/// How an agent stands right now, as far as finding it and giving it a task goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its Hub name.
    pub name: String,
    /// Its row; `None`: a self-hosted one.
    pub agent_id: Option<AgentId>,
    /// Whose it is.
    pub owner: String,
    /// Whether others may see it, by its row: what a person just made private is private at once.
    pub public: bool,
    /// Whether its deletion was requested.
    pub deleting: bool,
    /// Whether it is live as last observed, so that it can be woken; never for a self-hosted one.
    pub deployed: bool,
    /// Whether its connection to the Hub is believed to be open.
    pub connected: bool,
}

/// Cards as the Router reads them, and the vectors of their skills.
#[async_trait]
pub trait SearchStore: Send + Sync + 'static {
    /// A word that is another one after any change to what [`SearchStore::live_cards`] and
    /// [`CredentialStore::hosted_agents`](crate::network::CredentialStore::hosted_agents) tell of cards, whoever wrote it;
    /// signs of life, comings and goings leave it alone. Cheap enough to be asked before every search.
    async fn cards_version(&self) -> StoreResult<String>;

    /// `(agent, card hash)` of the card of every agent that is not archived, in id order.
    async fn live_cards(&self) -> StoreResult<Vec<(AgentId, String)>>;

    /// The cards of these agents, in id order; without those that are archived or have none.
    async fn stored_cards(&self, ids: &[AgentId]) -> StoreResult<Vec<StoredCard>>;

    /// How the agents of these names stand, in name order; without those that do not exist. Of a name, the live managed agent.
    async fn standings(&self, names: &[String]) -> StoreResult<Vec<Standing>>;

    /// What [`SearchStore::standings`] tells, and the [`SearchStore::cards_version`] of that moment or later: what a search
    /// asks. A store that pays for each statement overrides it with a single one.
    async fn standings_and_version(
        &self,
        names: &[String],
    ) -> StoreResult<(Vec<Standing>, String)> {
        let standings = self.standings(names).await?;
        Ok((standings, self.cards_version().await?))
    }

    /// The vectors by this model of these agents' present cards, in id order; without those that have none, or only ones of
    /// an earlier card.
    async fn skill_vectors(
        &self,
        model: &VectorModel,
        ids: &[AgentId],
    ) -> StoreResult<Vec<SkillVectors>>;

    /// Stores the vectors of an agent's card in place of earlier ones by this model, if the agent is not archived and its card
    /// still is the one of that hash; returns whether. They go with the card. `Rejected` if a vector is not as long as the
    /// model's are.
    async fn put_skill_vectors(
        &self,
        model: &VectorModel,
        vectors: &SkillVectors,
    ) -> StoreResult<bool>;

    /// Removes the vectors of every other model. Returns how many went.
    async fn drop_other_vectors(&self, keep: &VectorModel) -> StoreResult<u64>;
}

/// Refuses vectors that are not the model's, or that hold what is no number.
pub fn check_vectors(model: &VectorModel, vectors: &SkillVectors) -> StoreResult<()> {
    let fits = |v: &Vec<f32>| v.len() == model.dimensions && v.iter().all(|x| x.is_finite());
    if vectors.skills.iter().all(|(_, v)| fits(v)) {
        Ok(())
    } else {
        Err(crate::codes::invalid(format!(
            "vector: {} numbers are what {} makes",
            model.dimensions, model.id
        )))
    }
}

/// A vector as it is stored: little-endian 32-bit floats.
pub fn vector_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Reads [`vector_bytes`] back.
pub fn vector_from_bytes(bytes: &[u8], dimensions: usize) -> StoreResult<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if numbers.len() != dimensions || !rest.is_empty() {
        return Err(StoreError::Corrupt(
            "column vector holds something this program cannot read".to_owned(),
        ));
    }
    Ok(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Gathers `(agent, card hash, skill id, vector)`, ordered by agent, into one entry for each agent.
pub fn gather_vectors(
    rows: impl IntoIterator<Item = (AgentId, String, String, Vec<f32>)>,
) -> Vec<SkillVectors> {
    let mut gathered: Vec<SkillVectors> = Vec::new();
    for (agent_id, card_hash, skill, vector) in rows {
        match gathered.last_mut() {
            Some(last) if last.agent_id == agent_id => last.skills.push((skill, vector)),
            _ => gathered.push(SkillVectors {
                agent_id,
                card_hash,
                skills: vec![(skill, vector)],
            }),
        }
    }
    gathered
}
