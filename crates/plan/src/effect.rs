//! What is written to the database around each step: the intent before it, the record after it.
//!
//! Guarantees: before a call the record says `unknown` (or an equivalent), so that a crash at any instant is found by
//! the next pass; a definite answer, good or bad, always replaces it; a lost answer never does.

mod failed;

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::cloud::WorkerVersion;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{
    Cleanup, Intent, Mutation, Outcome, ResourceWrite, SecretWrite, StatusWrite,
};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};
use talon_core::{Snapshot, TryId};

pub use failed::failed;

use crate::converge::after_push;
use crate::desired::STUB_CODE;
use crate::step::{StepKind, Supply, SupplySource, brings_auth_token};

/// What stays the same while a step is executed.
#[derive(Debug, Clone)]
pub struct StepCx<'a> {
    /// As loaded before the plan was made.
    pub snapshot: &'a Snapshot,
    /// The try this step makes, if it writes to the Worker.
    pub try_id: &'a TryId,
    /// SHA-256 of the auth token it brings, if it brings one.
    pub auth_sha256: Option<&'a str>,
    /// Name of the agent's R2 token.
    pub token_name: &'a str,
    /// How long its request may still land after being sent.
    pub settle: Duration,
    /// Cloudflare's clock, where an answer has told it; as of the answer, once there is one.
    pub cloud_now: Option<DateTime<Utc>>,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing worth noting.
    Done,
    /// It was not there (deletions).
    WasAbsent,
    /// A token was made.
    Token {
        /// Its id.
        id: String,
    },
    /// The Worker was written to.
    Version(WorkerVersion),
    /// Objects were removed.
    Emptied {
        /// How many.
        removed: u64,
        /// Whether none is left.
        empty: bool,
    },
}

/// A bad answer, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For people; parsed, cut, redacted.
    pub message: String,
    /// Whether the call may have been carried out, or may yet be.
    pub ambiguous: bool,
    /// Whether it was put off rather than tried.
    pub throttled: bool,
    /// Whether Cloudflare says that the thing acted upon is not there.
    pub not_found: bool,
    /// Whether a thing of this name is there already.
    pub exists: bool,
    /// Whether the state of things forbids it: the newest version of the Worker is not the one that serves.
    pub conflict: bool,
}

fn write(kind: ResourceKind, name: &str, state: ResourceState) -> ResourceWrite {
    ResourceWrite::new(kind, name, state)
}

fn present(kind: ResourceKind, name: &str) -> ResourceWrite {
    ResourceWrite {
        outcome: Some(Outcome::Ok),
        intent: Some(Intent::Settled),
        confirmed: true,
        ..write(kind, name, ResourceState::Present)
    }
}

fn event(
    severity: Severity,
    reason: EventReason,
    kind: ResourceKind,
    name: &str,
    message: impl Into<String>,
) -> Mutation {
    Mutation::Event(NewEvent {
        severity,
        reason,
        object: format!("{kind}/{name}"),
        message: message.into(),
    })
}

fn normal(
    reason: EventReason,
    kind: ResourceKind,
    name: &str,
    message: impl Into<String>,
) -> Mutation {
    event(Severity::Normal, reason, kind, name, message)
}

/// Which record a step writes: its kind and name.
fn subject(step: &StepKind, snapshot: &Snapshot) -> (ResourceKind, String) {
    let kind = step.resource();
    let name = match step {
        StepKind::CreateBucket(b) => b.name.clone(),
        StepKind::EmptyBucket(b) | StepKind::DeleteBucket(b) => b.name.clone(),
        StepKind::CreateToken(t) => t.name.clone(),
        StepKind::RollToken { name, .. } | StepKind::DeleteToken { name, .. } => name.clone(),
        StepKind::DropToken { id } => id.clone(),
        StepKind::Upload(u) => u.worker.clone(),
        StepKind::UploadStub { worker }
        | StepKind::EnableRoute { worker }
        | StepKind::PushSecrets { worker, .. }
        | StepKind::DeleteWorker { worker } => worker.clone(),
        StepKind::RegisterCard(_) | StepKind::DeregisterCard => {
            format!("ws-agent://{}", snapshot.agent.name)
        }
        StepKind::Record(_) => String::new(),
    };
    (kind, name)
}

