//! Every skill that can be found, in memory: its words and its vector. Looked through from end to end for each query, which
//! is faster below a hundred thousand skills than keeping any cleverer structure right.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use talon_core::AgentId;
use talon_core::card::AgentCard;
use talon_core::presence::HostedAgent;
use talon_core::search::{Asker, FoundAgent};
use talon_store::search::StoredCard;

use crate::skill::{self, Skill, cut};
use crate::{rank, text};

/// How often a word counts: in a skill's name or tags, in its description or examples, in what is said of its agent.
const IN_NAME: f32 = 2.0;
const IN_TEXT: f32 = 1.0;
const IN_AGENT: f32 = 0.5;
/// Longest descriptions in a result, in bytes, and most skills: fifty agents must fit into one frame of the Hub.
const AGENT_TEXT: usize = 1_000;
const SKILL_TEXT: usize = 300;
const MOST_SKILLS: usize = 20;

/// Whose card it is. Managed agents by their row, so that two that bore a name one after the other stay apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Managed(AgentId),
    Hosted(String),
}

/// One skill, as it is compared.
struct Doc {
    /// Hash of a word and how often it counts, in the order of the hashes.
    words: Vec<(u64, f32)>,
    length: f32,
    vector: Option<Vec<f32>>,
}

/// One agent with its skills.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) owner: String,
    public: bool,
    /// Tells whether the card has changed.
    pub(crate) hash: String,
    description: String,
    skills: Vec<Skill>,
    docs: Vec<Doc>,
}

impl Entry {
    /// A managed agent's.
    pub(crate) fn managed(stored: StoredCard) -> Self {
        let card = stored.card;
        Self::new(
            card.name.clone(),
            stored.owner,
            is_public(&card),
            stored.hash,
            card.description.clone(),
            skill::of_card(&card),
        )
    }

    /// A self-hosted agent's; one that never sent a card is known by its name.
    pub(crate) fn hosted(agent: HostedAgent) -> Self {
        let hash = hosted_hash(&agent);
        let card = agent.card.unwrap_or_default();
        let (description, skills) = skill::of_sent_card(&agent.name, &card);
        Self::new(
            agent.name,
            agent.owner,
            agent.public,
            hash,
            description,
            skills,
        )
    }

    fn new(
        name: String,
        owner: String,
        public: bool,
        hash: String,
        description: String,
        skills: Vec<Skill>,
    ) -> Self {
        let about = format!("{name} {description}");
        Self {
            docs: skills.iter().map(|skill| Doc::new(skill, &about)).collect(),
            name,
            owner,
            public,
            hash,
            description,
            skills,
        }
    }

    /// Whether this asker may find it, as far as the card tells.
    fn may_be_found_by(&self, asker: &Asker) -> bool {
        (self.public || self.owner == asker.owner) && asker.agent.as_deref() != Some(&self.name)
    }

    pub(crate) fn lacks_vectors(&self) -> bool {
        self.docs.iter().any(|doc| doc.vector.is_none())
    }

    pub(crate) fn skills(&self) -> &[Skill] {
        &self.skills
    }

    /// Takes vectors, if there is one for each skill.
    pub(crate) fn take_vectors(&mut self, vectors: Vec<Vec<f32>>) {
        if vectors.len() == self.docs.len() {
            for (doc, vector) in self.docs.iter_mut().zip(vectors) {
                doc.vector = Some(vector);
            }
        }
    }

    /// As a result names it; the skill that fits best stands among the skills whatever their number.
    pub(crate) fn found(&self, score: f64, best: usize) -> FoundAgent {
        let first = self.skills.get(best).into_iter();
        let others = self.skills.iter().enumerate().filter(|(at, _)| *at != best);
        let shown = first
            .chain(others.map(|(_, skill)| skill))
            .take(MOST_SKILLS);
        FoundAgent {
            name: self.name.clone(),
            description: cut(&self.description, AGENT_TEXT),
            score,
            best_skill_id: self.skills.get(best).map(|skill| skill.id.clone()),
            skills: shown.map(|skill| skill.found(SKILL_TEXT)).collect(),
        }
    }
}

/// Tells whether what a self-hosted agent sent has changed.
pub(crate) fn hosted_hash(agent: &HostedAgent) -> String {
    let card = agent.card.as_ref().map(ToString::to_string);
    let whole = format!(
        "{}\n{}\n{}",
        agent.owner,
        agent.public,
        card.unwrap_or_default()
    );
    hex::encode(Sha256::digest(whole))
}

fn is_public(card: &AgentCard) -> bool {
    card.metadata.get("visibility").and_then(|v| v.as_str()) == Some("public")
}

