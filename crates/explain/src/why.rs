//! What keeps an agent where it is, in words, with something to do about it.
//!
//! Pure: a snapshot and the hold in force go in, an explanation comes out. Every reason has a "do this".

mod advice;

use serde::Serialize;
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, StoredCondition, Truth};
use talon_core::hold::{Hold, HoldKind};
use talon_core::resource::ResourceRecord;
use talon_core::snapshot::SecretSource;
use talon_core::status::DeploymentStatus;

use crate::{age, safe, view};
pub use advice::advice;

/// An explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// One sentence that says how it stands.
    pub headline: String,
    /// Where it is stuck, if it is.
    pub blocked_at: Option<String>,
    /// The reason word.
    pub reason: String,
    /// What happened.
    pub what: String,
    /// What to do, the best first.
    pub do_this: Vec<String>,
    /// What comes after, once it goes on.
    pub waiting: Vec<String>,
}

/// Explains an agent.
pub fn explain(snapshot: &Snapshot, hold: Option<&Hold>) -> Explanation {
    let agent = &snapshot.agent;
    if agent.is_archived() {
        return archived(snapshot);
    }
    if let Some(hold) = hold {
        return held(snapshot, hold);
    }
    if !agent.violations.is_empty() {
        return violations(snapshot);
    }
    if let Some(stalled) = view::holds_now(snapshot, ConditionType::Stalled) {
        return stalled_for(snapshot, stalled);
    }
    for kind in [ConditionType::Held, ConditionType::Throttled] {
        if let Some(condition) = view::holds_now(snapshot, kind) {
            return waiting_for(snapshot, condition);
        }
    }
    if view::nobody_home(snapshot) {
        return nobody_home(snapshot);
    }
    if agent.spec.suspend && !agent.is_deleting() {
        return suspended(snapshot);
    }
    if view::agreement(snapshot) == view::Agreement::InSync {
        return worn_secret(snapshot)
            .or_else(|| not_connected(snapshot))
            .unwrap_or_else(|| well(snapshot));
    }
    if let Some(awaiting) = view::awaiting_keys(snapshot) {
        return awaiting_keys(snapshot, awaiting);
    }
    under_way(snapshot)
}

fn name(snapshot: &Snapshot) -> &str {
    snapshot.agent.name.as_str()
}

fn status(snapshot: &Snapshot) -> DeploymentStatus {
    snapshot.agent.status.deployment_status
}

fn for_long(snapshot: &Snapshot, condition: &StoredCondition) -> String {
    format!(
        "since {}, {} ago",
        age::stamp(condition.last_transition_at),
        age::since(snapshot.now, condition.last_transition_at)
    )
}

