//! What is asked of a database to show a fleet at a glance: counts, one page, what happened, how the controller stands.
//!
//! Guarantees: what an owner asks for holds nothing of another owner's; each question costs the database at most one look at
//! each agent's row, and reads whole agents only for the page that is shown.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::condition::{ConditionType, Reason};
use talon_core::event::{Event, Severity};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Owner, Snapshot};

use crate::StoreResult;
use crate::budget::Slot;

/// A deletion that takes longer than this wants a look.
pub const SLOW_DELETION: Duration = Duration::from_secs(600);

/// Reasons for which `SecretsReady` wants a person, rather than time.
pub const SECRETS_NEED_SOMEBODY: [Reason; 3] = [
    Reason::SecretValueMissing,
    Reason::SecretOutOfScope,
    Reason::SecretRefDiscarded,
];

/// Agents by status; archived ones do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GlanceCounts {
    /// How many there are of each status, in the order of [`DeploymentStatus::ALL`].
    pub by_status: [u64; DeploymentStatus::ALL.len()],
    /// How many want a look ([`GlancePage::attention`]).
    pub attention: u64,
}

impl GlanceCounts {
    /// How many have this status.
    pub fn of(&self, status: DeploymentStatus) -> u64 {
        let at = DeploymentStatus::ALL.iter().position(|s| *s == status);
        at.map_or(0, |at| self.by_status[at])
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_status.iter().sum()
    }

    /// Counts agents of a status.
    pub fn add(&mut self, status: DeploymentStatus, agents: u64) {
        if let Some(at) = DeploymentStatus::ALL.iter().position(|s| *s == status) {
            self.by_status[at] += agents;
        }
    }
}

/// Which agents to show: those that fit every condition given, in name order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlancePage {
    /// Only this owner's.
    pub owner: Option<Owner>,
    /// Only this status.
    pub status: Option<DeploymentStatus>,
    /// Only those that want a look: failed, stalled, drifted, waiting for a key, with a secret that cannot be supplied
    /// again, or being deleted for longer than [`SLOW_DELETION`].
    pub attention: bool,
    /// Only those whose name or display name contains this (ASCII letters in either case).
    pub text: Option<String>,
    /// Only those after this name.
    pub after: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Which events to show: the latest, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlanceEvents {
    /// Only of this owner's agents, and none of the controller's own.
    pub owner: Option<Owner>,
    /// Only of this agent.
    pub agent: Option<AgentId>,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// At most so many.
    pub limit: i64,
}

/// A daemon that holds leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// As it names itself.
    pub holder: String,
    /// Agents it works on now.
    pub agents: u64,
    /// What it alone does for all: the names of such leases.
    pub duties: Vec<String>,
    /// When the last of its leases ends.
    pub until: DateTime<Utc>,
}

/// Calls granted to an account through the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountBudget {
    /// The account.
    pub account: String,
    /// What was granted, oldest first; old slots may have been forgotten.
    pub slots: Vec<Slot>,
    /// Until when Cloudflare wants a pause, if it lies ahead.
    pub paused_until: Option<DateTime<Utc>>,
}

/// How many agents stand still, or wait, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `Stalled`, `Held`, `Throttled`, `Drifted` that holds, or `Reconciling` for a reason other than work.
    pub kind: ConditionType,
    /// The reason.
    pub reason: Reason,
    /// How many agents.
    pub agents: u64,
}

/// How the controller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerState {
    /// The database's clock.
    pub now: DateTime<Utc>,
    /// Agents that are due and that nobody works on.
    pub due: u64,
    /// Since when the oldest of them is due.
    pub oldest_due: Option<DateTime<Utc>>,
    /// Agents that are due later.
    pub scheduled: u64,
    /// Agents whose last passes failed.
    pub failing: u64,
    /// Who holds leases that are in force.
    pub replicas: Vec<Replica>,
    /// Calls to Cloudflare, where daemons share their budget.
    pub budgets: Vec<AccountBudget>,
    /// Reasons, the most frequent first.
    pub troubles: Vec<Trouble>,
}

impl ControllerState {
    /// Adds a lease to whom it belongs; `duty`: the name of what is done for all, else an agent is worked on.
    pub fn add_lease(
        &mut self,
        holder: &str,
        agents: u64,
        duty: Option<&str>,
        until: DateTime<Utc>,
    ) {
        let at = match self.replicas.iter().position(|r| r.holder == holder) {
            Some(at) => at,
            None => {
                self.replicas.push(Replica {
                    holder: holder.to_owned(),
                    agents: 0,
                    duties: Vec::new(),
                    until,
                });
                self.replicas.len() - 1
            }
        };
        let replica = &mut self.replicas[at];
        replica.agents += agents;
        replica.duties.extend(duty.map(str::to_owned));
        replica.until = replica.until.max(until);
    }

    /// Brings what was added into the order in which it is shown.
    pub fn arrange(&mut self) {
        self.replicas.sort_by(|a, b| a.holder.cmp(&b.holder));
        for replica in &mut self.replicas {
            replica.duties.sort();
        }
        self.troubles
            .sort_by(|a, b| (b.agents, a.reason).cmp(&(a.agents, b.reason)));
    }
}

/// See the module.
#[async_trait]
pub trait GlanceStore: Send + Sync + 'static {
    /// How many agents there are.
    async fn glance_counts(&self, owner: Option<&Owner>) -> StoreResult<GlanceCounts>;

    /// One page of agents that are not archived.
    async fn glance_page(&self, ask: &GlancePage) -> StoreResult<Vec<Snapshot>>;

    /// Agents being deleted, the longest first, and after them archived ones that left something behind, the latest first.
    async fn glance_cleanup(&self, owner: Option<&Owner>, limit: i64)
    -> StoreResult<Vec<Snapshot>>;

    /// Archived agents that left something behind, the latest first.
    async fn glance_left_over(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>>;

    /// What happened.
    async fn glance_events(&self, ask: &GlanceEvents) -> StoreResult<Vec<Event>>;

    /// How the controller stands.
    async fn controller_state(&self) -> StoreResult<ControllerState>;
}
