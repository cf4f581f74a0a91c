//! Finding agents by what is needed: the trait between Hub and Router.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Who asks. Decides which private agents are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Hub name of the asking agent; `None`: a person.
    pub agent: Option<String>,
    /// Whose agent it is, or the person's own owner name.
    pub owner: String,
}

/// A skill of a found agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundSkill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
}

/// One item of a search result, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundAgent {
    /// Hub name.
    pub name: String,
    /// What the agent is.
    pub description: String,
    /// How well it fits, 0 to 1.
    pub score: f64,
    /// The skill that fits best.
    pub best_skill_id: Option<String>,
    /// Its skills.
    pub skills: Vec<FoundSkill>,
}

/// Why a search gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The query cannot be answered as it is.
    #[error("{0}")]
    Invalid(String),
    /// Cards are registered elsewhere, and searched for there.
    #[error("searches are answered by another Router")]
    NotHere,
    /// The database or the embedding model cannot be reached.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
}

/// Searches Agent Cards. Implemented by the Router. Agents that are being deleted are never found.
#[async_trait]
pub trait AgentSearch: Send + Sync {
    /// The best `limit` agents for a query, best first: public ones and those of the asker's owner, never the asker itself.
    async fn search(
        &self,
        asker: &Asker,
        query: &str,
        limit: usize,
    ) -> Result<Vec<FoundAgent>, SearchError>;

    /// Whether the asker may see, and so give tasks to, the agent of this name; `false` as well if there is none.
    async fn is_visible(&self, asker: &Asker, agent: &str) -> Result<bool, SearchError>;
}
