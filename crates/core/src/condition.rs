//! Conditions: what can be said about an agent beside its status, each with one of a closed set of reasons.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::Generation;
use crate::status::UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
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
pub(crate) use words;

words! {
    /// What a condition speaks of.
    ConditionType {
        /// Deployed at this generation (not: connected).
        Ready,
        /// Work is under way or due.
        Reconciling,
        /// Nothing moves until a person acts.
        Stalled,
        /// Effects are withheld on purpose.
        Held,
        /// Cloudflare or the budget asks to wait.
        Throttled,
        /// The Worker is live with our code.
        WorkerReady,
        /// The bucket is there.
        StorageReady,
        /// The R2 token is there.
        TokenReady,
        /// The Worker has every secret it needs.
        SecretsReady,
        /// The Agent Card is registered.
        Registered,
        /// The Worker is connected to the Hub.
        HubConnected,
        /// Something was changed behind our back.
        Drifted,
    }
}

words! {
    /// Why a condition is as it is.
    Reason {
        /// Nothing to say.
        AsExpected,
        /// Live, registered, at this generation.
        Deployed,
        /// Not yet deployed.
        NotDeployed,
        /// An update has not arrived yet.
        OutOfDate,
        /// Nothing to do.
        Idle,
        /// Steps are being executed.
        InProgress,
        /// A step failed and will be tried again.
        BackingOff,
        /// An answer was lost; the next look decides.
        Unsettled,
        /// Waits for a list that is newer than the last effect.
        AwaitingObservation,
        /// The row asks to be left alone.
        Suspended,
        /// Deletion was requested.
        Deleting,
        /// Cleaned up, row kept.
        Deleted,
        /// Cleaned up as far as possible; something is left.
        LeftOver,
        /// Deployed, waiting for its key to arrive over HTTP, or the model's provider has no key.
        AwaitingKeys,
        /// No account has room.
        Unschedulable,
        /// Something that is not ours bears our name.
        NameConflict,
        /// The row cannot be deployed as written.
        InvalidSpec,
        /// A reference leads nowhere, or its value is empty.
        SecretValueMissing,
        /// The owner may not use this reference.
        SecretOutOfScope,
        /// The database threw away something that was not a reference.
        SecretRefDiscarded,
        /// Cloudflare refuses our token.
        CloudflareAuth,
        /// The account has no workers.dev subdomain.
        NoSubdomain,
        /// R2 is not enabled on the account.
        R2NotEnabled,
        /// An account limit is reached.
        QuotaReached,
        /// Cloudflare refused the request as invalid.
        CloudflareRejected,
        /// A request to Cloudflare failed for now.
        CloudflareError,
        /// The Registry refused or could not be reached.
        RegistryError,
        /// Too much vanished or is to be deleted at once.
        MassChange,
        /// The database is older than it was.
        RestoredDatabase,
        /// A person holds everything.
        HeldByOperator,
        /// The daemon only observes.
        ObserveOnly,
        /// 429, or the budget is spent.
        RateLimited,
        /// The controller hit a defect of its own in this agent's pass.
        InternalError,
        /// Created or found in place.
        Provisioned,
        /// Missing at Cloudflare.
        Missing,
        /// All secrets pushed and confirmed.
        Pushed,
        /// All secrets pushed, not yet confirmed by the Worker itself.
        PushedUnverified,
        /// The card was accepted.
        CardAccepted,
        /// Connected to the Hub and registered there.
        Registered,
        /// The connection to the Hub ended, though the agent is to stay connected.
        Disconnected,
        /// Not connected because nothing is to be done: a task wakes it.
        Asleep,
        /// Not known yet.
        NotObserved,
    }
}

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

impl Truth {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(b: bool) -> Self {
        if b { Self::True } else { Self::False }
    }
}

impl FromStr for Truth {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        [Self::True, Self::False, Self::Unknown]
            .into_iter()
            .find(|v| v.as_str() == s)
            .ok_or(UnknownWord)
    }
}

/// One condition as it is to be written. The store keeps `last_transition_at` and moves it only when `status` changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it speaks of.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: Truth,
    /// Why.
    pub reason: Reason,
    /// For people; escaped, without secrets.
    pub message: String,
    /// The generation it was observed at.
    pub observed_generation: Generation,
}

/// A condition as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCondition {
    /// The condition.
    pub condition: Condition,
    /// When `status` last changed (database clock).
    pub last_transition_at: DateTime<Utc>,
}