fn archived(snapshot: &Snapshot) -> Explanation {
    let left: Vec<&ResourceRecord> = view::leftovers(snapshot).collect();
    let what = if left.is_empty() {
        "Everything it had at Cloudflare was cleaned up; the record is kept for billing.".to_owned()
    } else {
        left.iter()
            .map(|r| {
                format!(
                    "{} {} could not be removed: {}",
                    view::kind_label(r.kind),
                    safe(&r.name),
                    safe(r.cleanup_error.as_deref().unwrap_or("no reason was given"))
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    Explanation {
        headline: format!(
            "{} was deleted{}.",
            name(snapshot),
            if left.is_empty() {
                ""
            } else {
                ", but something is left over"
            }
        ),
        blocked_at: left
            .first()
            .map(|r| format!("Cleanup › {}", view::kind_label(r.kind))),
        reason: if left.is_empty() {
            Reason::Deleted
        } else {
            Reason::LeftOver
        }
        .to_string(),
        what,
        do_this: if left.is_empty() {
            vec!["nothing; the name is free again".to_owned()]
        } else {
            vec![
                "nothing at once: the sweep goes on trying, and corrects the record when it succeeds".to_owned(),
                "or remove it in the Cloudflare dashboard; the next sweep notices".to_owned(),
            ]
        },
        waiting: Vec::new(),
    }
}

fn held(snapshot: &Snapshot, hold: &Hold) -> Explanation {
    let reason = match hold.kind {
        HoldKind::MassChange => Reason::MassChange,
        HoldKind::RestoredDatabase => Reason::RestoredDatabase,
        HoldKind::Operator => Reason::HeldByOperator,
    };
    Explanation {
        headline: format!(
            "{} is {}, and effects on all agents are on hold (since {}, {} ago).",
            name(snapshot),
            status(snapshot),
            age::stamp(hold.since),
            age::since(snapshot.now, hold.since)
        ),
        blocked_at: Some("Hold › the whole installation".to_owned()),
        reason: reason.to_string(),
        what: safe(&hold.reason),
        do_this: advice(name(snapshot), reason),
        waiting: steps_to_come(snapshot),
    }
}

fn violations(snapshot: &Snapshot) -> Explanation {
    let list = &snapshot.agent.violations;
    Explanation {
        headline: format!(
            "{} is {} and will not move without you: its row cannot be read as written.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: Some("Validation".to_owned()),
        reason: Reason::InvalidSpec.to_string(),
        what: list
            .iter()
            .map(|v| safe(&format!("{}: {}", v.pointer, v.detail)))
            .collect::<Vec<_>>()
            .join("\n"),
        do_this: advice(name(snapshot), Reason::InvalidSpec),
        waiting: steps_to_come(snapshot),
    }
}

fn stalled_for(snapshot: &Snapshot, stalled: &StoredCondition) -> Explanation {
    let reason = stalled.condition.reason;
    let block = block(snapshot, reason);
    Explanation {
        headline: format!(
            "{} is {} and {} (Stalled, {}).",
            name(snapshot),
            status(snapshot),
            if snapshot.agent.is_deleting() {
                "needs you, or what cannot be cleaned up is archived as left over"
            } else {
                "will not move without you"
            },
            for_long(snapshot, stalled)
        ),
        blocked_at: Some(block.map_or_else(|| place(snapshot, reason), |(at, _)| safe(at))),
        reason: reason.to_string(),
        what: match block {
            Some((_, message)) => safe(message),
            None => said_or(
                &stalled.condition.message,
                "the controller gave no more words",
            ),
        },
        do_this: only_you_have_it(snapshot, reason)
            .unwrap_or_else(|| advice(name(snapshot), reason)),
        waiting: steps_to_come(snapshot),
    }
}

/// What to do about a key that came over HTTP and that nobody can supply again but who has it.
fn only_you_have_it(snapshot: &Snapshot, reason: Reason) -> Option<Vec<String>> {
    let referenced = |provider: &str| {
        let mut known = snapshot.agent.spec.api_key_refs.keys();
        known.any(|p| p.0 == provider)
    };
    let lost = snapshot.secrets.iter().find(|s| {
        s.source == SecretSource::WriteThrough
            && s.provider.as_deref().is_some_and(|p| !referenced(p))
    })?;
    (reason == Reason::SecretValueMissing).then(|| {
        vec![
            format!(
                "talon secrets set {} {} (it asks for the value, and stores it nowhere)",
                name(snapshot),
                safe(&lost.name)
            ),
            "or point spec.apiKeyRefs at a source that can be read again, and talon apply"
                .to_owned(),
        ]
    })
}

/// Where the last plan was stopped for this reason, and what it said: `(place, message)`.
fn block(snapshot: &Snapshot, reason: Reason) -> Option<(&str, &str)> {
    let block = snapshot.work.plan_report.as_ref()?.get("blocked")?;
    let field = |name: &str| block.get(name)?.as_str().filter(|text| !text.is_empty());
    (field("reason")? == reason.as_str()).then_some(())?;
    Some((field("at")?, field("message")?))
}

fn waiting_for(snapshot: &Snapshot, condition: &StoredCondition) -> Explanation {
    let reason = condition.condition.reason;
    Explanation {
        headline: format!(
            "{} is {} and goes on by itself when it may ({}, {}).",
            name(snapshot),
            status(snapshot),
            condition.condition.kind,
            for_long(snapshot, condition)
        ),
        blocked_at: Some(place(snapshot, reason)),
        reason: reason.to_string(),
        what: said_or(&condition.condition.message, "effects are withheld"),
        do_this: advice(name(snapshot), reason),
        waiting: steps_to_come(snapshot),
    }
}

fn awaiting_keys(snapshot: &Snapshot, condition: &StoredCondition) -> Explanation {
    let reason = condition.condition.reason;
    Explanation {
        headline: format!(
            "{} is {} and waits for a key.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: Some(place(snapshot, reason)),
        reason: reason.to_string(),
        what: said_or(
            &condition.condition.message,
            "the model's provider has no key",
        ),
        do_this: with_provider(snapshot, advice(name(snapshot), reason)),
        waiting: steps_to_come(snapshot),
    }
}

/// The advice with the model's provider in place of the word for any.
fn with_provider(snapshot: &Snapshot, advice: Vec<String>) -> Vec<String> {
    let Some(provider) = view::provider(snapshot) else {
        return advice;
    };
    let key = provider.secret_name();
    let variable = format!("TALON_SECRET_{}", provider.0.to_uppercase());
    let named = |line: String| {
        line.replace("PROVIDER_API_KEY", &key)
            .replace("TALON_SECRET_…", &variable)
            .replace("PROVIDER", &provider.0)
    };
    advice.into_iter().map(named).collect()
}

fn nobody_home(snapshot: &Snapshot) -> Explanation {
    let due = snapshot
        .work
        .next_due_at
        .map(|at| age::since(snapshot.now, at))
        .unwrap_or_default();
    Explanation {
        headline: format!(
            "{} is {}, and no daemon has taken it up.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: Some("Daemon".to_owned()),
        reason: "NoDaemon".to_owned(),
        what: format!("A pass has been due for {due}, and nobody holds the agent's lease."),
        do_this: vec![
            "start the daemon: talon run (or talon dev, for everything on this machine)".to_owned(),
            "if one runs already: does it use this database? talon doctor".to_owned(),
        ],
        waiting: steps_to_come(snapshot),
    }
}

fn suspended(snapshot: &Snapshot) -> Explanation {
    Explanation {
        headline: format!("{} is {} and suspended.", name(snapshot), status(snapshot)),
        blocked_at: Some("spec.suspend".to_owned()),
        reason: Reason::Suspended.to_string(),
        what: "The row asks to leave the agent exactly as it is.".to_owned(),
        do_this: advice(name(snapshot), Reason::Suspended),
        waiting: if view::agreement(snapshot) == view::Agreement::InSync {
            Vec::new()
        } else {
            steps_to_come(snapshot)
        },
    }
}

/// Live and as its row says, but with a secret that Talon could not supply again: a reference was discarded, or leads
/// nowhere. The Worker goes on with what it has.
fn worn_secret(snapshot: &Snapshot) -> Option<Explanation> {
    let secrets = view::condition(snapshot, ConditionType::SecretsReady)
        .filter(|c| c.condition.status == Truth::False)?;
    let reason = secrets.condition.reason;
    Some(Explanation {
        headline: format!(
            "{} is {} and works with the keys it has, but one of them cannot be supplied again.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: Some(place(snapshot, reason)),
        reason: reason.to_string(),
        what: safe(&secrets.condition.message),
        do_this: advice(name(snapshot), reason),
        waiting: Vec::new(),
    })
}

/// Live, but not at the Hub, where it is to be all the time. A Hub elsewhere tells nothing: then nothing is known.
fn not_connected(snapshot: &Snapshot) -> Option<Explanation> {
    let connected = snapshot.presence.as_ref().is_some_and(|p| p.connected);
    let known = snapshot.presence.is_some() || snapshot.contact.is_some();
    if !snapshot.agent.spec.keep_alive || connected || !known {
        return None;
    }
    let hub = view::condition(snapshot, ConditionType::HubConnected)
        .filter(|c| c.condition.status != Truth::True)?;
    Some(Explanation {
        headline: format!(
            "{} is {} and as its row says, but not connected to the Hub ({}): tasks wait.",
            name(snapshot),
            status(snapshot),
            for_long(snapshot, hub)
        ),
        blocked_at: Some("Hub".to_owned()),
        reason: hub.condition.reason.to_string(),
        what: said_or(&hub.condition.message, "the controller gave no more words"),
        do_this: vec![
            "nothing for a minute after a deployment or a restart: it is woken and connects"
                .to_owned(),
            format!(
                "then look whether its Worker reaches the Hub (hub.url, by talon config show) and what it was told: talon events {}",
                name(snapshot)
            ),
        ],
        waiting: Vec::new(),
    })
}

fn well(snapshot: &Snapshot) -> Explanation {
    Explanation {
        headline: format!(
            "{} is {} and as its row says.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: None,
        reason: Reason::AsExpected.to_string(),
        what: match &snapshot.agent.status.worker_url {
            Some(url) => format!(
                "Generation {} is live at {}.",
                snapshot.agent.generation,
                safe(url)
            ),
            None => format!("Generation {} is live.", snapshot.agent.generation),
        },
        do_this: vec!["nothing".to_owned()],
        waiting: Vec::new(),
    }
}

/// A cleanup that goes on although something could not be removed yet.
fn resisting(snapshot: &Snapshot, left: &ResourceRecord) -> Explanation {
    let agent = name(snapshot);
    let label = view::kind_label(left.kind);
    let said = left.cleanup_error.as_deref().or(left.last_error.as_deref());
    Explanation {
        headline: format!(
            "{agent} is {} and goes on, but one part could not be removed yet.",
            status(snapshot)
        ),
        blocked_at: Some(label.to_owned()),
        reason: Reason::LeftOver.to_string(),
        what: format!(
            "{label} {}: {}",
            safe(&left.name),
            said_or(said.unwrap_or_default(), "it could not be removed")
        ),
        do_this: vec![
            "nothing at once: it is tried again by itself".to_owned(),
            format!(
                "or try now: talon cleanup retry {agent} --resource {}",
                left.kind.as_str()
            ),
        ],
        waiting: steps_to_come(snapshot),
    }
}

fn under_way(snapshot: &Snapshot) -> Explanation {
    if snapshot.agent.is_deleting()
        && let Some(left) = view::leftovers(snapshot).next()
    {
        return resisting(snapshot, left);
    }
    let failing = snapshot.resources.iter().find(|r| r.last_error.is_some());
    let reconciling = view::condition(snapshot, ConditionType::Reconciling);
    let drifted = view::condition(snapshot, ConditionType::Drifted)
        .filter(|c| c.condition.status == Truth::True && !c.condition.message.is_empty());
    let reason = match (failing, drifted, reconciling) {
        (Some(_), _, _) => Reason::BackingOff,
        (None, None, Some(c)) => c.condition.reason,
        (None, _, _) if snapshot.agent.is_deleting() => Reason::Deleting,
        (None, _, _) => Reason::InProgress,
    };
    let mut what = match failing {
        Some(r) => format!(
            "{} {}: {} (tried {} {})",
            view::kind_label(r.kind),
            safe(&r.name),
            safe(r.last_error.as_deref().unwrap_or_default()),
            r.attempts,
            if r.attempts == 1 { "time" } else { "times" }
        ),
        None => match (
            drifted,
            &snapshot.agent.status.deployment_error,
            reconciling,
        ) {
            (Some(c), _, _) => safe(&c.condition.message),
            (None, Some(error), _) => safe(error),
            (None, None, Some(c)) => said_or(&c.condition.message, "steps are being carried out"),
            (None, None, None) => "It has not been looked at yet.".to_owned(),
        },
    };
    if let Some(due) = snapshot.work.next_due_at.filter(|d| *d > snapshot.now) {
        what.push_str(&format!("\nNext try in {}.", age::since(due, snapshot.now)));
    }
    Explanation {
        headline: format!(
            "{} is {} and on its way; it needs nothing from you.",
            name(snapshot),
            status(snapshot)
        ),
        blocked_at: failing.map(|r| view::kind_label(r.kind).to_owned()),
        reason: reason.to_string(),
        what,
        do_this: advice(name(snapshot), reason),
        waiting: steps_to_come(snapshot),
    }
}

fn said_or(message: &str, otherwise: &str) -> String {
    if message.is_empty() {
        otherwise.to_owned()
    } else {
        safe(message)
    }
}

/// What has not been reached yet.
fn steps_to_come(snapshot: &Snapshot) -> Vec<String> {
    let kinds = if snapshot.agent.is_deleting() {
        return vec!["Cleanup".to_owned()];
    } else {
        [
            (ConditionType::StorageReady, "R2 bucket"),
            (ConditionType::TokenReady, "R2 token"),
            (ConditionType::WorkerReady, "Deploy"),
            (ConditionType::SecretsReady, "Secrets"),
            (ConditionType::Registered, "Register"),
        ]
    };
    kinds
        .into_iter()
        .filter(|(kind, _)| !view::holds(snapshot, *kind))
        .map(|(_, label)| label.to_owned())
        .collect()
}

/// Where in the life of an agent a reason strikes.
fn place(snapshot: &Snapshot, reason: Reason) -> String {
    use Reason as R;
    let text = match reason {
        R::InvalidSpec => "Validation",
        R::SecretValueMissing | R::SecretOutOfScope | R::SecretRefDiscarded | R::AwaitingKeys => {
            return match snapshot.agent.spec.api_key_refs.keys().next() {
                Some(provider) => format!("Secrets › {}", safe(&provider.secret_name())),
                None => "Secrets".to_owned(),
            };
        }
        R::NameConflict => "Names at Cloudflare",
        R::CloudflareAuth
        | R::NoSubdomain
        | R::R2NotEnabled
        | R::QuotaReached
        | R::Unschedulable => "Cloudflare account",
        R::CloudflareRejected | R::CloudflareError => "Cloudflare",
        R::RegistryError => "Register",
        R::MassChange | R::RestoredDatabase | R::HeldByOperator | R::ObserveOnly => "Hold",
        R::RateLimited => "Cloudflare call budget",
        R::Suspended => "spec.suspend",
        R::Deleting | R::Deleted | R::LeftOver => "Cleanup",
        R::InternalError => "Controller",
        R::Registered | R::Disconnected | R::Asleep => "Hub",
        R::AsExpected
        | R::Deployed
        | R::NotDeployed
        | R::OutOfDate
        | R::Idle
        | R::InProgress
        | R::BackingOff
        | R::Unsettled
        | R::AwaitingObservation
        | R::Provisioned
        | R::Missing
        | R::Pushed
        | R::PushedUnverified
        | R::CardAccepted
        | R::NotObserved => "Deploy",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests;
