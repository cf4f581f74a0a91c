//! The five published deployment statuses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where an agent is in its life. Source: Society AI's public documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentStatus {
    /// Created, deployment not begun.
    Pending,
    /// The first effect was issued, or something lost is being rebuilt.
    Deploying,
    /// Live and registered.
    Deployed,
    /// See the row's `deployment_error`.
    Failed,
    /// Cleanup is under way, or the row is kept for billing only.
    Deleting,
}

impl DeploymentStatus {
    /// All of them, in the order of life.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Deploying,
        Self::Deployed,
        Self::Failed,
        Self::Deleting,
    ];

    /// As it stands in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deploying => "deploying",
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeploymentStatus {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == s)
            .ok_or(UnknownWord)
    }
}

/// A stored word that is none of the words its column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the known words")]
pub struct UnknownWord;

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
