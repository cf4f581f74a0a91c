//! What a pass may write to the database: a small vocabulary, applied in one transaction that carries the lease's
//! epoch. Times are never sent: the database stamps them, from the durations given here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::card::AgentCard;
use crate::condition::Condition;
use crate::contact::ContactWrite;
use crate::event::NewEvent;
use crate::id::{Generation, TryId};
use crate::resource::{CleanupResult, ResourceKind, ResourceState};
use crate::snapshot::{AuthTokenState, SecretSource, SecretState};
use crate::status::DeploymentStatus;

/// One write of a pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Mutation {
    /// Writes the record of a kind (insert or replace; columns not named keep their value).
    Resource(ResourceWrite),
    /// Writes the record of a Worker secret.
    Secret(SecretWrite),
    /// Removes the record of a Worker secret.
    SecretGone {
        /// Name on the Worker.
        name: String,
    },
    /// Adds an auth token as a candidate; nothing if the try is there already.
    AuthTokenCandidate {
        /// The try that sends it.
        try_id: TryId,
        /// SHA-256 of the token, hex.
        sha256: String,
    },
    /// Sets what the token of a try is worth. `Current` makes every other `Current` one `Retired` and copies its hash
    /// to `agent_source.auth_token_hash`.
    AuthTokenState {
        /// The try that sent it.
        try_id: TryId,
        /// What it is worth now.
        state: AuthTokenState,
    },
    /// Persists the names, before the first call.
    Names {
        /// Worker script.
        worker: String,
        /// R2 bucket.
        bucket: String,
        /// Account it is placed in.
        account: String,
    },
    /// Stores IDENTITY.md. Refused by the database once `first_deployed_at` is set.
    Identity {
        /// The compiled text.
        markdown: String,
        /// Its SHA-256, hex.
        sha256: String,
    },
    /// Sets `first_deployed_at` if it is not set and the generation still is this one; otherwise nothing.
    Latch {
        /// The generation that was deployed.
        generation: Generation,
    },
    /// Writes status columns; only those that are `Some` change, and nothing is written if none differs.
    Status(StatusWrite),
    /// Writes what came of speaking to the Worker.
    Contact(ContactWrite),
    /// Writes a condition, if it differs.
    Condition(Condition),
    /// Appends or folds an event.
    Event(NewEvent),
    /// Stores the card (embedded Registry).
    Card(Box<AgentCard>),
    /// Removes the card (embedded Registry).
    CardGone,
    /// Archives the row: sets `deleted_at`. The name is free again.
    Archive,
}

/// New content of one `agent_resource` row. `None` leaves a column as it is; the inner `None` of a double option
/// clears it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceWrite {
    /// Which row.
    pub kind: ResourceKind,
    /// Its name at Cloudflare.
    pub name: String,
    /// What is known.
    pub state: ResourceState,
    /// The id Cloudflare gave it.
    pub external_id: Option<Option<String>>,
    /// The try that decides.
    pub try_id: Option<TryId>,
    /// Hash of what was asked for.
    pub desired_hash: Option<String>,
    /// The drift baseline.
    pub observed_hash: Option<Option<String>>,
    /// Version made by our own last write.
    pub version_id: Option<Option<String>>,
    /// `attempts` and `last_error`.
    pub outcome: Option<Outcome>,
    /// `intent_at` and `settle_until`.
    pub intent: Option<Intent>,
    /// Whether this is a definite answer: sets `confirmed_at` to now.
    pub confirmed: bool,
    /// How cleanup stands. Results other than `Failed` set `cleaned_at`.
    pub cleanup: Option<Cleanup>,
}

impl ResourceWrite {
    /// A write that changes nothing but the state.
    pub fn new(kind: ResourceKind, name: impl Into<String>, state: ResourceState) -> Self {
        Self {
            kind,
            name: name.into(),
            state,
            external_id: None,
            try_id: None,
            desired_hash: None,
            observed_hash: None,
            version_id: None,
            outcome: None,
            intent: None,
            confirmed: false,
            cleanup: None,
        }
    }
}

/// How a call ended, for `attempts` and `last_error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// `attempts = 0`, `last_error = NULL`.
    Ok,
    /// `attempts + 1`, and the message.
    Failed(String),
}

/// What happens to `intent_at` and `settle_until`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// A call is about to be sent: `intent_at` becomes now unless one is already open (state `unknown`);
    /// `settle_until` becomes now plus this, if that is later.
    Open {
        /// How long the request may still land.
        settle_in: Duration,
    },
    /// The outcome is known and the thing is there: `settle_until = NULL`, `intent_at` stays.
    Settled,
    /// The thing is not there: both become NULL.
    Cleared,
}

/// How cleanup of a thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// Result.
    pub result: CleanupResult,
    /// Why it failed, or what is to be said of it.
    pub error: Option<String>,
}

/// New content of one `agent_secret` row. `pushed_at` becomes now when the state is `Pushed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretWrite {
    /// Name on the Worker.
    pub name: String,
    /// Provider whose key it is.
    pub provider: Option<String>,
    /// Where the value comes from.
    pub source: SecretSource,
    /// The reference it was read through.
    pub reference: Option<String>,
    /// What is known.
    pub state: SecretState,
    /// Keyed hash of the value.
    pub fingerprint: Option<String>,
}

/// Status columns to write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusWrite {
    /// `deployment_status`.
    pub deployment_status: Option<DeploymentStatus>,
    /// `deployment_error`; the inner `None` clears it.
    pub deployment_error: Option<Option<String>>,
    /// `observed_generation`; never goes back.
    pub observed_generation: Option<Generation>,
    /// `worker_url`.
    pub worker_url: Option<Option<String>>,
    /// `r2_token_id`.
    pub r2_token_id: Option<Option<String>>,
    /// `has_anthropic_key`.
    pub has_anthropic_key: Option<bool>,
    /// `has_openai_key`.
    pub has_openai_key: Option<bool>,
}

impl StatusWrite {
    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The end of a pass: the last writes, and when to come back. Frees the lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// Last writes.
    pub mutations: Vec<Mutation>,
    /// The generation and request the pass has worked on. If either has moved since, the agent is due now.
    pub loaded_generation: Generation,
    /// See above.
    pub loaded_reconcile_requested_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Since when the hold is in force that the pass has worked under, if any. If it is released by now, the agent is
    /// due now.
    pub loaded_hold: Option<chrono::DateTime<chrono::Utc>>,
    /// When to come back; `None`: nothing to do.
    pub next_due_in: Option<Duration>,
    /// How the pass went.
    pub progress: Progress,
    /// The plan, for people; written if it differs.
    pub plan_report: Option<serde_json::Value>,
}

/// How a pass went, for `failure_count`, `failing_since` and `throttled_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// All three are reset.
    Ok,
    /// `failure_count + 1`; `failing_since` becomes now unless set.
    Failed,
    /// Neither better nor worse: nothing changes.
    Waiting,
    /// Nothing changes but `throttled_seconds`, which grows by this many while `failing_since` is set.
    Throttled {
        /// How long the pass is put off.
        seconds: i64,
    },
}
