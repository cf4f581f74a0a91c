//! Keys that come over HTTP: handed through to the agent's Worker at once, kept nowhere. The trait between whoever
//! takes a key (HTTP API, command line) and the controller.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::id::AgentId;
use crate::secret::{Provider, SecretValue};

/// Name of a Worker secret that holds a provider's key: `ANTHROPIC_API_KEY`. No other secret can be set from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(Provider);

impl KeyName {
    /// Reads `ANTHROPIC_API_KEY`; `None` if it is not the name of a provider's key (it may then be the key itself: never
    /// repeat it).
    pub fn parse(text: &str) -> Option<Self> {
        let provider = text.strip_suffix("_API_KEY")?;
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !provider.bytes().all(upper) {
            return None;
        }
        Self::of(&Provider(provider.to_ascii_lowercase()))
    }

    /// The name of this provider's key; `None` if it is not a provider's name.
    pub fn of(provider: &Provider) -> Option<Self> {
        provider.is_well_formed().then(|| Self(provider.clone()))
    }

    /// Whose key it is.
    pub fn provider(&self) -> &Provider {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.secret_name())
    }
}

/// Why a key was not changed, or may not have been. No message holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretWriteError {
    /// No live agent has this id: it was never there, or has been deleted.
    #[error("there is no such agent (any more)")]
    NotFound,
    /// It can never be accepted as it stands: the value cannot be a key.
    #[error("{0}")]
    Invalid(String),
    /// The state of the agent forbids it (being deleted, suspended, held, supplied by a reference). Nothing was done.
    #[error("{0}")]
    Conflict(String),
    /// Somebody else works on the agent, or an earlier call may still land. Nothing was done; try again.
    #[error("{message}")]
    Busy {
        /// For people.
        message: String,
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// It failed, and the Worker has what it had before.
    #[error("{message}")]
    Failed {
        /// For people; parsed, cut, redacted.
        message: String,
        /// Whether trying again may help, and when.
        retry_after: Option<Duration>,
    },
    /// The answer was lost: the Worker may have the new value or the old one. Doing the same again is safe.
    #[error("{0}")]
    Unknown(String),
}

/// What is known of a value that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueStored {
    /// Definitely not on the Worker.
    No,
    /// Nobody can tell yet.
    Unknown,
}

impl SecretWriteError {
    /// What is known of the value.
    pub fn value_stored(&self) -> ValueStored {
        match self {
            Self::Unknown(_) => ValueStored::Unknown,
            Self::NotFound
            | Self::Invalid(_)
            | Self::Conflict(_)
            | Self::Busy { .. }
            | Self::Failed { .. } => ValueStored::No,
        }
    }

    /// When it makes sense to do the same again; `None` if something must change before.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unknown(_) => Some(Duration::from_secs(5)),
            Self::Busy { retry_after, .. } => Some(*retry_after),
            Self::Failed { retry_after, .. } => *retry_after,
            Self::NotFound | Self::Invalid(_) | Self::Conflict(_) => None,
        }
    }
}

/// A key that is on the Worker by Cloudflare's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its name.
    pub name: KeyName,
    /// Keyed hash of the value, hex.
    pub fingerprint: String,
}

/// Brings keys to Workers. The agent's row must be there before; nothing is queued: when a call returns, its outcome is
/// known, or is known not to be. A caller that goes away does not stop what was begun.
///
/// Agents are meant by id and never by name: between the look of whoever checked owner and role and the call, the name may
/// have become another owner's, and a key must not land there.
#[async_trait]
pub trait SecretWriter: Send + Sync {
    /// Sets these keys in one call to Cloudflare; a tiny Worker without an address is made first where there is none.
    async fn set_keys(
        &self,
        agent: AgentId,
        keys: Vec<(KeyName, SecretValue)>,
    ) -> Result<Vec<StoredKey>, SecretWriteError>;

    /// Takes a key away from Worker and records. `false` if the agent had none of this name.
    async fn unset_key(&self, agent: AgentId, key: &KeyName) -> Result<bool, SecretWriteError>;

    /// Gives the Worker a new auth token. The Hub accepts the old one until the new one is there.
    async fn rotate_auth(&self, agent: AgentId) -> Result<(), SecretWriteError>;
}

#[cfg(test)]
mod tests {
    use super::KeyName;

    #[test]
    fn only_names_of_providers_keys_are_names() {
        for good in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "A1_B_API_KEY"] {
            let name = KeyName::parse(good).expect(good);
            assert_eq!(name.to_string(), good);
        }
        for bad in [
            "",
            "_API_KEY",
            "API_KEY",
            "anthropic_API_KEY",
            "Anthropic_API_KEY",
            "1A_API_KEY",
            "ANTHROPIC_API_KEY ",
            "CONTROL_TOKEN",
            "SOCIETY_AI_AUTH_TOKEN",
            "SK_123_API_KEY",
            "AN-THROPIC_API_KEY",
        ] {
            assert!(KeyName::parse(bad).is_none(), "{bad}");
        }
    }
}
