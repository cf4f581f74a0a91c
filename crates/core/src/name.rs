//! Names of agents and of everything Talon makes at Cloudflare for them.
//!
//! Guarantees: every derived name is a pure function of the install and the agent, fits Cloudflare's limits
//! (Worker ≤ 54, bucket ≤ 63 characters) and survives a round trip through its text form.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{AgentId, InstallId, TryId};

/// Lower-case base32 (RFC 4648 alphabet) without padding.
pub fn base32_lower(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD
        .encode(bytes)
        .to_ascii_lowercase()
}

/// Names that nobody may give an agent, because the network or the controller uses them.
pub const RESERVED: &[&str] = &[
    "admin",
    "administrator",
    "agent",
    "agents",
    "api",
    "app",
    "auth",
    "dashboard",
    "docs",
    "health",
    "help",
    "hub",
    "internal",
    "login",
    "mail",
    "metrics",
    "openclaw",
    "root",
    "router",
    "security",
    "societyai",
    "static",
    "status",
    "support",
    "system",
    "talon",
    "test",
    "www",
];

/// Why a text is not an agent name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Shorter than 3 or longer than 30 characters.
    #[error("an agent name has 3 to 30 characters")]
    Length,
    /// Something other than lower-case letters, digits and single inner hyphens.
    #[error(
        "an agent name has lower-case letters, digits and single hyphens, and starts and ends with a letter or digit"
    )]
    Shape,
    /// One of [`RESERVED`].
    #[error("this agent name is reserved")]
    Reserved,
}

/// The name people give an agent: 3–30 characters, `^[a-z0-9][a-z0-9-]*[a-z0-9]$`, no `--`, not reserved; unique
/// among live agents. Source: Society AI's public documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AgentName(String);

impl AgentName {
    /// Checks and takes a name.
    pub fn parse(s: &str) -> Result<Self, NameError> {
        let bytes = s.as_bytes();
        if !(3..=30).contains(&bytes.len()) {
            return Err(NameError::Length);
        }
        let allowed = bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if !allowed || s.starts_with('-') || s.ends_with('-') || s.contains("--") {
            return Err(NameError::Shape);
        }
        if RESERVED.contains(&s) {
            return Err(NameError::Reserved);
        }
        Ok(Self(s.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        Self::parse(&s).map_err(serde::de::Error::custom)
    }
}

/// Who an agent belongs to; decides which secret references it may use. 1–64 characters of `[a-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(pub String);

impl Owner {
    /// Checks and takes an owner's name; `None` if it has not the shape of one.
    pub fn parse(s: &str) -> Option<Self> {
        let ok = (1..=64).contains(&s.len())
            && s.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            });
        ok.then(|| Self(s.to_owned()))
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `{agent-name}-{10 base32 chars of SHA-256(install ‖ agent id)}`.
pub fn worker_name(install: &InstallId, id: AgentId, name: &AgentName) -> String {
    let mut h = Sha256::new();
    h.update(install.as_str());
    h.update(id.to_string());
    format!("{name}-{}", &base32_lower(&h.finalize())[..10])
}

/// `openclaw-{6 chars of install}-{worker}`.
pub fn bucket_name(install: &InstallId, worker: &str) -> String {
    format!("openclaw-{}-{worker}", install.short())
}

/// `openclaw/{install}/{agent-id}`. Not unique at Cloudflare.
pub fn token_name(install: &InstallId, id: AgentId) -> String {
    format!("openclaw/{install}/{id}")
}

/// The agent a token name speaks of, if the token is of this install.
pub fn agent_of_token(install: &InstallId, token: &str) -> Option<AgentId> {
    token
        .strip_prefix("openclaw/")?
        .strip_prefix(install.as_str())?
        .strip_prefix('/')?
        .parse()
        .ok()
}

/// Whether a bucket name has the prefix that this install gives its buckets. A hint for reports, never ownership.
pub fn bucket_looks_ours(install: &InstallId, bucket: &str) -> bool {
    bucket
        .strip_prefix("openclaw-")
        .and_then(|r| r.strip_prefix(install.short()))
        .is_some_and(|r| r.starts_with('-'))
}

/// The tags that a Worker of ours carries (Cloudflare allows 8; `,` `&` `:` are not used).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerMarks {
    /// The install that made it.
    pub install: InstallId,
    /// The agent it belongs to.
    pub agent: AgentId,
    /// Hash of what the upload baked in.
    pub code: String,
    /// The upload attempt.
    pub try_id: TryId,
}

impl WorkerMarks {
    /// The tags as they are sent.
    pub fn to_tags(&self) -> Vec<String> {
        vec![
            "talon".to_owned(),
            format!("install-{}", self.install),
            format!("agent-{}", self.agent),
            format!("code-{}", self.code),
            format!("try-{}", self.try_id),
        ]
    }

    /// Reads our tags back; `None` unless all five are there and well formed.
    pub fn from_tags(tags: &[String]) -> Option<Self> {
        let field = |prefix: &str| tags.iter().find_map(|t| t.strip_prefix(prefix));
        tags.iter().any(|t| t == "talon").then_some(())?;
        Some(Self {
            install: InstallId::parse(field("install-")?)?,
            agent: field("agent-")?.parse().ok()?,
            code: field("code-")?.to_owned(),
            try_id: TryId::parse(field("try-")?)?,
        })
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
