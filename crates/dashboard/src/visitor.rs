//! Who is in front of the browser.

use std::fmt;

use async_trait::async_trait;
use talon_core::Owner;
use talon_store::StoreResult;

/// What somebody may do. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Creates, changes and deletes agents.
    Operator,
    /// Sets the keys of agents.
    SecretWriter,
    /// Holds everything, and releases it.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::SecretWriter => "secret-writer",
            Self::Admin => "admin",
        })
    }
}

/// Somebody whose token is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Who it is, for the audit log and for the page.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whose agents they see and change; `None`: everybody's.
    pub owner: Option<Owner>,
}

impl Visitor {
    /// Whether agents of this owner exist for them.
    pub fn sees(&self, owner: &Owner) -> bool {
        self.owner.as_ref().is_none_or(|own| own == owner)
    }
}

/// Knows which tokens are accepted.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Whose token has this SHA-256 (lower-case hex), if it is accepted now. Asked on every request, so that a revoked token
    /// ends its sessions.
    async fn admit(&self, sha256: &str) -> StoreResult<Option<Visitor>>;
}
