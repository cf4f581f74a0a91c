//! Desired state: what a person writes about an agent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::{Provider, SecretRef};

/// Everything a writer may say about an agent. Serialised as the manifest's `spec` (camelCase, strict).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// The name shown to people; the agent's name if absent. Router only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// One or more lines about the agent, shown in the card. Router only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A longer text for the agent's page. Router only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_description: Option<String>,
    /// Who the agent is. Part of IDENTITY.md; fixed once the agent was deployed.
    pub persona: String,
    /// What the agent must do. Part of IDENTITY.md; fixed once the agent was deployed.
    pub instructions: String,
    /// `provider/model`, for example `anthropic/claude-sonnet-4-6`.
    pub model: String,
    /// Whether the Worker holds its connection to the Hub while idle.
    #[serde(default)]
    pub keep_alive: bool,
    /// Who finds the agent.
    #[serde(default)]
    pub visibility: Visibility,
    /// Where the model providers' keys are read from. References, never values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_key_refs: BTreeMap<Provider, SecretRef>,
    /// Raise it to have every key read and pushed again.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub secrets_version: i64,
    /// What the agent can be asked for. None given: one default skill is derived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<Skill>,
    /// A USDC address on Base, `0x` and 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet_address: Option<String>,
    /// Colours of the agent's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<Theme>,
    /// `https` address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// `https` address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<String>,
    /// Where the bucket lives; fixed once the bucket exists.
    #[serde(default, skip_serializing_if = "R2Spec::is_default")]
    pub r2: R2Spec,
    /// Leave the agent exactly as it is, whatever the row says (deletion excepted).
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// What deletion does with the bucket.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    pub deletion_policy: DeletionPolicy,
    /// Refuse deletion until this is taken back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deletion_protected: bool,
}

fn one() -> i64 {
    1
}

fn is_one(v: &i64) -> bool {
    *v == 1
}

fn is_false(v: &bool) -> bool {
    !*v
}

/// Who finds the agent in search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its owner only.
    #[default]
    Private,
    /// Everybody.
    Public,
}

/// How a skill is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PricingModel {
    /// Nothing is charged.
    #[default]
    Free,
    /// `priceUsd` for each task.
    PerRequest,
}

/// One thing the agent can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skill {
    /// `^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`, unique within the agent.
    pub id: String,
    /// A short name.
    pub name: String,
    /// What it does; this is what search matches.
    pub description: String,
    /// How it is paid for.
    #[serde(default, alias = "pricing_model")]
    pub pricing_model: PricingModel,
    /// US dollars for each task, with `per_request`.
    #[serde(default, alias = "price_usd", skip_serializing_if = "Option::is_none")]
    pub price_usd: Option<f64>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What people might ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// Colours of the agent's page, `#RRGGBB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Theme {
    /// Default `#FF6B00`.
    #[serde(default = "Theme::default_primary", alias = "primary_color")]
    pub primary_color: String,
    /// Default `#FFFFFF`.
    #[serde(default = "Theme::default_background", alias = "background_color")]
    pub background_color: String,
}

impl Theme {
    fn default_primary() -> String {
        "#FF6B00".to_owned()
    }

    fn default_background() -> String {
        "#FFFFFF".to_owned()
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self {
            primary_color: Self::default_primary(),
            background_color: Self::default_background(),
        }
    }
}

/// Where the agent's bucket lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct R2Spec {
    /// A wish, not a promise, says Cloudflare.
    #[serde(
        default,
        alias = "location_hint",
        skip_serializing_if = "Option::is_none"
    )]
    pub location_hint: Option<LocationHint>,
    /// A guarantee of where the data stays.
    #[serde(default, skip_serializing_if = "Jurisdiction::is_default")]
    pub jurisdiction: Jurisdiction,
    /// What reading and storing costs.
    #[serde(
        default,
        alias = "storage_class",
        skip_serializing_if = "StorageClass::is_default"
    )]
    pub storage_class: StorageClass,
}

impl R2Spec {
    /// Whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Cloudflare's location hints for R2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LocationHint {
    /// Asia-Pacific.
    Apac,
    /// Eastern Europe.
    Eeur,
    /// Eastern North America.
    Enam,
    /// Western Europe.
    Weur,
    /// Western North America.
    Wnam,
    /// Oceania.
    Oc,
}

impl LocationHint {
    /// As Cloudflare takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apac => "apac",
            Self::Eeur => "eeur",
            Self::Enam => "enam",
            Self::Weur => "weur",
            Self::Wnam => "wnam",
            Self::Oc => "oc",
        }
    }
}

/// Cloudflare's jurisdictions for R2. A bucket is visible only to calls that name its own.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Jurisdiction {
    /// No guarantee.
    #[default]
    Default,
    /// European Union.
    Eu,
    /// FedRAMP.
    Fedramp,
}

impl Jurisdiction {
    /// As it stands in the `cf-r2-jurisdiction` header and in token resources.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Eu => "eu",
            Self::Fedramp => "fedramp",
        }
    }

    /// Whether this is the one without a guarantee.
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// R2 storage classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum StorageClass {
    /// The ordinary one.
    #[default]
    Standard,
    /// Cheaper to keep, dearer to read.
    InfrequentAccess,
}

impl StorageClass {
    /// As Cloudflare takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "InfrequentAccess",
        }
    }

    /// Whether this is the ordinary one.
    pub fn is_default(&self) -> bool {
        *self == Self::Standard
    }
}

/// What deletion does with the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletionPolicy {
    /// The bucket goes with all its contents.
    #[default]
    Delete,
    /// The bucket and its contents stay, and are named as left over.
    KeepBucket,
}

impl DeletionPolicy {
    /// Whether this is the ordinary one.
    pub fn is_default(&self) -> bool {
        *self == Self::Delete
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
