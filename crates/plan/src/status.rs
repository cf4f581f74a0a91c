//! What is said of an agent: the status by its table of precedence, and the conditions.

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::resource::CleanupResult;
use talon_core::snapshot::SecretState;
use talon_core::status::DeploymentStatus;
use talon_core::{Generation, Snapshot};

use crate::connection::hub_connected;
use crate::desired::Names;
use crate::input::Input;
use crate::know::{Facts, Known};
use crate::placed::secrets_ready;
use crate::step::Plan;

/// How the last step that failed in this pass failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassFailure {
    /// In one word.
    pub reason: Reason,
    /// For people; says what to do where something can be done.
    pub message: String,
    /// Whether a person is needed.
    pub stalled: bool,
    /// Whether it was only put off.
    pub throttled: bool,
}

/// What is to be written at the end of a pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatusReport {
    /// Status columns.
    pub write: StatusWrite,
    /// Every condition.
    pub conditions: Vec<Condition>,
    /// What changed for people.
    pub events: Vec<NewEvent>,
}

impl StatusReport {
    /// As mutations.
    pub fn into_mutations(self) -> Vec<Mutation> {
        let mut all = vec![Mutation::Status(self.write)];
        all.extend(self.conditions.into_iter().map(Mutation::Condition));
        all.extend(self.events.into_iter().map(Mutation::Event));
        all
    }
}

/// What is known and was decided, in the words the table of precedence uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Deletion requested, or archived.
    pub deleting: bool,
    /// The Worker is live, its address on.
    pub live: bool,
    /// A card is registered.
    pub registered: bool,
    /// The bucket is there.
    pub stored: bool,
    /// The latch is set.
    pub deployed_before: bool,
    /// A person is needed.
    pub stalled: bool,
    /// Failing for longer than the grace, throttled time not counted.
    pub failing_long: bool,
    /// An effect was issued at some time.
    pub begun: bool,
}

/// The table of precedence.
pub fn precedence(s: Situation) -> DeploymentStatus {
    if s.deleting {
        DeploymentStatus::Deleting
    } else if (!s.live && s.stalled) || (!s.deployed_before && s.failing_long) {
        DeploymentStatus::Failed
    } else if s.deployed_before && s.live && s.registered && s.stored {
        DeploymentStatus::Deployed
    } else if s.begun {
        DeploymentStatus::Deploying
    } else {
        DeploymentStatus::Pending
    }
}

fn situation(input: &Input<'_>, plan: &Plan, failure: Option<&PassFailure>) -> Situation {
    let snapshot = input.snapshot;
    let facts = &plan.facts;
    Situation {
        deleting: snapshot.agent.is_deleting() || snapshot.agent.is_archived(),
        live: facts.worker.is_present() && facts.route,
        registered: facts.card,
        stored: facts.bucket.is_present(),
        deployed_before: snapshot.agent.status.first_deployed_at.is_some(),
        stalled: plan.block.as_ref().is_some_and(|b| b.stalled)
            || failure.is_some_and(|f| f.stalled),
        failing_long: failing_for(snapshot)
            > TimeDelta::from_std(input.world.timing.failing_grace).unwrap_or(TimeDelta::MAX),
        begun: snapshot.agent.status.worker_name.is_some(),
    }
}

/// How long the agent has been failing, without the time it was throttled.
pub fn failing_for(snapshot: &Snapshot) -> TimeDelta {
    let since: Option<DateTime<Utc>> = snapshot.work.failing_since;
    let throttled = TimeDelta::try_seconds(snapshot.work.throttled_seconds).unwrap_or_default();
    since.map_or(TimeDelta::zero(), |t| snapshot.now - t - throttled)
}

