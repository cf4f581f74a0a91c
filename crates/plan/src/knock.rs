//! Whether an agent's Worker is to be spoken to, and when: after each write to it, and while the Hub misses it.
//!
//! Apart from the steps of a plan, because it is no part of what makes an agent deployed: it gates nothing, its failure
//! is no failure, it costs no call of Cloudflare's API. Nothing is noted beforehand that a crash could lose: what a
//! Worker was last spoken to about is compared with what was last written to it.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use talon_core::Snapshot;
use talon_core::condition::Reason;
use talon_core::contact::Contact;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::snapshot::SecretState;

use crate::input::{HeldScope, Input};
use crate::know::later;
use crate::step::{Plan, StepKind};

/// Waits between tries after a write, a minute together: routes take about that long to propagate. Then it is left alone
/// until something changes.
const AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
];
/// Between a try and one that is about another write: a new version resets the Worker, and needs a moment.
const BREATH: Duration = Duration::from_secs(1);
/// How long the Hub may miss an agent that is to stay connected: it comes back by itself within a minute.
const MISSED: Duration = Duration::from_secs(120);
/// Longest time between two tries to wake an agent that stays away.
const LONGEST: Duration = Duration::from_secs(600);

/// Whether the Worker is to be spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Knock {
    /// No.
    #[default]
    None,
    /// Now.
    Now {
        /// For people.
        why: String,
    },
    /// Not yet.
    In(Duration),
}

impl Knock {
    /// When the pass is to come back for it; `None`: not at all.
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Now { .. } => Some(BREATH),
            Self::In(wait) => Some(*wait),
        }
    }
}

/// Decides, once everything else is decided.
pub(crate) fn knock(input: &Input<'_>, plan: &Plan) -> Knock {
    let held = input.world.held.as_ref();
    let withheld = held.is_some_and(|h| h.scope == HeldScope::All);
    let suspended = (plan.block.as_ref()).is_some_and(|b| b.reason == Reason::Suspended);
    if !input.world.knocks || withheld || suspended || !has_door(input, plan) {
        return Knock::None;
    }
    let snapshot = input.snapshot;
    [after_write(snapshot), while_missed(snapshot)]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
        .map_or(Knock::None, |(at, why)| {
            match (at - snapshot.now).to_std() {
                Ok(wait) if !wait.is_zero() => Knock::In(wait),
                Ok(_) | Err(_) => Knock::Now { why },
            }
        })
}

/// Whether somebody can be behind the address, and nothing is about to be done to it.
fn has_door(input: &Input<'_>, plan: &Plan) -> bool {
    let comes_first = |kind: &StepKind| match kind {
        StepKind::RegisterCard(_) | StepKind::DropToken { .. } => false,
        StepKind::Record(_)
        | StepKind::CreateBucket(_)
        | StepKind::CreateToken(_)
        | StepKind::RollToken { .. }
        | StepKind::Upload(_)
        | StepKind::UploadStub { .. }
        | StepKind::EnableRoute { .. }
        | StepKind::PushSecrets { .. }
        | StepKind::DeleteWorker { .. }
        | StepKind::EmptyBucket(_)
        | StepKind::DeleteBucket(_)
        | StepKind::DeleteToken { .. }
        | StepKind::DeregisterCard => true,
    };
    // One whose outcome is open may tell it: the version before it was live.
    let open = (input.snapshot.resource(ResourceKind::Worker))
        .is_some_and(|r| r.state == ResourceState::Unknown)
        && input.snapshot.agent.status.first_deployed_at.is_some();
    plan.facts.route
        && (plan.facts.worker.is_present() || open)
        && !plan.steps.iter().any(|s| comes_first(&s.kind))
}

/// When it is due because of what was last written to the Worker.
fn after_write(snapshot: &Snapshot) -> Option<(DateTime<Utc>, String)> {
    let why = "it was written to".to_owned();
    let Some(contact) = &snapshot.contact else {
        return Some((snapshot.now, why));
    };
    if contact.tried_at > snapshot.now {
        // The clock was set back; what was to be waited for cannot be told.
        let again = contact.mark != mark(snapshot) || contact.problem.is_some();
        return again.then_some((snapshot.now, why));
    }
    if contact.mark != mark(snapshot) {
        return Some((later(contact.tried_at, BREATH), why));
    }
    let problem = contact.problem.clone()?;
    let nth = usize::try_from(contact.tries.max(1) - 1).ok()?;
    let wait = AGAIN.get(nth)?;
    Some((later(contact.tried_at, *wait), problem))
}

/// When it is due because the Hub misses an agent that is to stay connected: as long after the last try as it had been
/// away by then, within bounds.
fn while_missed(snapshot: &Snapshot) -> Option<(DateTime<Utc>, String)> {
    let away = away_since(snapshot).filter(|_| snapshot.agent.spec.keep_alive)?;
    let first = later(away, MISSED);
    let last = snapshot.contact.as_ref().map(|c| c.tried_at);
    let at = match last.filter(|last| *last >= first) {
        Some(last) => {
            let been = (last - away).to_std().unwrap_or_default();
            later(last, been.clamp(MISSED, LONGEST))
        }
        None => first,
    };
    Some((at, "the Hub misses it".to_owned()))
}

/// Since when it has been away. One that never was at the Hub is missed only while its Worker has not heard us once:
/// routes may take longer to propagate than we knock after a write, and a Worker that has heard us comes by itself.
fn away_since(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    match &snapshot.presence {
        Some(presence) if presence.connected => None,
        Some(presence) => Some(presence.disconnected_at.unwrap_or(presence.last_seen)),
        None => {
            let contact = snapshot.contact.as_ref()?;
            let unheard = contact.answered_at.is_none() && contact.problem.is_some();
            snapshot.agent.status.first_deployed_at.filter(|_| unheard)
        }
    }
}

/// Says what a Worker is to run with by its records: changes with every write to it, and when the outcome of one becomes
/// known, but not by what it says of itself.
pub(crate) fn mark(snapshot: &Snapshot) -> String {
    let worker = snapshot.resource(ResourceKind::Worker);
    let tried = worker.and_then(|r| r.try_id.as_ref());
    let mut h = Sha256::new();
    h.update(tried.map_or("", |t| t.as_str()));
    // Each with its own time, not the latest of all: the database's clock may be set back.
    for secret in &snapshot.secrets {
        let open = secret.state == SecretState::Pushing;
        let pushed = secret.pushed_at.map(|t| t.timestamp_micros());
        h.update(format!("\0{}\0{pushed:?}\0{open}", secret.name));
    }
    hex::encode(&h.finalize()[..8])
}

/// Whether what was last written to the Worker may not have reached it everywhere.
pub(crate) fn propagating(snapshot: &Snapshot) -> bool {
    let sent = (snapshot.resource(ResourceKind::Worker)).and_then(|r| r.intent_at);
    let pushed = snapshot.secrets.iter().filter_map(|s| s.pushed_at).max();
    let all: Duration = AGAIN.iter().sum();
    let patience = TimeDelta::from_std(all).unwrap_or(TimeDelta::MAX);
    sent.max(pushed)
        .is_some_and(|written| snapshot.now - written < patience)
}

/// What came of the last try, for people.
pub(crate) fn told(contact: &Contact) -> String {
    let at = contact.tried_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    match &contact.problem {
        None => format!("woken at {at}"),
        Some(problem) if contact.woke() => format!("woken at {at}, but {problem}"),
        Some(problem) => format!("tried to wake it at {at}: {problem}"),
    }
}
