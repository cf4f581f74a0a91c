//! What Talon makes for an agent, and what it remembers of each thing it made.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::TryId;
use crate::status::UnknownWord;

macro_rules! snake_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(s: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|v| v.as_str() == s).ok_or(UnknownWord)
            }
        }
    };
}
pub(crate) use snake_words;

snake_words! {
    /// The kinds of things an agent consists of.
    ResourceKind {
        /// The Worker script.
        Worker = "worker",
        /// Its address on workers.dev.
        WorkerRoute = "worker_route",
        /// The objects in the bucket (counted for cleanup only).
        R2Objects = "r2_objects",
        /// The bucket.
        R2Bucket = "r2_bucket",
        /// The R2 API token.
        R2Token = "r2_token",
        /// The Agent Card in the Router.
        AgentCard = "agent_card",
    }
}

snake_words! {
    /// What is known of a thing, by our own doing. Knowledge has three values: between an effect's intent and its
    /// definite answer the state is `unknown`, and stays so when the answer is lost.
    ResourceState {
        /// Not there: never made, or definitely gone.
        Absent = "absent",
        /// A call may be in flight, or its answer was lost.
        Unknown = "unknown",
        /// There, by a definite answer.
        Present = "present",
        /// There, but its secret value reached no Worker (R2 token only).
        ValueUnplaced = "value_unplaced",
    }
}

snake_words! {
    /// How the cleanup of a thing ended.
    CleanupResult {
        /// Removed by us.
        Deleted = "deleted",
        /// Somebody else had removed it; counts as success.
        AlreadyAbsent = "already_absent",
        /// Left on purpose (`deletion_policy`).
        Kept = "kept",
        /// Not yet done; tried again.
        Failed = "failed",
    }
}

/// One row of `agent_resource`, unique by agent and kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    /// What it is.
    pub kind: ResourceKind,
    /// Its deterministic name at Cloudflare.
    pub name: String,
    /// The id Cloudflare gave it: script tag, token id.
    pub external_id: Option<String>,
    /// The last try whose outcome decides (Worker only): sent, or accepted as the live one.
    pub try_id: Option<TryId>,
    /// What is known.
    pub state: ResourceState,
    /// Hash of what we last asked for.
    pub desired_hash: Option<String>,
    /// The drift baseline of a Worker: how the lists showed it after our own last write; `None` until seen. Of a bucket:
    /// since when, on Cloudflare's own clock (RFC 3339), one of its name is ours, whatever the database's clock says.
    pub observed_hash: Option<String>,
    /// Version that our own last write made (Worker only).
    pub version_id: Option<String>,
    /// Failed tries since the last success.
    pub attempts: i64,
    /// The last failure; parsed, cut, redacted.
    pub last_error: Option<String>,
    /// When the first intent was written whose outcome is still open, or the intent of what is there now.
    pub intent_at: Option<DateTime<Utc>>,
    /// Until when a request already sent may still land.
    pub settle_until: Option<DateTime<Utc>>,
    /// When the last definite answer about it was recorded.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// How cleanup ended.
    pub cleanup_result: Option<CleanupResult>,
    /// Why cleanup failed.
    pub cleanup_error: Option<String>,
    /// When cleanup ended well.
    pub cleaned_at: Option<DateTime<Utc>>,
}
