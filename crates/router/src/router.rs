//! [`Router`]: finds agents.
//!
//! Guarantees: a card that any process has registered is found by the next search, one that was deregistered is not; an
//! agent whose deletion was requested, that is archived, or that was just made private is left out at once, because what is
//! found is looked up in the database once more before it is told. The same look tells whether cards have changed, and only
//! then the search begins again: as a rule a search is one statement. If the embedding model cannot be reached, the search
//! goes by full text.
//!
//! **Order.** By how well the best skill fits (the crate's `rank`), where an agent that cannot answer now (a self-hosted one
//! that is not connected, a managed one that is neither connected nor deployed) counts four fifths: a better expert that is
//! away comes before a mediocre one that is there, but not before one that is nearly as good. A deployed agent that sleeps
//! counts whole, because it is woken for its task. Of equals the connected ones come first.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::search::{AgentSearch, Asker, FoundAgent, SearchError};
use talon_store::search::{SkillVectors, Standing};
use talon_store::{StoreError, StoreResult, WholeStore};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::embed::{EmbedError, Embedder};
use crate::index::{Entry, Fit, Index, Query, Subject, hosted_hash};

/// Longest query, in bytes.
pub const MAX_QUERY: usize = 2_000;
/// Most agents that one search finds.
pub const MAX_FOUND: usize = 50;

/// What counts as fitting at all. With vectors: of texts that have nothing to do with each other three in four pairs are below
/// it, of those that mean the same one in twenty. So it only shortens the list of what is found; who takes the best one
/// unseen asks for more.
const FLOOR: f32 = 0.1;
/// The same where only words are compared.
const WORDS_FLOOR: f32 = 0.02;
/// What an agent counts that cannot answer now.
const AWAY: f64 = 0.8;
/// How many more than are asked for are looked up at once, for those that do not stand.
const SPARE: usize = 8;
/// How many agents' skills are handed to the model at once.
const BATCH: usize = 64;
/// How long a search waits for vectors before it goes on without those that are missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the model is left alone after it could not be reached.
const PAUSE: Duration = Duration::from_secs(30);

/// Finds agents by what is needed. Cheap to share: one for each process.
pub struct Router {
    store: Arc<dyn WholeStore>,
    embedder: Option<Arc<dyn Embedder>>,
    index: RwLock<Index>,
    /// The version of the cards that the index was made from.
    version: Mutex<Option<String>>,
    /// Held by whoever makes missing vectors; when the model may be asked again.
    vectors: Mutex<Option<Instant>>,
}

impl Router {
    /// A Router on this database. Without an embedder it searches by full text alone.
    pub fn new(store: Arc<dyn WholeStore>, embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self {
            store,
            embedder,
            index: RwLock::default(),
            version: Mutex::default(),
            vectors: Mutex::default(),
        }
    }

