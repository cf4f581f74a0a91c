//! A hold: effects are withheld on all agents until somebody has looked.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Why effects are withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// Too much vanished or is to be deleted at once.
    MassChange,
    /// The database is older than it was.
    RestoredDatabase,
    /// A person asked for it: nothing is done at all.
    Operator,
}

impl HoldKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MassChange => "mass_change",
            Self::RestoredDatabase => "restored_database",
            Self::Operator => "operator",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::MassChange, Self::RestoredDatabase, Self::Operator]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Why.
    pub kind: HoldKind,
    /// In words.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
}
