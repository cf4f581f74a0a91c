//! Identifiers. Each is a newtype, so that one can never be passed where another is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The database's own id of one agent row; never reused, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub uuid::Uuid);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for AgentId {
    type Err = uuid::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// How often the desired state of a row has changed; starts at 1, moved by the database alone.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fencing number of a row lease. Every claim raises it; a write that carries an older one is refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// A random id made once per database, so that two installs in one Cloudflare account never claim each other's
/// resources. 16 characters of lower-case base32 (80 bits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstallId(String);

impl InstallId {
    /// Length of the text form.
    pub const LEN: usize = 16;

    /// Makes an id from ten random bytes.
    pub fn from_random(bytes: [u8; 10]) -> Self {
        Self(crate::name::base32_lower(&bytes))
    }

    /// Reads an id that was stored before; `None` if it has not the shape of one.
    pub fn parse(s: &str) -> Option<Self> {
        let ok = s.len() == Self::LEN
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        ok.then(|| Self(s.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first six characters, as they stand in bucket names.
    pub fn short(&self) -> &str {
        &self.0[..6]
    }
}

impl fmt::Display for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one attempt to put credentials on a Worker. A ULID in lower case; it stands in the intent row before the
/// call, in the Worker's tags and variables after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TryId(String);

impl TryId {
    /// Makes an id from a time (milliseconds since the epoch) and 80 random bits.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        Self(
            ulid::Ulid::from_parts(unix_ms, random)
                .to_string()
                .to_ascii_lowercase(),
        )
    }

    /// Takes an id that was stored or tagged before; `None` if it is not a ULID.
    pub fn parse(s: &str) -> Option<Self> {
        let ok = s.len() == 26
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        ok.then(|| Self(s.to_owned()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[path = "id_tests.rs"]
mod tests;
