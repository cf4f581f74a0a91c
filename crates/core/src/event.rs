//! Events: what happened to an agent, for people to read.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::condition::words;
use crate::status::UnknownWord;
use std::fmt;
use std::str::FromStr;

words! {
    /// Whether somebody should look.
    Severity {
        /// Expected.
        Normal,
        /// Worth a look.
        Warning,
    }
}

words! {
    /// What happened.
    EventReason {
        /// A resource was made.
        Created,
        /// A resource was found already made, and taken over.
        Adopted,
        /// The Worker was uploaded.
        Uploaded,
        /// Secrets were pushed.
        SecretsPushed,
        /// The R2 token got a new value.
        TokenRolled,
        /// The card was registered.
        Registered,
        /// The agent is deployed.
        Deployed,
        /// Something was changed or removed behind our back and is put right.
        DriftDetected,
        /// An answer was lost.
        AnswerLost,
        /// An upload of an earlier try was found live.
        TryObserved,
        /// A step failed.
        StepFailed,
        /// A person is needed.
        Stalled,
        /// What stalled the agent is gone.
        Unstalled,
        /// Cloudflare or the budget asks to wait.
        Throttled,
        /// Deletion was requested.
        DeletionRequested,
        /// A resource was cleaned up.
        CleanedUp,
        /// A resource could not be cleaned up.
        CleanupFailed,
        /// Everything is cleaned up, the row is kept.
        Archived,
        /// Effects are withheld.
        Held,
        /// Effects go on.
        Released,
        /// Something with our mark that no row owns.
        OrphanFound,
        /// The database threw away something that was not a reference.
        SecretRefDiscarded,
        /// The controller hit a defect of its own.
        InternalError,
    }
}

/// An event to be written. Equal (severity, reason, object, message) of one agent fold into one row with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// Whether somebody should look.
    pub severity: Severity,
    /// What happened.
    pub reason: EventReason,
    /// What it happened to, `kind/name`.
    pub object: String,
    /// For people; escaped, without secrets.
    pub message: String,
}

/// An event as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Name of the agent.
    pub agent: String,
    /// The event.
    #[serde(flatten)]
    pub event: NewEvent,
    /// How often.
    pub count: i64,
    /// First time (database clock).
    pub first_at: DateTime<Utc>,
    /// Last time (database clock).
    pub last_at: DateTime<Utc>,
}