impl Doc {
    fn new(skill: &Skill, about: &str) -> Self {
        let mut counts: BTreeMap<u64, f32> = BTreeMap::new();
        let mut length = 0.0;
        let mut add = |text: &str, weight: f32| {
            for word in text::words(text) {
                *counts.entry(word_hash(&word)).or_default() += weight;
                length += weight;
            }
        };
        add(&skill.name, IN_NAME);
        skill.tags.iter().for_each(|tag| add(tag, IN_NAME));
        add(&skill.description, IN_TEXT);
        skill.examples.iter().for_each(|text| add(text, IN_TEXT));
        add(about, IN_AGENT);
        Self {
            words: counts.into_iter().collect(),
            length,
            vector: None,
        }
    }

    fn often(&self, word: u64) -> f32 {
        let at = self.words.binary_search_by_key(&word, |(hash, _)| *hash);
        at.map_or(0.0, |at| self.words[at].1)
    }
}

/// Words are kept as hashes, so that what strangers send does not fill the memory with words. Two words with one hash would
/// be taken for one: harmless, and never seen.
fn word_hash(word: &str) -> u64 {
    let digest = Sha256::digest(word);
    let (first, _) = digest.split_at(8);
    first
        .iter()
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// A query, read once.
pub(crate) struct Query {
    words: Vec<u64>,
    vector: Option<Vec<f32>>,
}

impl Query {
    pub(crate) fn new(query: &str, vector: Option<Vec<f32>>) -> Self {
        let mut words: Vec<_> = text::words(query).map(|word| word_hash(&word)).collect();
        words.sort_unstable();
        words.dedup();
        Self { words, vector }
    }
}

/// How an agent fits a query: by its best skill.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    pub(crate) subject: Subject,
    pub(crate) name: String,
    pub(crate) score: f32,
    pub(crate) best: usize,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Index {
    entries: BTreeMap<Subject, Entry>,
    /// In how many skills a word stands.
    known: HashMap<u64, usize>,
    docs: usize,
    length: f64,
}

impl Index {
    pub(crate) fn get(&self, subject: &Subject) -> Option<&Entry> {
        self.entries.get(subject)
    }

    pub(crate) fn get_mut(&mut self, subject: &Subject) -> Option<&mut Entry> {
        self.entries.get_mut(subject)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Subject, &Entry)> {
        self.entries.iter()
    }

    /// Puts an agent in, in place of what was known of it.
    pub(crate) fn put(&mut self, subject: Subject, entry: Entry) {
        self.remove(&subject);
        for doc in &entry.docs {
            self.docs += 1;
            self.length += f64::from(doc.length);
            for (word, _) in &doc.words {
                *self.known.entry(*word).or_default() += 1;
            }
        }
        self.entries.insert(subject, entry);
    }

    pub(crate) fn remove(&mut self, subject: &Subject) {
        let Some(entry) = self.entries.remove(subject) else {
            return;
        };
        for doc in &entry.docs {
            self.docs -= 1;
            self.length -= f64::from(doc.length);
            for (word, _) in &doc.words {
                if let Some(count) = self.known.get_mut(word) {
                    *count -= 1;
                    if *count == 0 {
                        self.known.remove(word);
                    }
                }
            }
        }
    }

    /// Agents that this asker may find and that fit at least so well, best first; equals by name.
    pub(crate) fn fits(&self, asker: &Asker, query: &Query, floor: f32) -> Vec<Fit> {
        let words: Vec<(u64, f32)> = query
            .words
            .iter()
            .map(|word| {
                let count = self.known.get(word).copied().unwrap_or(0);
                (*word, rank::rarity(count, self.docs))
            })
            .collect();
        let whole: f32 = words.iter().map(|(_, rarity)| rarity).sum();
        let average = (self.length / self.docs.max(1) as f64).max(1.0) as f32;
        let score = |doc: &Doc| {
            let relative = doc.length / average;
            let covered: f32 = words
                .iter()
                .map(|(word, rarity)| match doc.often(*word) {
                    often if often > 0.0 => rarity * rank::weight(often, relative),
                    _ => 0.0,
                })
                .sum();
            let share = if whole > 0.0 { covered / whole } else { 0.0 };
            let meaning = query.vector.as_ref().map(|query| {
                let vector = doc.vector.as_ref();
                vector.map_or(0.0, |vector| rank::cosine(query, vector))
            });
            rank::fused(share, meaning)
        };
        let mut fits = Vec::new();
        for (subject, entry) in &self.entries {
            if !entry.may_be_found_by(asker) {
                continue;
            }
            let scores = entry.docs.iter().map(score).enumerate();
            let Some((best, score)) = scores.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
            else {
                continue;
            };
            if score >= floor {
                fits.push(Fit {
                    subject: subject.clone(),
                    name: entry.name.clone(),
                    score,
                    best,
                });
            }
        }
        fits.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| a.name.cmp(&b.name))
        });
        fits
    }
}
