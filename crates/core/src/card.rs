//! The Agent Card (A2A, older shape, with Society AI's extensions).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the Agent Router knows of an agent. `authentication` never leaves in a public view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCard {
    /// The agent's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// `ws-agent://{name}`.
    pub url: String,
    /// Version of the card's content: the generation it was made from.
    pub version: String,
    /// Who provides it.
    pub provider: CardProvider,
    /// What the transport can do.
    pub capabilities: CardCapabilities,
    /// `["text"]`.
    pub default_input_modes: Vec<String>,
    /// `["text"]`.
    pub default_output_modes: Vec<String>,
    /// At least one.
    pub skills: Vec<CardSkill>,
    /// Display, theme, wallet, visibility.
    pub metadata: serde_json::Value,
    /// How the Hub knows the Worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<CardAuthentication>,
}

/// Who provides the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardProvider {
    /// The owner.
    pub organization: String,
    /// Their page.
    pub url: String,
}

/// What the transport can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardCapabilities {
    /// Answers arrive in pieces.
    pub streaming: bool,
    /// Not offered.
    pub push_notifications: bool,
    /// States of a task are kept.
    pub state_transition_history: bool,
}

/// One skill in the card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardSkill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// `free` or `per_request`.
    pub pricing_model: String,
    /// US dollars for each task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<f64>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What people might ask.
    pub examples: Vec<String>,
}

/// How the Hub knows the Worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardAuthentication {
    /// `["bearer"]`.
    pub schemes: Vec<String>,
    /// SHA-256 of the auth token, hex.
    pub credentials: String,
}

impl AgentCard {
    /// SHA-256 over the canonical JSON (serde's field order), hex; tells whether a registered card is the wanted one.
    /// `version` is left out, so that a generation bump without effect on the card registers nothing.
    pub fn hash(&self) -> String {
        let mut card = self.clone();
        card.version.clear();
        let json =
            serde_json::to_vec(&card).unwrap_or_else(|_| unreachable!("a card is always JSON"));
        hex::encode(Sha256::digest(json))
    }
}