/// Written before the call. Empty for steps that need no intent because repeating them is harmless and leaves nothing.
pub fn intent(step: &StepKind, cx: &StepCx<'_>) -> Vec<Mutation> {
    let (kind, name) = subject(step, cx.snapshot);
    let open = Some(Intent::Open {
        settle_in: cx.settle,
    });
    match step {
        StepKind::Record(_) | StepKind::DropToken { .. } | StepKind::RegisterCard(_) => Vec::new(),
        // A bucket that vanished keeps its record, and with it the intent that makes it ours, should it be there after
        // all: making it again is idempotent.
        StepKind::CreateBucket(_) if bucket_was_there(cx.snapshot) => Vec::new(),
        StepKind::CreateBucket(_) => vec![Mutation::Resource(ResourceWrite {
            intent: open,
            observed_hash: ours_since(cx),
            ..write(kind, &name, ResourceState::Unknown)
        })],
        StepKind::EnableRoute { .. } => {
            vec![Mutation::Resource(ResourceWrite {
                intent: open,
                ..write(kind, &name, ResourceState::Unknown)
            })]
        }
        // The id of one that is gone must not hide the new one, should its answer be lost.
        StepKind::CreateToken(_) => vec![Mutation::Resource(ResourceWrite {
            external_id: Some(None),
            intent: open,
            ..write(kind, &name, ResourceState::Unknown)
        })],
        StepKind::RollToken { .. } => vec![Mutation::Resource(ResourceWrite {
            intent: open,
            ..write(kind, &name, ResourceState::ValueUnplaced)
        })],
        StepKind::Upload(upload) => {
            let mut writes = vec![open_try(&name, cx)];
            if upload.fresh {
                writes.push(no_address(&name));
            }
            writes.extend(candidate(&upload.supply, cx));
            writes.extend(secret_writes(&upload.supply, SecretState::Pushing));
            writes
        }
        StepKind::UploadStub { .. } => vec![open_try(&name, cx), no_address(&name)],
        StepKind::PushSecrets { set, .. } => {
            let mut writes = vec![Mutation::Resource(ResourceWrite {
                intent: open,
                ..write(kind, &name, ResourceState::Present)
            })];
            writes.extend(candidate(set, cx));
            writes.extend(secret_writes(set, SecretState::Pushing));
            writes.extend(set.iter().filter_map(|s| doubtful(s, cx)));
            writes
        }
        StepKind::DeleteWorker { .. }
        | StepKind::EmptyBucket(_)
        | StepKind::DeleteBucket(_)
        | StepKind::DeleteToken { .. }
        | StepKind::DeregisterCard => Vec::new(),
    }
}

fn open_try(name: &str, cx: &StepCx<'_>) -> Mutation {
    Mutation::Resource(ResourceWrite {
        try_id: Some(cx.try_id.clone()),
        intent: Some(Intent::Open {
            settle_in: cx.settle,
        }),
        ..write(ResourceKind::Worker, name, ResourceState::Unknown)
    })
}

/// Not after the answer only: it may get lost, and a new Worker has no address.
fn no_address(name: &str) -> Mutation {
    let (kind, state) = (ResourceKind::WorkerRoute, ResourceState::Absent);
    Mutation::Resource(write(kind, name, state))
}

/// A key that is handed in while an earlier, different value of it may still arrive: if this answer is lost as well,
/// nobody can tell which of them is there.
fn doubtful(supply: &Supply, cx: &StepCx<'_>) -> Option<Mutation> {
    let SupplySource::WriteThrough { .. } = supply.source else {
        return None;
    };
    let earlier = cx.snapshot.secret(&supply.name)?;
    let open = earlier.state == SecretState::Pushing && earlier.fingerprint != supply.fingerprint;
    open.then(|| {
        Mutation::Secret(SecretWrite {
            fingerprint: None,
            ..secret_write(supply, SecretState::Pushing)
        })
    })
}

fn candidate(supply: &[Supply], cx: &StepCx<'_>) -> Option<Mutation> {
    let sha256 = cx.auth_sha256.filter(|_| brings_auth_token(supply))?;
    Some(Mutation::AuthTokenCandidate {
        try_id: cx.try_id.clone(),
        sha256: sha256.to_owned(),
    })
}

fn secret_writes(supply: &[Supply], state: SecretState) -> Vec<Mutation> {
    supply
        .iter()
        .map(|s| Mutation::Secret(secret_write(s, state)))
        .collect()
}