    /// Reads all cards, makes and stores every vector that is missing (all of them after a change of the model), then removes
    /// what other models left. To be run once, in the background, when a process starts; searches do not wait for it.
    pub async fn prepare(&self) -> Result<(), SearchError> {
        self.refresh().await.map_err(unavailable)?;
        if let Some(embedder) = &self.embedder {
            self.fill_vectors(embedder)
                .await
                .map_err(|e| SearchError::Unavailable(e.to_string()))?;
            let dropped = self.store.drop_other_vectors(embedder.model()).await;
            let dropped = dropped.map_err(unavailable)?;
            if dropped > 0 {
                tracing::info!(
                    dropped,
                    model = embedder.model().id,
                    "vectors of other models are gone"
                );
            }
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn standing(&self, agent: &str) -> Result<Option<Standing>, SearchError> {
        let standings = self.store.standings(&[agent.to_owned()]).await;
        Ok(standings.map_err(unavailable)?.pop())
    }

    /// Brings the index up to what is registered now.
    async fn refresh(&self) -> StoreResult<()> {
        let mut known = self.version.lock().await;
        let version = self.store.cards_version().await?;
        if known.as_ref() == Some(&version) {
            return Ok(());
        }
        let cards = self.store.live_cards().await?;
        let changed: Vec<_> = {
            let index = self.read();
            let is_new = |id, hash: &String| {
                let entry = index.get(&Subject::Managed(id));
                entry.is_none_or(|entry| entry.hash != *hash)
            };
            cards
                .iter()
                .filter(|(id, hash)| is_new(*id, hash))
                .map(|(id, _)| *id)
                .collect()
        };
        let mut stored = Vec::new();
        for ids in changed.chunks(BATCH) {
            stored.extend(self.store.stored_cards(ids).await?);
        }
        let mut vectors = Vec::new();
        if let Some(embedder) = &self.embedder {
            for ids in changed.chunks(BATCH) {
                vectors.extend(self.store.skill_vectors(embedder.model(), ids).await?);
            }
        }
        let hosted = self.store.hosted_agents().await?;

        let mut index = self.write();
        let there: BTreeSet<_> = cards
            .iter()
            .map(|(id, _)| Subject::Managed(*id))
            .chain(
                hosted
                    .iter()
                    .map(|agent| Subject::Hosted(agent.name.clone())),
            )
            .collect();
        let gone: Vec<_> = index.iter().map(|(subject, _)| subject.clone()).collect();
        for subject in gone.iter().filter(|subject| !there.contains(subject)) {
            index.remove(subject);
        }
        for card in stored {
            index.put(Subject::Managed(card.agent_id), Entry::managed(card));
        }
        for agent in hosted {
            let subject = Subject::Hosted(agent.name.clone());
            if index
                .get(&subject)
                .is_none_or(|entry| entry.hash != hosted_hash(&agent))
            {
                index.put(subject, Entry::hosted(agent));
            }
        }
        for one in vectors {
            let subject = Subject::Managed(one.agent_id);
            if let Some(entry) = index
                .get_mut(&subject)
                .filter(|entry| entry.hash == one.card_hash)
            {
                entry.take_vectors(one.skills.into_iter().map(|(_, vector)| vector).collect());
            }
        }
        drop(index);
        *known = Some(version);
        Ok(())
    }

    /// Makes the vectors that are missing, in batches, and stores those of managed agents.
    async fn fill_vectors(&self, embedder: &Arc<dyn Embedder>) -> Result<(), EmbedError> {
        let mut not_before = self.vectors.lock().await;
        if not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let missing: Vec<(Subject, String)> = {
            let index = self.read();
            let lacking = index.iter().filter(|(_, entry)| entry.lacks_vectors());
            lacking
                .map(|(subject, entry)| (subject.clone(), entry.hash.clone()))
                .collect()
        };
        for batch in missing.chunks(BATCH) {
            if let Err(e) = self.fill_batch(embedder, batch).await {
                *not_before = Some(Instant::now() + PAUSE);
                return Err(e);
            }
        }
        *not_before = None;
        Ok(())
    }

    async fn fill_batch(
        &self,
        embedder: &Arc<dyn Embedder>,
        batch: &[(Subject, String)],
    ) -> Result<(), EmbedError> {
        let mut texts = Vec::new();
        let mut skills = Vec::new();
        {
            let index = self.read();
            for (subject, hash) in batch {
                let entry = index.get(subject).filter(|entry| entry.hash == *hash);
                let of_entry = entry.map(Entry::skills).unwrap_or_default();
                texts.extend(of_entry.iter().map(|skill| skill.text_to_embed()));
                skills.push(
                    of_entry
                        .iter()
                        .map(|skill| skill.id.clone())
                        .collect::<Vec<_>>(),
                );
            }
        }
        let mut made = embedder.embed(&texts).await?.into_iter();
        for ((subject, hash), ids) in batch.iter().zip(skills) {
            let vectors: Vec<_> = made.by_ref().take(ids.len()).collect();
            if let Subject::Managed(agent_id) = subject {
                let vectors = SkillVectors {
                    agent_id: *agent_id,
                    card_hash: hash.clone(),
                    skills: ids.into_iter().zip(vectors.iter().cloned()).collect(),
                };
                // They are made again if they could not be stored.
                if let Err(e) = self
                    .store
                    .put_skill_vectors(embedder.model(), &vectors)
                    .await
                {
                    tracing::warn!(error = %e, "vectors could not be stored");
                }
            }
            let mut index = self.write();
            if let Some(entry) = index.get_mut(subject).filter(|entry| entry.hash == *hash) {
                entry.take_vectors(vectors);
            }
        }
        Ok(())
    }

    /// The query's vector, and every skill's, if the model can be reached.
    async fn vector(&self, query: &str) -> Option<Vec<f32>> {
        let embedder = self.embedder.as_ref()?;
        let made = async {
            self.fill_vectors(embedder).await?;
            embedder.embed(&[query.to_owned()]).await
        };
        match tokio::time::timeout(PATIENCE, made).await {
            Ok(Ok(mut vectors)) => vectors.pop(),
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "searching by full text alone");
                None
            }
            Err(_) => {
                tracing::warn!("the embedding model is slow; searching by full text alone");
                None
            }
        }
    }

