//! Who may use the HTTP API, what was done, and which requests were answered before. Never a token, a body or a value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use talon_core::Owner;
use talon_core::status::UnknownWord;

use crate::StoreResult;
use crate::fleet::Actor;

/// The least time for which the audit log keeps an entry, whoever asks for less.
pub const KEEP_AUDIT: Duration = Duration::from_secs(7 * 86_400);

/// How long an attempt is remembered.
pub const KEEP_ATTEMPTS: Duration = Duration::from_secs(86_400);

/// What a token allows. Each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Creates, changes and deletes agents, and gives them tasks.
    Operator,
    /// Sets the keys of agents.
    SecretWriter,
    /// Makes tokens, and holds everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [
        Self::Viewer,
        Self::Operator,
        Self::SecretWriter,
        Self::Admin,
    ];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::SecretWriter => "secret-writer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == s);
        found.ok_or(UnknownWord)
    }
}

/// A token of the HTTP API; never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Id by which it is listed and revoked.
    pub id: String,
    /// What it is for, for people.
    pub label: String,
    /// What it allows.
    pub role: Role,
    /// Whose agents it sees and changes; `None`: everybody's.
    pub owner: Option<Owner>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, as far as that was stored.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for, for people.
    pub label: String,
    /// What it allows.
    pub role: Role,
    /// Whose agents it sees and changes; `None`: everybody's.
    pub owner: Option<Owner>,
    /// SHA-256 of the token, hex.
    pub sha256: String,
    /// After this it stops working.
    pub expires_in: Option<Duration>,
}

/// A request that may come twice and must be done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who asks, and for what: one key means one request of one caller.
    pub caller: String,
    /// The key that the caller chose.
    pub key: String,
    /// A keyed hash of what is asked, hex.
    pub request: String,
}

/// What a first attempt led to: enough to answer again, and no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The status of the response.
    pub status: u16,
    /// The agent that it spoke of.
    pub agent: String,
}

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempted {
    /// It is the first, or the first one was given up long ago: do it, then say how it ended.
    First,
    /// Another one is under way.
    Running,
    /// It was done before.
    Done(Outcome),
    /// The key was used for something else.
    Another,
}

/// An entry of the audit log that no trigger makes: something other than an agent's spec was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// What was done, `token_create`.
    pub action: String,
    /// What it was done to, by an id or a name.
    pub object: String,
    /// Names of what was changed.
    pub fields: Vec<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// When (database clock).
    pub at: DateTime<Utc>,
    /// Who: a caller of the HTTP API, else a user of the database.
    pub actor: String,
    /// From where, if it came over HTTP.
    pub source: Option<String>,
    /// What was done: `insert`, `update`, `delete` of an agent, or another word.
    pub action: String,
    /// The agent's name, or what else it was done to.
    pub object: String,
    /// Names of the changed fields; never a value.
    pub fields: Vec<String>,
}

/// Tokens, the audit log, and requests that may come twice.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// Stores the hash of a new token. `Rejected` if its hash is known, or its label holds a NUL character.
    async fn create_token(&self, token: &NewToken) -> StoreResult<ApiToken>;

    /// The token of this hash, if it is neither revoked nor expired.
    async fn token(&self, sha256: &str) -> StoreResult<Option<ApiToken>>;

    /// All tokens of an owner (`None`: all there are), newest first.
    async fn tokens(&self, owner: Option<&Owner>) -> StoreResult<Vec<ApiToken>>;

    /// Revokes a token; `false` if there is none of that id or it was revoked before.
    async fn revoke_token(&self, id: &str) -> StoreResult<bool>;

    /// Notes that the token was used now.
    async fn token_used(&self, id: &str) -> StoreResult<()>;

    /// Looks an attempt up, and notes it if it is the first. One that did not end within `patience` was given up; those
    /// older than [`KEEP_ATTEMPTS`] are forgotten.
    async fn attempt(&self, attempt: &Attempt, patience: Duration) -> StoreResult<Attempted>;

    /// How a first attempt ended; `None`: it is forgotten, and may come again.
    async fn attempted(&self, attempt: &Attempt, outcome: Option<&Outcome>) -> StoreResult<()>;

    /// Adds an entry to the audit log.
    async fn audit(&self, actor: &Actor, entry: &NewAudit) -> StoreResult<()>;

    /// The latest entries, newest first.
    async fn audit_log(&self, limit: i64) -> StoreResult<Vec<Audit>>;

    /// The latest entries about one object since a moment (inclusive), newest first. A name may have belonged to another
    /// agent before: `since` is when this one was made.
    async fn audit_about(
        &self,
        object: &str,
        since: DateTime<Utc>,
        limit: i64,
    ) -> StoreResult<Vec<Audit>>;
}