fn secret_write(supply: &Supply, state: SecretState) -> SecretWrite {
    let (source, provider, reference) = match &supply.source {
        SupplySource::Reference {
            provider,
            reference,
        } => (
            SecretSource::Reference,
            Some(provider.clone()),
            Some(reference.0.clone()),
        ),
        SupplySource::WriteThrough { provider } => {
            (SecretSource::WriteThrough, Some(provider.clone()), None)
        }
        SupplySource::Text(_)
        | SupplySource::ControlToken
        | SupplySource::AuthToken
        | SupplySource::R2AccessKeyId
        | SupplySource::R2SecretAccessKey => (SecretSource::Generated, None, None),
    };
    SecretWrite {
        name: supply.name.clone(),
        provider,
        source,
        reference,
        state,
        fingerprint: supply.fingerprint.clone(),
    }
}

/// Written after a good answer.
pub fn done(step: &StepKind, answer: &Answer, cx: &StepCx<'_>) -> Vec<Mutation> {
    let (kind, name) = subject(step, cx.snapshot);
    match step {
        StepKind::Record(mutations) => mutations.clone(),
        StepKind::CreateBucket(_) => {
            vec![
                Mutation::Resource(present(kind, &name)),
                normal(EventReason::Created, kind, &name, "created"),
            ]
        }
        StepKind::CreateToken(_) => {
            let Answer::Token { id } = answer else {
                return Vec::new();
            };
            vec![
                Mutation::Resource(ResourceWrite {
                    state: ResourceState::ValueUnplaced,
                    external_id: Some(Some(id.clone())),
                    ..present(kind, &name)
                }),
                Mutation::Status(StatusWrite {
                    r2_token_id: Some(Some(id.clone())),
                    ..StatusWrite::default()
                }),
                normal(
                    EventReason::Created,
                    kind,
                    &name,
                    format!("created, id {id}"),
                ),
            ]
        }
        StepKind::RollToken { .. } => vec![
            Mutation::Resource(ResourceWrite {
                state: ResourceState::ValueUnplaced,
                ..present(kind, &name)
            }),
            normal(EventReason::TokenRolled, kind, &name, "got a new value"),
        ],
        StepKind::DropToken { id } => {
            // A list from before this must not have it removed again.
            let noted = cx.snapshot.resource(kind).map(|r| {
                Mutation::Resource(ResourceWrite {
                    confirmed: true,
                    ..write(kind, &r.name, r.state)
                })
            });
            let text = "removed: a second token of our name";
            noted
                .into_iter()
                .chain([normal(EventReason::CleanedUp, kind, id, text)])
                .collect()
        }
        StepKind::Upload(upload) => {
            let mut writes = vec![uploaded(&name, &upload.code, answer, cx)];
            writes.extend(placed(&upload.supply, cx));
            writes.push(normal(
                EventReason::Uploaded,
                kind,
                &name,
                format!("uploaded, code {}", upload.code),
            ));
            writes
        }
        StepKind::UploadStub { .. } => vec![
            uploaded(&name, STUB_CODE, answer, cx),
            normal(
                EventReason::Created,
                kind,
                &name,
                "made to hold keys until the agent is deployed",
            ),
        ],
        StepKind::PushSecrets { set, unset, .. } => {
            let mut writes = vec![Mutation::Resource(ResourceWrite {
                observed_hash: Some(after_push(cx.snapshot, cx.cloud_now)),
                version_id: Some(version_of(answer).version_id.clone()),
                ..present(kind, &name)
            })];
            writes.extend(placed(set, cx));
            writes.extend(
                unset
                    .iter()
                    .map(|n| Mutation::SecretGone { name: n.clone() }),
            );
            let names: Vec<&str> = set
                .iter()
                .map(|s| s.name.as_str())
                .chain(unset.iter().map(String::as_str))
                .collect();
            writes.push(normal(
                EventReason::SecretsPushed,
                kind,
                &name,
                format!("pushed {}", names.join(", ")),
            ));
            writes
        }
        StepKind::EnableRoute { .. } => vec![Mutation::Resource(present(kind, &name))],
        StepKind::RegisterCard(card) => vec![
            Mutation::Resource(ResourceWrite {
                desired_hash: Some(card.hash()),
                ..present(kind, &name)
            }),
            normal(EventReason::Registered, kind, &name, "card accepted"),
        ],
        StepKind::EmptyBucket(_) => match answer {
            Answer::Emptied {
                removed,
                empty: false,
            } => vec![
                Mutation::Resource(write(kind, &name, ResourceState::Present)),
                normal(
                    EventReason::CleanedUp,
                    kind,
                    &name,
                    format!("{removed} objects removed, more are left"),
                ),
            ],
            Answer::Emptied {
                removed,
                empty: true,
            } => {
                let mut writes = cleaned(kind, &name, CleanupResult::Deleted);
                if *removed > 0 {
                    let text = format!("{removed} objects removed, none is left");
                    writes.push(normal(EventReason::CleanedUp, kind, &name, text));
                }
                writes
            }
            Answer::Done | Answer::WasAbsent | Answer::Token { .. } | Answer::Version(_) => {
                cleaned(kind, &name, CleanupResult::AlreadyAbsent)
            }
        },
        StepKind::DeleteWorker { .. }
        | StepKind::DeleteBucket(_)
        | StepKind::DeleteToken { .. }
        | StepKind::DeregisterCard => {
            let absent = *answer == Answer::WasAbsent;
            let previous = cx.snapshot.resource(kind).and_then(|r| r.cleanup_result);
            let result = if absent && previous == Some(CleanupResult::Deleted) {
                // An old list showed it once more: we have removed it all the same.
                CleanupResult::Deleted
            } else if absent {
                CleanupResult::AlreadyAbsent
            } else {
                CleanupResult::Deleted
            };
            let mut writes = cleaned(kind, &name, result);
            if kind == ResourceKind::Worker {
                writes.extend(cleaned(ResourceKind::WorkerRoute, &name, result));
                writes.extend(cx.snapshot.secrets.iter().map(|s| Mutation::SecretGone {
                    name: s.name.clone(),
                }));
            }
            let text = if absent {
                "was already gone"
            } else {
                "deleted"
            };
            writes.push(normal(EventReason::CleanedUp, kind, &name, text));
            writes
        }
    }
}

