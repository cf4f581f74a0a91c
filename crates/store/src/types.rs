//! Values that stores take and give.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use talon_core::event::Severity;
pub use talon_core::hold::{Hold, HoldKind};
use talon_core::resource::ResourceKind;
use talon_core::spec::Jurisdiction;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Epoch, Generation, InstallId, Owner};

use crate::{StoreError, StoreResult};

/// The name under which events of the controller itself are kept; reserved, so that no agent can have it.
pub const CONTROLLER: &str = "talon";

/// How long a retired auth token is remembered at most: nothing that carried it can still land.
pub const KEEP_RETIRED_TOKENS: Duration = Duration::from_secs(86_400);

/// How to apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Only if the agent is at this generation; 0: only if it does not exist.
    pub if_generation: Option<i64>,
    /// Only if the living agent of the name is this one, since the name may be another's by the time of the write: else
    /// `NotFound`, whatever its generation.
    pub if_agent: Option<AgentId>,
    /// Do everything, then roll back.
    pub dry_run: bool,
}

impl ApplyOptions {
    /// Checks the living agent that has the name now (`None`: none has): `NotFound` if it is another than the one asked
    /// for, `Stale` if its generation is another.
    pub fn check(self, living: Option<(AgentId, i64)>) -> StoreResult<()> {
        if self.if_agent.is_some() && self.if_agent != living.map(|(id, _)| id) {
            return Err(StoreError::NotFound);
        }
        let actual = living.map_or(0, |(_, generation)| generation);
        match self.if_generation.filter(|expected| *expected != actual) {
            Some(expected) => Err(StoreError::Stale { expected, actual }),
            None => Ok(()),
        }
    }
}

/// What applying did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The row.
    pub id: AgentId,
    /// Its generation afterwards.
    pub generation: Generation,
    /// What happened.
    pub outcome: ApplyOutcome,
}

/// What applying did to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyOutcome {
    /// It is new.
    Created,
    /// Its spec changed.
    Updated,
    /// It was like this already.
    Unchanged,
}

/// Which agents to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only this status.
    pub status: Option<DeploymentStatus>,
    /// Only this owner.
    pub owner: Option<Owner>,
    /// Archived rows too.
    pub include_archived: bool,
}

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this agent (name; archived ones included), or of the controller ([`CONTROLLER`]).
    pub agent: Option<String>,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only those whose `last_at` is later.
    pub after: Option<DateTime<Utc>>,
    /// The latest so many (0: 1000).
    pub limit: i64,
}

/// One entry of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Grows; gaps are possible.
    pub seq: i64,
    /// The agent.
    pub agent_id: AgentId,
    /// What changed.
    pub kind: ChangeKind,
}

/// What kind of change a feed entry speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// A person wrote: a changed spec, or a request.
    Spec,
    /// The controller wrote a status column of `agent_source` (conditions and child rows make no entry).
    Status,
}

/// A row lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The agent.
    pub agent_id: AgentId,
    /// The fencing number of this claim.
    pub epoch: Epoch,
}

impl ChangeKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Status => "status",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Spec, Self::Status]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// A `Latch` took effect or was in effect already for the same row.
    pub latched: bool,
}

/// Something cleanup could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// The agent it belonged to.
    pub agent_id: AgentId,
    /// That agent's name.
    pub agent: String,
    /// What it is.
    pub kind: ResourceKind,
    /// Its name at Cloudflare.
    pub name: String,
    /// Its id, if known.
    pub external_id: Option<String>,
    /// Where the agent's bucket lives: it is listed only if it is asked for there.
    pub jurisdiction: Jurisdiction,
    /// Why it is left.
    pub error: Option<String>,
}

/// Whether an agent's row is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Not archived.
    Live,
    /// Archived.
    Archived,
}

/// The installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// Its id.
    pub id: InstallId,
    /// `HMAC(install key, "talon-check")` in hex: tells whether a key is the right one.
    pub key_check: String,
}

/// What is asked of an account's shared window of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetAsk {
    /// How many calls, at most.
    pub want: u32,
    /// How many calls must be left in the window for others.
    pub reserve: u32,
    /// How many calls one window allows.
    pub ceiling: u32,
    /// How long the window is.
    pub window: Duration,
}

/// A piece of the shared call budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How many calls may be made.
    pub calls: u32,
    /// If `calls` is 0: after how long more than the reserve is free, unless others take it before.
    pub retry_in: Duration,
    /// Nothing was granted because Cloudflare wants a pause; it lasts for `retry_in`.
    pub paused: bool,
}

impl Grant {
    /// What is granted during a pause that lasts so much longer.
    pub fn paused(retry_in: Duration) -> Self {
        Self {
            calls: 0,
            retry_in,
            paused: true,
        }
    }
}

/// What the brake looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrakeFacts {
    /// Deletions requested within the window, after the last release, of rows not yet archived.
    pub recent_deletions: u64,
    /// When a hold was last released.
    pub last_release: Option<DateTime<Utc>>,
}