/// What people are told after a pass. `plan` is the plan made from the records as they are at its end.
pub fn status(input: &Input<'_>, plan: &Plan, failure: Option<&PassFailure>) -> StatusReport {
    let snapshot = input.snapshot;
    let agent = &snapshot.agent;
    let s = situation(input, plan, failure);
    let status = precedence(s);
    let converged = plan.is_converged() && failure.is_none() && !s.deleting;
    let error = (status == DeploymentStatus::Failed).then(|| error_text(plan, failure));
    let names = Names::of(input);
    let has = |name: &str| {
        snapshot
            .secret(name)
            .is_some_and(|r| r.state != SecretState::Pushing)
    };
    let write = StatusWrite {
        deployment_status: Some(status),
        deployment_error: Some(error.clone()),
        observed_generation: converged.then_some(agent.generation),
        worker_url: Some(
            input
                .world
                .worker_url(&names.worker)
                .filter(|_| s.live && !s.deleting),
        ),
        r2_token_id: None,
        has_anthropic_key: Some(has("ANTHROPIC_API_KEY")),
        has_openai_key: Some(has("OPENAI_API_KEY")),
    };
    let mut events = Vec::new();
    let mut event = |severity, reason, message: String| {
        events.push(NewEvent {
            severity,
            reason,
            object: format!("agent/{}", agent.name),
            message,
        });
    };
    if status == DeploymentStatus::Deployed
        && agent.status.deployment_status != DeploymentStatus::Deployed
    {
        event(
            Severity::Normal,
            EventReason::Deployed,
            format!("deployed, generation {}", agent.generation),
        );
    }
    let was_stalled = stored(snapshot, ConditionType::Stalled) == Some(Truth::True);
    if s.stalled && !was_stalled {
        event(
            Severity::Warning,
            EventReason::Stalled,
            error_text(plan, failure),
        );
    } else if was_stalled && !s.stalled {
        event(
            Severity::Normal,
            EventReason::Unstalled,
            "goes on".to_owned(),
        );
    }
    if let Some(held) = &plan.held
        && stored(snapshot, ConditionType::Held) != Some(Truth::True)
    {
        event(Severity::Warning, EventReason::Held, held.message.clone());
    }
    StatusReport {
        write,
        conditions: conditions(input, plan, failure, s, converged),
        events,
    }
}

fn stored(snapshot: &Snapshot, kind: ConditionType) -> Option<Truth> {
    snapshot
        .conditions
        .iter()
        .find(|c| c.condition.kind == kind)
        .map(|c| c.condition.status)
}

fn error_text(plan: &Plan, failure: Option<&PassFailure>) -> String {
    match (&plan.block, failure) {
        (Some(b), _) => format!("{}: {}", b.reason, b.message),
        (None, Some(f)) => format!("{}: {}", f.reason, f.message),
        (None, None) => "failing for too long; see talon why".to_owned(),
    }
}

