//! What is written after a bad answer, or none.

use talon_core::event::{EventReason, Severity};
use talon_core::mutation::{Cleanup, Intent, Mutation, Outcome, ResourceWrite, SecretWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretRecord};

use super::{Failure, StepCx, bucket_was_there, event, subject, write};
use crate::converge::after_push;
use crate::step::{StepKind, Supply, brings_auth_token};

/// Written after a bad answer, or none. `attempts` of the Worker counts definite refusals of uploads only: after one,
/// the next upload supplies everything instead of inheriting.
pub fn failed(step: &StepKind, failure: &Failure, cx: &StepCx<'_>) -> Vec<Mutation> {
    let (kind, name) = subject(step, cx.snapshot);
    let previous = cx.snapshot.resource(kind);
    let mut writes = Vec::new();
    if !failure.throttled {
        let reason = if failure.ambiguous {
            EventReason::AnswerLost
        } else {
            EventReason::StepFailed
        };
        let reason = if step.destroys() {
            EventReason::CleanupFailed
        } else {
            reason
        };
        writes.push(event(
            Severity::Warning,
            reason,
            kind,
            &name,
            format!("{}: {}", step.name(), failure.message),
        ));
    }
    let outcome = (!failure.throttled).then(|| Outcome::Failed(failure.message.clone()));
    match step {
        StepKind::Record(_) | StepKind::DropToken { .. } => {}
        StepKind::CreateBucket(_)
        | StepKind::CreateToken(_)
        | StepKind::EnableRoute { .. }
        | StepKind::RegisterCard(_) => {
            let bucket = matches!(step, StepKind::CreateBucket(_));
            let (state, intent) = if bucket && bucket_was_there(cx.snapshot) {
                (ResourceState::Present, None)
            } else if failure.ambiguous || failure.exists {
                (ResourceState::Unknown, None)
            } else if kind == ResourceKind::WorkerRoute {
                // The record loaded before the plan may speak of an earlier Worker.
                (ResourceState::Absent, Some(Intent::Cleared))
            } else if bucket && previous.is_some_and(|r| r.state == ResourceState::Unknown) {
                // Made again without waiting for an earlier try, which may still land: without its intent the bucket would
                // be nobody's, and without its settle time a deletion would not wait for it.
                (ResourceState::Unknown, None)
            } else {
                (
                    previous.map_or(ResourceState::Absent, |r| r.state),
                    previous_intent(previous.map(|r| r.state)),
                )
            };
            writes.push(Mutation::Resource(ResourceWrite {
                outcome,
                intent,
                // "There already" is an answer: a list that shows nothing is older.
                confirmed: failure.exists,
                ..write(kind, &name, state)
            }));
        }
        StepKind::RollToken { .. } => {
            let state = if failure.not_found {
                ResourceState::Absent
            } else {
                ResourceState::ValueUnplaced
            };
            let external_id = failure.not_found.then_some(None);
            writes.push(Mutation::Resource(ResourceWrite {
                outcome,
                external_id,
                intent: (!failure.ambiguous).then_some(Intent::Settled),
                confirmed: failure.not_found,
                ..write(kind, &name, state)
            }));
        }
        StepKind::Upload(_) | StepKind::UploadStub { .. } => {
            if !failure.ambiguous {
                let state = previous.map_or(ResourceState::Absent, |r| r.state);
                writes.push(Mutation::Resource(ResourceWrite {
                    outcome,
                    try_id: previous.and_then(|r| r.try_id.clone()),
                    // An earlier try that is still open stays so; when this one was sent is kept, as what a list must be
                    // younger than to be asked again.
                    intent: (state != ResourceState::Unknown).then_some(Intent::Settled),
                    // With an earlier try still open, only a list from after this refusal can tell what is live.
                    confirmed: state == ResourceState::Unknown,
                    ..write(kind, &name, state)
                }));
                if let StepKind::Upload(upload) = step {
                    writes.extend(unplaced(&upload.supply, cx));
                }
            }
        }
        StepKind::PushSecrets { set, .. } => {
            if failure.ambiguous {
                writes.push(Mutation::Resource(ResourceWrite {
                    observed_hash: Some(after_push(cx.snapshot, None)),
                    ..write(kind, &name, ResourceState::Present)
                }));
            } else if failure.not_found {
                writes.push(Mutation::Resource(ResourceWrite {
                    intent: Some(Intent::Cleared),
                    confirmed: true,
                    ..write(kind, &name, ResourceState::Absent)
                }));
                writes.extend(unplaced(set, cx));
            } else {
                writes.push(Mutation::Resource(ResourceWrite {
                    intent: Some(Intent::Settled),
                    // Somebody's version stands before ours and lets no secret through, however often it is tried: what is
                    // there is not what was asked for, and only an upload ends that.
                    desired_hash: failure.conflict.then(String::new),
                    ..write(kind, &name, ResourceState::Present)
                }));
                writes.extend(unplaced(set, cx));
            }
        }
        StepKind::DeleteWorker { .. }
        | StepKind::EmptyBucket(_)
        | StepKind::DeleteBucket(_)
        | StepKind::DeleteToken { .. }
        | StepKind::DeregisterCard => {
            if !failure.throttled {
                let state = previous.map_or(ResourceState::Unknown, |r| r.state);
                writes.push(Mutation::Resource(ResourceWrite {
                    outcome,
                    cleanup: Some(Cleanup {
                        result: CleanupResult::Failed,
                        error: Some(failure.message.clone()),
                    }),
                    ..write(kind, &name, state)
                }));
            }
        }
    }
    writes
}

fn previous_intent(previous: Option<ResourceState>) -> Option<Intent> {
    Some(match previous.unwrap_or(ResourceState::Absent) {
        ResourceState::Absent | ResourceState::Unknown => Intent::Cleared,
        ResourceState::Present | ResourceState::ValueUnplaced => Intent::Settled,
    })
}

/// The supplied secrets definitely did not arrive: their records go back to what they were.
fn unplaced(supply: &[Supply], cx: &StepCx<'_>) -> Vec<Mutation> {
    let mut writes: Vec<Mutation> = supply
        .iter()
        .map(|s| match cx.snapshot.secret(&s.name) {
            Some(previous) => Mutation::Secret(as_it_was(previous)),
            None => Mutation::SecretGone {
                name: s.name.clone(),
            },
        })
        .collect();
    if brings_auth_token(supply) {
        writes.push(Mutation::AuthTokenState {
            try_id: cx.try_id.clone(),
            state: AuthTokenState::Retired,
        });
    }
    writes
}

fn as_it_was(previous: &SecretRecord) -> SecretWrite {
    SecretWrite {
        name: previous.name.clone(),
        provider: previous.provider.clone(),
        source: previous.source,
        reference: previous.reference.clone(),
        state: previous.state,
        fingerprint: previous.fingerprint.clone(),
    }
}