fn uploaded(name: &str, code: &str, answer: &Answer, cx: &StepCx<'_>) -> Mutation {
    let version = version_of(answer);
    Mutation::Resource(ResourceWrite {
        external_id: version.script_tag.map(Some),
        try_id: Some(cx.try_id.clone()),
        desired_hash: Some(code.to_owned()),
        observed_hash: Some(None),
        version_id: Some(version.version_id),
        ..present(ResourceKind::Worker, name)
    })
}

fn version_of(answer: &Answer) -> WorkerVersion {
    match answer {
        Answer::Version(v) => v.clone(),
        Answer::Done | Answer::WasAbsent | Answer::Token { .. } | Answer::Emptied { .. } => {
            WorkerVersion::default()
        }
    }
}

/// Intent and settle time stay: a request of before may still land, and the last look waits for it.
fn cleaned(kind: ResourceKind, name: &str, result: CleanupResult) -> Vec<Mutation> {
    vec![Mutation::Resource(ResourceWrite {
        outcome: Some(Outcome::Ok),
        confirmed: true,
        cleanup: Some(Cleanup {
            result,
            error: None,
        }),
        ..write(kind, name, ResourceState::Absent)
    })]
}

/// The supplied secrets are on the Worker: the records of secrets, auth token and R2 token follow.
fn placed(supply: &[Supply], cx: &StepCx<'_>) -> Vec<Mutation> {
    let mut writes = secret_writes(supply, SecretState::Pushed);
    if brings_auth_token(supply) {
        writes.push(Mutation::AuthTokenState {
            try_id: cx.try_id.clone(),
            state: AuthTokenState::Current,
        });
        let others = cx
            .snapshot
            .auth_tokens
            .iter()
            .filter(|t| t.state == AuthTokenState::Candidate && t.try_id != *cx.try_id);
        writes.extend(others.map(|t| Mutation::AuthTokenState {
            try_id: t.try_id.clone(),
            state: AuthTokenState::Retired,
        }));
    }
    if supply
        .iter()
        .any(|s| s.source == SupplySource::R2SecretAccessKey)
    {
        writes.push(Mutation::Resource(present(
            ResourceKind::R2Token,
            cx.token_name,
        )));
    }
    writes
}

/// When the intent is written on Cloudflare's clock, which stamps buckets: the database's may be hours off. Left alone
/// while an earlier intent is open: what that one makes is ours as well.
fn ours_since(cx: &StepCx<'_>) -> Option<Option<String>> {
    let open = (cx.snapshot.resource(ResourceKind::R2Bucket))
        .is_some_and(|r| r.state == ResourceState::Unknown && r.intent_at.is_some());
    (!open).then(|| cx.cloud_now.map(|now| now.to_rfc3339()))
}

fn bucket_was_there(snapshot: &Snapshot) -> bool {
    let record = snapshot.resource(ResourceKind::R2Bucket);
    record.is_some_and(|r| r.state == ResourceState::Present && r.intent_at.is_some())
}