fn conditions(
    input: &Input<'_>,
    plan: &Plan,
    failure: Option<&PassFailure>,
    s: Situation,
    converged: bool,
) -> Vec<Condition> {
    let agent = &input.snapshot.agent;
    let generation: Generation = agent.generation;
    let mut all = Vec::with_capacity(ConditionType::ALL.len());
    let mut say = |kind, status: Truth, reason, message: String| {
        all.push(Condition {
            kind,
            status,
            reason,
            message,
            observed_generation: generation,
        });
    };
    let quiet = String::new;
    let archived = agent.is_archived() || plan.archiving().is_some();
    let left = input
        .snapshot
        .resources
        .iter()
        .any(|r| r.cleanup_result == Some(CleanupResult::Failed));

    match () {
        () if s.deleting => say(
            ConditionType::Ready,
            Truth::False,
            Reason::Deleting,
            quiet(),
        ),
        () if converged => say(
            ConditionType::Ready,
            Truth::True,
            Reason::Deployed,
            format!("generation {generation}"),
        ),
        () if precedence(s) == DeploymentStatus::Deployed => {
            say(
                ConditionType::Ready,
                Truth::False,
                Reason::OutOfDate,
                "an update has not arrived yet".to_owned(),
            );
        }
        () => say(
            ConditionType::Ready,
            Truth::False,
            Reason::NotDeployed,
            quiet(),
        ),
    }
    match (failure, &plan.block) {
        _ if archived => {
            let reason = if left {
                Reason::LeftOver
            } else {
                Reason::Deleted
            };
            say(ConditionType::Reconciling, Truth::False, reason, quiet());
        }
        (Some(f), _) if !f.stalled => say(
            ConditionType::Reconciling,
            Truth::True,
            Reason::BackingOff,
            f.message.clone(),
        ),
        (_, Some(b)) => say(
            ConditionType::Reconciling,
            Truth::False,
            b.reason,
            b.message.clone(),
        ),
        _ if s.deleting => say(
            ConditionType::Reconciling,
            Truth::True,
            Reason::Deleting,
            cleanup_text(input.snapshot),
        ),
        _ if converged || s.stalled || plan.held.is_some() => {
            say(
                ConditionType::Reconciling,
                Truth::False,
                Reason::Idle,
                quiet(),
            );
        }
        _ if plan.recheck_in.is_some() => {
            say(
                ConditionType::Reconciling,
                Truth::True,
                Reason::Unsettled,
                waits(plan),
            );
        }
        _ if !plan.needs.is_empty() => {
            say(
                ConditionType::Reconciling,
                Truth::True,
                Reason::AwaitingObservation,
                waits(plan),
            );
        }
        _ => say(
            ConditionType::Reconciling,
            Truth::True,
            Reason::InProgress,
            waits(plan),
        ),
    }
    match (
        failure.filter(|f| f.stalled),
        plan.block.as_ref().filter(|b| b.stalled),
    ) {
        (_, Some(b)) => say(
            ConditionType::Stalled,
            Truth::True,
            b.reason,
            format!("{}: {}", b.at, b.message),
        ),
        (Some(f), None) => say(
            ConditionType::Stalled,
            Truth::True,
            f.reason,
            f.message.clone(),
        ),
        (None, None) => say(
            ConditionType::Stalled,
            Truth::False,
            Reason::AsExpected,
            quiet(),
        ),
    }
    match &plan.held {
        Some(held) => say(
            ConditionType::Held,
            Truth::True,
            held.reason,
            held.message.clone(),
        ),
        None => say(
            ConditionType::Held,
            Truth::False,
            Reason::AsExpected,
            quiet(),
        ),
    }
    match failure.filter(|f| f.throttled) {
        Some(f) => say(
            ConditionType::Throttled,
            Truth::True,
            Reason::RateLimited,
            f.message.clone(),
        ),
        None => say(
            ConditionType::Throttled,
            Truth::False,
            Reason::AsExpected,
            quiet(),
        ),
    }
    let facts: &Facts = &plan.facts;
    let route = if facts.route {
        None
    } else {
        Some("its workers.dev address is off")
    };
    let (truth, reason, text) = known(&facts.worker, route);
    say(ConditionType::WorkerReady, truth, reason, text);
    let (truth, reason, text) = known(&facts.bucket, None);
    say(ConditionType::StorageReady, truth, reason, text);
    let (truth, reason, text) = known(&facts.token, None);
    say(ConditionType::TokenReady, truth, reason, text);
    let (truth, reason, text) = secrets_ready(input, plan);
    say(ConditionType::SecretsReady, truth, reason, text);
    if facts.card {
        say(
            ConditionType::Registered,
            Truth::True,
            Reason::CardAccepted,
            quiet(),
        );
    } else {
        say(
            ConditionType::Registered,
            Truth::False,
            Reason::NotDeployed,
            quiet(),
        );
    }
    let (truth, reason, text) = hub_connected(input.snapshot);
    say(ConditionType::HubConnected, truth, reason, text);
    let drift = plan.opening.iter().find_map(|m| match m {
        Mutation::Event(e) if e.reason == EventReason::DriftDetected => Some(e.message.clone()),
        _ => None,
    });
    match drift {
        Some(message) => say(
            ConditionType::Drifted,
            Truth::True,
            Reason::OutOfDate,
            message,
        ),
        None => say(
            ConditionType::Drifted,
            Truth::False,
            Reason::AsExpected,
            quiet(),
        ),
    }
    all
}

fn waits(plan: &Plan) -> String {
    let texts: Vec<&str> = plan
        .verdicts
        .iter()
        .filter(|v| !matches!(v.action, crate::Action::Keep))
        .map(|v| v.why.as_str())
        .collect();
    texts.first().map(|t| (*t).to_owned()).unwrap_or_default()
}

fn cleanup_text(snapshot: &Snapshot) -> String {
    let done = snapshot
        .resources
        .iter()
        .filter(|r| r.cleanup_result.is_some_and(|c| c != CleanupResult::Failed))
        .count();
    let failed: Vec<&str> = snapshot
        .resources
        .iter()
        .filter(|r| r.cleanup_result == Some(CleanupResult::Failed))
        .map(|r| r.kind.as_str())
        .collect();
    let total = snapshot.resources.len();
    if failed.is_empty() {
        format!("{done} of {total} cleaned")
    } else {
        format!("{done} of {total} cleaned, retrying {}", failed.join(", "))
    }
}

fn known<T>(known: &Known<T>, lacking: Option<&str>) -> (Truth, Reason, String) {
    match (known, lacking) {
        (Known::Present(_), None) => (Truth::True, Reason::Provisioned, String::new()),
        (Known::Present(_), Some(text)) => (Truth::False, Reason::InProgress, text.to_owned()),
        (Known::Absent, _) => (Truth::False, Reason::NotDeployed, String::new()),
        (Known::Vanished, _) => (
            Truth::False,
            Reason::Missing,
            "deleted outside Talon".to_owned(),
        ),
        (Known::Foreign(name), _) => (
            Truth::False,
            Reason::NameConflict,
            format!("{name} is not ours"),
        ),
        (Known::Unknown(u), _) => (Truth::Unknown, Reason::Unsettled, u.why.clone()),
    }
}
