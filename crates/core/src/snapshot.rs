//! Everything the database knows about one agent at one moment: the input of a pass.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::condition::StoredCondition;
use crate::contact::Contact;
use crate::id::{Epoch, TryId};
use crate::presence::Presence;
use crate::resource::{ResourceKind, ResourceRecord, snake_words};
use crate::status::UnknownWord;
use std::fmt;
use std::str::FromStr;

/// Read in one transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The database's clock when this was read. Planning uses this and no other clock.
    pub now: DateTime<Utc>,
    /// The row.
    pub agent: Agent,
    /// Scheduling state.
    pub work: Work,
    /// One record per kind.
    pub resources: Vec<ResourceRecord>,
    /// One record per Worker secret.
    pub secrets: Vec<SecretRecord>,
    /// Every auth token ever tried and not yet pruned.
    pub auth_tokens: Vec<AuthTokenRecord>,
    /// Conditions as last written.
    pub conditions: Vec<StoredCondition>,
    /// Its last connection to the Hub; `None` if it never was connected.
    pub presence: Option<Presence>,
    /// What came of speaking to its Worker; `None` if nobody did.
    pub contact: Option<Contact>,
}

impl Snapshot {
    /// An agent whose row was just inserted.
    pub fn new(agent: Agent, now: DateTime<Utc>) -> Self {
        Self {
            now,
            agent,
            work: Work::new(now),
            resources: Vec::new(),
            secrets: Vec::new(),
            auth_tokens: Vec::new(),
            conditions: Vec::new(),
            presence: None,
            contact: None,
        }
    }

    /// The record of a kind, if there is one.
    pub fn resource(&self, kind: ResourceKind) -> Option<&ResourceRecord> {
        self.resources.iter().find(|r| r.kind == kind)
    }

    /// The record of a Worker secret, if there is one.
    pub fn secret(&self, name: &str) -> Option<&SecretRecord> {
        self.secrets.iter().find(|s| s.name == name)
    }
}

/// One row of `agent_work`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// When the agent is due; `None` if nothing is to be done.
    pub next_due_at: Option<DateTime<Utc>>,
    /// Failed passes in a row; throttling does not count.
    pub failure_count: i64,
    /// When the current run of failures began.
    pub failing_since: Option<DateTime<Utc>>,
    /// Seconds of that run that were spent throttled.
    pub throttled_seconds: i64,
    /// Who holds the lease.
    pub lease_owner: Option<String>,
    /// Raised by every claim.
    pub lease_epoch: Epoch,
    /// When the lease ends.
    pub lease_until: Option<DateTime<Utc>>,
    /// The latest end of a lease that was lost rather than given back: its holder may still have a request in flight.
    pub unclean_until: Option<DateTime<Utc>>,
    /// The last plan, as JSON, for people.
    pub plan_report: Option<serde_json::Value>,
}

impl Work {
    /// The row as the INSERT of an agent leaves it: due at once, never claimed.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            next_due_at: Some(now),
            failure_count: 0,
            failing_since: None,
            throttled_seconds: 0,
            lease_owner: None,
            lease_epoch: Epoch(0),
            lease_until: None,
            unclean_until: None,
            plan_report: None,
        }
    }
}

snake_words! {
    /// Where the value of a Worker secret comes from.
    SecretSource {
        /// Read through a reference.
        Reference = "reference",
        /// Came over HTTP; cannot be supplied again.
        WriteThrough = "write_through",
        /// Made or derived by Talon.
        Generated = "generated",
    }
}

snake_words! {
    /// What is known of a Worker secret.
    SecretState {
        /// A push may be in flight or its answer was lost.
        Pushing = "pushing",
        /// On the Worker, by a definite answer.
        Pushed = "pushed",
        /// On the Worker, confirmed by the Worker itself.
        Verified = "verified",
    }
}

/// One row of `agent_secret`; never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Name on the Worker, `ANTHROPIC_API_KEY`.
    pub name: String,
    /// Provider whose key it is, if it is one.
    pub provider: Option<String>,
    /// Where the value comes from.
    pub source: SecretSource,
    /// The reference it was read through, for people.
    pub reference: Option<String>,
    /// What is known.
    pub state: SecretState,
    /// Keyed hash of the value, hex (`SecretValue::fingerprint`).
    pub fingerprint: Option<String>,
    /// When it last was pushed (database clock).
    pub pushed_at: Option<DateTime<Utc>>,
}

snake_words! {
    /// What an auth token is worth.
    AuthTokenState {
        /// Sent with a try whose outcome is open; the Hub accepts it.
        Candidate = "candidate",
        /// The one on the live Worker.
        Current = "current",
        /// Not accepted any more.
        Retired = "retired",
    }
}

/// One row of `agent_auth_token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthTokenRecord {
    /// The try that sent it.
    pub try_id: TryId,
    /// SHA-256 of the token, hex.
    pub sha256: String,
    /// What it is worth.
    pub state: AuthTokenState,
    /// When it was made (database clock).
    pub created_at: DateTime<Utc>,
}
