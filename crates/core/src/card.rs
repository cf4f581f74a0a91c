//! The Agent Card (A2A, older shape, with Society AI's extensions).

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::id::Generation;
use crate::name::{AgentName, Owner};
use crate::spec::{AgentSpec, PricingModel, Skill, Visibility};

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

/// Builds the card of an agent whose Worker authenticates with the token of this hash (SHA-256, lower-case hex).
///
/// Holds what the public may read (persona and instructions are never part of it) and the hash. An agent without
/// skills gets one, made of its name and description.
pub fn build(
    name: &AgentName,
    owner: &Owner,
    spec: &AgentSpec,
    generation: Generation,
    auth_token_sha256: &str,
) -> AgentCard {
    let display_name = spec
        .display_name
        .as_deref()
        .filter(|d| !d.trim().is_empty())
        .unwrap_or(name.as_str());
    let description = spec
        .description
        .as_deref()
        .filter(|d| !d.trim().is_empty())
        .unwrap_or(display_name);
    let mut skills: Vec<CardSkill> = spec.skills.iter().map(CardSkill::from).collect();
    if skills.is_empty() {
        skills.push(CardSkill {
            id: name.to_string(),
            name: display_name.to_owned(),
            description: description.to_owned(),
            pricing_model: pricing_word(PricingModel::Free).to_owned(),
            price_usd: None,
            tags: Vec::new(),
            examples: Vec::new(),
        });
    }
    AgentCard {
        name: name.to_string(),
        description: description.to_owned(),
        url: format!("ws-agent://{name}"),
        version: generation.to_string(),
        provider: CardProvider {
            organization: owner.to_string(),
            url: String::new(),
        },
        capabilities: CardCapabilities {
            streaming: true,
            push_notifications: false,
            state_transition_history: true,
        },
        default_input_modes: vec!["text".to_owned()],
        default_output_modes: vec!["text".to_owned()],
        skills,
        metadata: metadata(spec, display_name, description),
        authentication: Some(CardAuthentication {
            schemes: vec!["bearer".to_owned()],
            credentials: auth_token_sha256.to_owned(),
        }),
    }
}

fn metadata(spec: &AgentSpec, display_name: &str, description: &str) -> serde_json::Value {
    let mut display = json!({"name": display_name, "description": description});
    let optional = [
        ("display_description", &spec.display_description),
        ("avatar_url", &spec.avatar_url),
        ("cover_url", &spec.cover_url),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            display[key] = json!(value);
        }
    }
    let theme = spec.theme.clone().unwrap_or_default();
    let mut metadata = json!({
        "display": display,
        "theme": {
            "primary_color": theme.primary_color,
            "background_color": theme.background_color,
        },
        "visibility": match spec.visibility {
            Visibility::Private => "private",
            Visibility::Public => "public",
        },
    });
    if let Some(wallet) = &spec.wallet_address {
        metadata["wallet_address"] = json!(wallet);
    }
    metadata
}

fn pricing_word(model: PricingModel) -> &'static str {
    match model {
        PricingModel::Free => "free",
        PricingModel::PerRequest => "per_request",
    }
}

impl From<&Skill> for CardSkill {
    fn from(skill: &Skill) -> Self {
        Self {
            id: skill.id.clone(),
            name: skill.name.clone(),
            description: skill.description.clone(),
            pricing_model: pricing_word(skill.pricing_model).to_owned(),
            price_usd: match skill.pricing_model {
                PricingModel::Free => None,
                PricingModel::PerRequest => skill.price_usd,
            },
            tags: skill.tags.clone(),
            examples: skill.examples.clone(),
        }
    }
}

impl AgentCard {
    /// SHA-256 over the canonical JSON (serde's field order), hex; tells whether a registered card is the wanted one.
    /// `version` is left out, so that a generation bump without effect on the card registers nothing.
    pub fn hash(&self) -> String {
        let mut card = self.clone();
        card.version.clear();
        // Cannot happen: writing to memory does not fail, and every map in a card has texts as keys.
        let json =
            serde_json::to_vec(&card).unwrap_or_else(|_| unreachable!("a card is always JSON"));
        hex::encode(Sha256::digest(json))
    }

    /// The card as anybody may see it: without `authentication`.
    pub fn public_view(&self) -> Self {
        Self {
            authentication: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
#[path = "card_tests.rs"]
mod tests;
