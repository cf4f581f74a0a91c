//! What is said of an agent by a pass that could not even look: what the row alone tells, and the failure.

use chrono::TimeDelta;
use talon_core::Snapshot;
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::status::DeploymentStatus;

use crate::input::Timing;
use crate::status::{PassFailure, failing_for};

/// The end of a pass that saw nothing. What was said of each resource stays; the status changes only where the table of
/// precedence needs no look: an agent that goes, and one that never came.
pub fn blind(snapshot: &Snapshot, timing: &Timing, failure: &PassFailure) -> Vec<Mutation> {
    let condition = |kind, so: bool, reason| {
        Mutation::Condition(Condition {
            kind,
            status: Truth::from(so),
            reason: if so { reason } else { Reason::AsExpected },
            message: if so {
                failure.message.clone()
            } else {
                String::new()
            },
            observed_generation: snapshot.agent.generation,
        })
    };
    let mut mutations = vec![
        condition(ConditionType::Reconciling, true, Reason::BackingOff),
        condition(ConditionType::Stalled, failure.stalled, failure.reason),
        condition(
            ConditionType::Throttled,
            failure.throttled,
            Reason::RateLimited,
        ),
    ];
    mutations.extend(status(snapshot, timing, failure).map(|(status, error)| {
        Mutation::Status(StatusWrite {
            deployment_status: Some(status),
            deployment_error: Some(error),
            ..StatusWrite::default()
        })
    }));
    mutations
}

fn status(
    snapshot: &Snapshot,
    timing: &Timing,
    failure: &PassFailure,
) -> Option<(DeploymentStatus, Option<String>)> {
    if snapshot.agent.is_deleting() {
        return Some((DeploymentStatus::Deleting, None));
    }
    let grace = TimeDelta::from_std(timing.failing_grace).unwrap_or(TimeDelta::MAX);
    let failing_long = failing_for(snapshot) > grace;
    let never = snapshot.agent.status.first_deployed_at.is_none();
    (never && (failure.stalled || failing_long)).then(|| {
        let error = format!("{}: {}", failure.reason, failure.message);
        (DeploymentStatus::Failed, Some(error))
    })
}