    /// The best ones by the index as it is, and the version of the cards at the last look into the database: if it is the one
    /// that the index was made from, nothing was missed.
    async fn find(
        &self,
        asker: &Asker,
        query: &str,
        limit: usize,
    ) -> StoreResult<(Vec<FoundAgent>, String)> {
        let vector = self.vector(query).await;
        let floor = if vector.is_some() { FLOOR } else { WORDS_FLOOR };
        let fits = self.read().fits(asker, &Query::new(query, vector), floor);
        let mut found: Vec<(FoundAgent, bool)> = Vec::new();
        let mut rest = fits.as_slice();
        // Until nobody who was not looked up could come before the last one that is asked for.
        loop {
            let (chunk, later) = rest.split_at(rest.len().min(limit + SPARE));
            rest = later;
            let (standing, version) = self.stand(asker, chunk).await?;
            found.extend(standing);
            found.sort_by(|(a, a_connected), (b, b_connected)| {
                let by_score = b.score.total_cmp(&a.score);
                let by_presence = || b_connected.cmp(a_connected);
                by_score
                    .then_with(by_presence)
                    .then_with(|| a.name.cmp(&b.name))
            });
            let last = found.get(limit - 1).map(|(last, _)| last.score);
            let whole = |next: &Fit| last.is_some_and(|last| last >= f64::from(next.score));
            if rest.first().is_none_or(whole) {
                found.truncate(limit);
                return Ok((found.into_iter().map(|(agent, _)| agent).collect(), version));
            }
        }
    }

    /// Those of a chunk that may be told to the asker right now, and the version of the cards.
    async fn stand(
        &self,
        asker: &Asker,
        chunk: &[Fit],
    ) -> StoreResult<(Vec<(FoundAgent, bool)>, String)> {
        let names: Vec<_> = chunk.iter().map(|fit| fit.name.clone()).collect();
        let (standings, version) = self.store.standings_and_version(&names).await?;
        let standings: HashMap<_, _> = standings.iter().map(|s| (s.name.as_str(), s)).collect();
        let index = self.read();
        let mut found = Vec::new();
        for fit in chunk {
            let Some(standing) = standings.get(fit.name.as_str()) else {
                continue;
            };
            let same = match (&fit.subject, standing.agent_id) {
                (Subject::Managed(id), Some(now)) => *id == now,
                (Subject::Hosted(_), None) => true,
                _ => false,
            };
            if !same || standing.deleting || !may_see(asker, standing) {
                continue;
            }
            let there = standing.connected || standing.deployed;
            let score = f64::from(fit.score) * if there { 1.0 } else { AWAY };
            if let Some(entry) = index.get(&fit.subject) {
                found.push((entry.found(score, fit.best), standing.connected));
            }
        }
        Ok((found, version))
    }
}

fn may_see(asker: &Asker, standing: &Standing) -> bool {
    standing.public || standing.owner == asker.owner
}

fn unavailable(e: StoreError) -> SearchError {
    SearchError::Unavailable(e.to_string())
}

#[async_trait]
impl AgentSearch for Router {
    async fn search(
        &self,
        asker: &Asker,
        query: &str,
        limit: usize,
    ) -> Result<Vec<FoundAgent>, SearchError> {
        check(query)?;
        let limit = limit.min(MAX_FOUND);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let known = self.version.lock().await.clone();
        if known.is_some() {
            let (found, now) = self.find(asker, query, limit).await.map_err(unavailable)?;
            if known == Some(now) {
                return Ok(found);
            }
        }
        self.refresh().await.map_err(unavailable)?;
        let (found, _) = self.find(asker, query, limit).await.map_err(unavailable)?;
        Ok(found)
    }

    async fn is_visible(&self, asker: &Asker, agent: &str) -> Result<bool, SearchError> {
        let standing = self.standing(agent).await?;
        Ok(standing.is_some_and(|standing| may_see(asker, &standing)))
    }
}

/// A Router for a process whose cards are registered with one elsewhere: it knows by the database whom an asker may see, so
/// that tasks can be given by name, and leaves searches to the other.
pub struct NamesOnly(pub Arc<Router>);

#[async_trait]
impl AgentSearch for NamesOnly {
    async fn search(&self, _: &Asker, _: &str, _: usize) -> Result<Vec<FoundAgent>, SearchError> {
        Err(SearchError::NotHere)
    }

    async fn is_visible(&self, asker: &Asker, agent: &str) -> Result<bool, SearchError> {
        self.0.is_visible(asker, agent).await
    }
}

fn check(query: &str) -> Result<(), SearchError> {
    if query.trim().is_empty() {
        return Err(SearchError::Invalid(
            "the query is empty: say in a sentence what you need done".to_owned(),
        ));
    }
    if query.len() > MAX_QUERY {
        return Err(SearchError::Invalid(format!(
            "the query is longer than {MAX_QUERY} bytes: say in a sentence or two what you need done"
        )));
    }
    Ok(())
}
