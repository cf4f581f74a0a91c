//! The agents, wherever they are reached: in the database, or by way of a daemon over HTTP. Commands speak to this alone,
//! so that they say the same either way.
//!
//! Guarantees: what is read comes as whole snapshots, which everything that is shown is made of; a refusal has the same
//! words and the same exit code either way; nothing that writes is repeated after its answer was lost.

mod remote;
mod rows;
mod watch;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use talon_core::event::{Event, Severity};
use talon_core::presence::ApiKey;
use talon_core::secret::SecretValue;
use talon_core::task::Task;
use talon_core::{AgentId, Owner, Snapshot};
use talon_factory::wire::HistoryEntry;
use talon_store::access::{ApiToken, Role};
use talon_store::{Applied, ApplyOptions, Hold, ListFilter, StoreError, codes};

pub use remote::Remote;
pub use rows::Rows;

use crate::exit::{Exit, Failure};
use crate::manifests::Document;

/// Shorthand.
pub type Answer<T> = Result<T, Failure>;

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// Only of this agent (name), or of the controller.
    pub agent: Option<String>,
    /// Only of this owner's agents.
    pub owner: Option<Owner>,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only those that last happened later.
    pub after: Option<DateTime<Utc>>,
    /// The latest so many.
    pub limit: i64,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct WantedToken {
    /// What it is for.
    pub label: String,
    /// What it allows.
    pub role: Role,
    /// Whose agents it sees; `None`: everybody's, or those of whoever asks.
    pub owner: Option<Owner>,
    /// After this it stops working.
    pub expires_in: Option<Duration>,
}

/// What became of revoking something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It was valid until now.
    Now,
    /// It was revoked before.
    Before,
    /// There is none of this id.
    Unknown,
}

/// Something that cleanup could not remove.
#[derive(Debug, Clone)]
pub struct Left {
    /// What it is.
    pub kind: String,
    /// Its name at Cloudflare.
    pub name: String,
}

/// Why an agent was not applied.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// A rule of the contract stands against it: its code, and what it says.
    Rule(String, String),
    /// Something else.
    Other(Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rule(code, message) => StoreError::Rejected { code, message }.into(),
            Refusal::Other(failure) => failure,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

/// Agents that change.
#[async_trait]
pub trait Watch: Send {
    /// Agents that changed since the last call, each as it stands now; empty after so long, or when something else may have
    /// changed. What was told may be told again.
    async fn next(&mut self, at_most: Duration) -> Answer<Vec<Snapshot>>;

    /// Returns when one of these agents (none named: any) may have changed, or after so long. Only a hint.
    async fn hint(&mut self, of: &[AgentId], at_most: Duration) -> Answer<()>;
}

/// Everything that commands ask for.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// One agent by name. Live ones first; with `archived`, else the most recently archived of that name.
    async fn get(&self, name: &str, archived: bool) -> Answer<Option<Snapshot>>;

    /// Agents in name order.
    async fn list(&self, filter: &ListFilter) -> Answer<Vec<Snapshot>>;

    /// These agents (id and name), archived or not, in this order; `None` for one that is gone.
    async fn look(&self, agents: &[(AgentId, String)]) -> Answer<Vec<Option<Snapshot>>>;

    /// Everything that changes from now on.
    async fn watch(&self) -> Answer<Box<dyn Watch>>;

    /// Events, oldest first.
    async fn events(&self, ask: &Events) -> Answer<Vec<Event>>;

    /// The latest tasks, newest first; none for who may not see them. What was asked is not among it.
    async fn tasks(&self, agent: &Snapshot, limit: i64) -> Answer<Vec<Task>>;

    /// Who changed the agent, oldest first.
    async fn history(&self, agent: &Snapshot) -> Answer<Vec<HistoryEntry>>;

    /// Whose agents whoever asks is restricted to.
    async fn own(&self) -> Answer<Option<Owner>>;

    /// Creates the agent or brings its spec to this. `before`: as it was read just now.
    async fn apply(
        &self,
        wanted: &Document,
        before: Option<&Snapshot>,
        options: ApplyOptions,
    ) -> Result<Applied, Refusal>;

    /// Asks for deletion.
    async fn request_deletion(&self, agent: &Snapshot, keep_bucket: bool) -> Answer<()>;

    /// Makes a pass due now.
    async fn request_reconcile(&self, agent: &Snapshot) -> Answer<()>;

    /// Sets `suspend`; whether that changed anything.
    async fn set_suspend(&self, agent: &Snapshot, suspend: bool) -> Answer<bool>;

    /// The hold in force.
    async fn hold(&self) -> Answer<Option<Hold>>;

    /// Puts a hold in force; whether it is new.
    async fn set_hold(&self, reason: &str) -> Answer<bool>;

    /// Ends the hold, and returns it.
    async fn release_hold(&self) -> Answer<Option<Hold>>;

    /// Whether it is known that no daemon is at work.
    async fn nobody_works(&self) -> Answer<bool>;

    /// What cleanup left behind.
    async fn leftovers(&self) -> Answer<Vec<Left>>;

    /// Tokens of the HTTP API, newest first.
    async fn tokens(&self, owner: Option<&Owner>) -> Answer<Vec<ApiToken>>;

    /// Makes one.
    async fn create_token(&self, wanted: &WantedToken) -> Answer<(ApiToken, SecretValue)>;

    /// Revokes one, if it is of this owner.
    async fn revoke_token(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked>;

    /// API keys of self-hosted agents, newest first.
    async fn keys(&self, owner: Option<&Owner>) -> Answer<Vec<ApiKey>>;

    /// Makes one.
    async fn create_key(
        &self,
        owner: Option<&Owner>,
        label: &str,
        expires_in: Option<Duration>,
    ) -> Answer<(ApiKey, SecretValue)>;

    /// Revokes one, if it is of this owner.
    async fn revoke_key(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked>;
}

/// Applies a document, after looking whose the agent is.
pub async fn apply(
    fleet: &dyn Fleet,
    wanted: &Document,
    before: Option<&Snapshot>,
    options: ApplyOptions,
) -> Result<Applied, Refusal> {
    if let Some(s) = before.filter(|s| s.agent.owner != wanted.owner) {
        return Err(Refusal::Other(another_owner(s, wanted)));
    }
    fleet.apply(wanted, before, options).await
}

fn another_owner(s: &Snapshot, wanted: &Document) -> Failure {
    let (is, asked) = (
        crate::output::safe(&s.agent.owner.0),
        crate::output::safe(&wanted.owner.0),
    );
    Failure::rejected(
        format!(
            "{} {} It belongs to the owner {is}, and the manifest (or --owner) says {asked}.",
            codes::FIXED,
            codes::message(codes::FIXED).unwrap_or_default()
        ),
        format!(
            "say that it is {is}'s (--owner {is}, or metadata.owner), or apply it under another name"
        ),
    )
}

/// A document that answers nothing but how something ended.
pub fn revoked_document(id: &str, before: bool) -> Value {
    json!({ "id": id, "revoked": true, "revokedBefore": before })
}

/// The failure to revoke what is not there.
pub fn nothing_to_revoke(what: &str) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("there is no {what} of this id"),
        format!(
            "talon {} list shows the ids",
            if what == "token" { "token" } else { "keys" }
        ),
    )
}
