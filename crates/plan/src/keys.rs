//! What is to be done for a key that was handed in over HTTP, for one that is taken away, and for a new auth token: by the
//! handler itself, under the row's lease, at once or not at all.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::mutation::{Mutation, SecretWrite};
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};
use talon_core::secret::{Provider, names as secret_names};
use talon_core::snapshot::{SecretRecord, SecretSource, SecretState};

use crate::desired::{Names, STUB_CODE};
use crate::input::{HeldScope, Input};
use crate::know::{self, Facts, Known};
use crate::step::{Plan, Step, StepKind, Supply, SupplySource};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// These keys are to be on the Worker.
    Set(Vec<NewKey>),
    /// This one is not.
    Unset(String),
    /// Another auth token is.
    RotateAuth,
}

/// A key that was handed in; its value is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Name on the Worker.
    pub name: String,
    /// Whose key it is.
    pub provider: String,
    /// Keyed hash of the value.
    pub fingerprint: String,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The state of the agent forbids it.
    Conflict(String),
    /// Something is still open; after so long it may be known.
    Busy(String, Duration),
    /// A look that began after this may tell (database clock).
    LookAfter(DateTime<Utc>),
}

/// What is to be done. Empty if there is nothing to do.
pub fn plan(input: &Input<'_>, ask: &Ask) -> Result<Plan, Refusal> {
    let names = Names::of(input);
    let facts = know::facts(input, &names);
    Handler {
        input,
        names,
        worker: input.snapshot.resource(ResourceKind::Worker),
        facts,
    }
    .plan(ask)
}

struct Handler<'a> {
    input: &'a Input<'a>,
    names: Names,
    worker: Option<&'a ResourceRecord>,
    facts: Facts,
}

impl Handler<'_> {
    fn plan(self, ask: &Ask) -> Result<Plan, Refusal> {
        self.may_act()?;
        let mut plan = match ask {
            Ask::Set(keys) => self.set(keys)?,
            Ask::Unset(name) => self.unset(name)?,
            Ask::RotateAuth => self.rotate()?,
        };
        plan.facts = self.facts;
        Ok(plan)
    }

    fn may_act(&self) -> Result<(), Refusal> {
        let agent = &self.input.snapshot.agent;
        if agent.is_deleting() || agent.is_archived() {
            return conflict("the agent is being deleted; it takes no keys any more");
        }
        if agent.spec.suspend {
            return conflict("the agent is suspended; resume it first (talon resume)");
        }
        match &self.input.world.held {
            Some(held) if held.scope == HeldScope::All => {
                conflict(&format!("effects are on hold: {}", held.message))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a Worker is there; an error where that cannot be told, or what is there is not ours.
    fn worker_is_there(&self) -> Result<bool, Refusal> {
        match &self.facts.worker {
            Known::Present(_) if self.open_upload() => Err(self.unsettled()),
            Known::Present(_) => Ok(true),
            Known::Absent | Known::Vanished => Ok(false),
            Known::Foreign(name) => conflict(&format!(
                "a Worker named {name} exists and is not ours; remove or rename it, Talon will not touch it"
            )),
            Known::Unknown(u) if u.look_after < self.input.snapshot.now => {
                Err(Refusal::LookAfter(u.look_after))
            }
            Known::Unknown(_) => Err(self.unsettled()),
        }
    }

    fn open_upload(&self) -> bool {
        self.worker
            .is_some_and(|r| r.state == ResourceState::Unknown)
    }

    fn unsettled(&self) -> Refusal {
        let until = self.worker.and_then(|r| r.settle_until);
        let wait = until.and_then(|t| (t - self.input.snapshot.now).to_std().ok());
        Refusal::Busy(
            "an earlier call to the agent's Worker had no answer yet and may still land".to_owned(),
            wait.unwrap_or_default()
                .clamp(Duration::from_secs(1), Duration::from_secs(10)),
        )
    }

    fn settling(&self) -> bool {
        let until = self.worker.and_then(|r| r.settle_until);
        until.is_some_and(|t| t > self.input.snapshot.now)
    }

    fn set(&self, keys: &[NewKey]) -> Result<Plan, Refusal> {
        let spec = &self.input.snapshot.agent.spec;
        if let Some((provider, _)) = spec
            .api_key_refs
            .iter()
            .find(|(p, _)| keys.iter().any(|k| k.name == p.secret_name()))
        {
            return conflict(&format!(
                "{} comes by the reference in api_key_refs.{provider}, which wins: change what the reference points at, or \
                 take the reference away first",
                provider.secret_name()
            ));
        }
        let there = self.worker_is_there()?;
        let same = |r: &SecretRecord| {
            let again = keys.iter().find(|k| k.name == r.name);
            again.is_some_and(|k| r.fingerprint.as_ref() == Some(&k.fingerprint))
        };
        // The same value once more does no harm in whatever order they land; another one could be undone.
        if there && self.settling() && self.open_keys().any(|r| !same(r)) {
            return Err(self.unsettled());
        }
        let supplies: Vec<Supply> = keys.iter().map(supply).collect();
        let mut plan = Plan::default();
        if !there {
            self.open_stub(keys, &mut plan)?;
        }
        let after = plan.steps.iter().map(|s| s.id).collect();
        plan.steps.push(Step {
            id: 1,
            kind: StepKind::PushSecrets {
                worker: self.names.worker.clone(),
                set: supplies,
                unset: Vec::new(),
            },
            after,
            rebuilds: false,
            why: "keys were handed in".to_owned(),
        });
        Ok(plan)
    }

    fn open_keys(&self) -> impl Iterator<Item = &SecretRecord> {
        self.input
            .snapshot
            .secrets
            .iter()
            .filter(|r| r.source == SecretSource::WriteThrough && r.state == SecretState::Pushing)
    }

    /// A Worker that holds the keys. What is written down with its intent: the keys are on their way, and whatever came
    /// over HTTP before is not on it.
    fn open_stub(&self, keys: &[NewKey], plan: &mut Plan) -> Result<(), Refusal> {
        let snapshot = self.input.snapshot;
        let before = snapshot.agent.status.first_deployed_at.is_some();
        if let Some(held) = self.input.world.held.as_ref().filter(|_| before) {
            return conflict(&format!(
                "the Worker is gone, and nothing is made again while effects are on hold: {}",
                held.message
            ));
        }
        plan.opening.push(Mutation::Names {
            worker: self.names.worker.clone(),
            bucket: self.names.bucket.clone(),
            account: self.input.world.account_id.clone(),
        });
        for record in &snapshot.secrets {
            let handed_in = keys.iter().any(|k| k.name == record.name);
            if record.source == SecretSource::WriteThrough && !handed_in {
                plan.opening.push(Mutation::Secret(SecretWrite {
                    state: SecretState::Pushing,
                    fingerprint: None,
                    ..as_recorded(record)
                }));
            }
        }
        plan.opening.extend(keys.iter().map(|k| {
            Mutation::Secret(SecretWrite {
                name: k.name.clone(),
                provider: Some(k.provider.clone()),
                source: SecretSource::WriteThrough,
                reference: None,
                state: SecretState::Pushing,
                fingerprint: Some(k.fingerprint.clone()),
            })
        }));
        plan.steps.push(Step {
            id: 0,
            kind: StepKind::UploadStub {
                worker: self.names.worker.clone(),
            },
            after: Vec::new(),
            rebuilds: before,
            why: "there is no Worker yet that could hold the keys".to_owned(),
        });
        Ok(())
    }

    fn unset(&self, name: &str) -> Result<Plan, Refusal> {
        let snapshot = self.input.snapshot;
        let Some(record) = snapshot.secret(name) else {
            return Ok(Plan::default());
        };
        let referenced = |p: &Provider| p.secret_name() == name;
        if snapshot.agent.spec.api_key_refs.keys().any(referenced) {
            return conflict(&format!(
                "{name} comes by a reference: take it out of api_key_refs, and the controller removes the key"
            ));
        }
        let mut plan = Plan::default();
        if !self.worker_is_there()? {
            let gone = Mutation::SecretGone {
                name: name.to_owned(),
            };
            plan.steps.push(Step {
                id: 0,
                kind: StepKind::Record(vec![gone]),
                after: Vec::new(),
                rebuilds: false,
                why: "it went with the Worker".to_owned(),
            });
            return Ok(plan);
        }
        if self.settling() && record.state == SecretState::Pushing {
            return Err(self.unsettled());
        }
        // From here on it is a secret that no row asks for: should the answer be lost, the controller goes on removing it.
        plan.opening.push(Mutation::Secret(SecretWrite {
            source: SecretSource::Reference,
            state: SecretState::Pushing,
            fingerprint: None,
            ..as_recorded(record)
        }));
        plan.steps.push(Step {
            id: 0,
            kind: StepKind::PushSecrets {
                worker: self.names.worker.clone(),
                set: Vec::new(),
                unset: vec![name.to_owned()],
            },
            after: Vec::new(),
            rebuilds: false,
            why: "the key was taken away".to_owned(),
        });
        Ok(plan)
    }

    fn rotate(&self) -> Result<Plan, Refusal> {
        let stub = |r: &ResourceRecord| r.desired_hash.as_deref() == Some(STUB_CODE);
        if !self.worker_is_there()? || self.worker.is_none_or(stub) {
            return conflict(
                "the agent has no live Worker yet; its auth token is made when it is deployed",
            );
        }
        if self.settling() {
            return Err(self.unsettled());
        }
        let mut plan = Plan::default();
        plan.steps.push(Step {
            id: 0,
            kind: StepKind::PushSecrets {
                worker: self.names.worker.clone(),
                set: vec![Supply {
                    name: secret_names::AUTH_TOKEN.to_owned(),
                    source: SupplySource::AuthToken,
                    fingerprint: None,
                }],
                unset: Vec::new(),
            },
            after: Vec::new(),
            rebuilds: false,
            why: "another auth token was asked for".to_owned(),
        });
        Ok(plan)
    }
}

fn conflict<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::Conflict(message.to_owned()))
}

fn supply(key: &NewKey) -> Supply {
    Supply {
        name: key.name.clone(),
        source: SupplySource::WriteThrough {
            provider: key.provider.clone(),
        },
        fingerprint: Some(key.fingerprint.clone()),
    }
}

/// The record as it stands, to be written again.
fn as_recorded(record: &SecretRecord) -> SecretWrite {
    SecretWrite {
        name: record.name.clone(),
        provider: record.provider.clone(),
        source: record.source,
        reference: record.reference.clone(),
        state: record.state,
        fingerprint: record.fingerprint.clone(),
    }
}

/// What goes back to what it was, when nothing was sent or nothing arrived: from the records before and after.
pub fn put_back(ask: &Ask, before: &Snapshot, after: &Snapshot) -> Vec<Mutation> {
    let names: Vec<&str> = match ask {
        Ask::Set(keys) => keys.iter().map(|k| k.name.as_str()).collect(),
        Ask::Unset(name) => vec![name],
        Ask::RotateAuth => Vec::new(),
    };
    names
        .into_iter()
        .filter(|name| after.secret(name) != before.secret(name))
        .map(|name| match before.secret(name) {
            Some(record) => Mutation::Secret(as_recorded(record)),
            None => Mutation::SecretGone {
                name: name.to_owned(),
            },
        })
        .collect()
}

/// What is known after such a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As it was asked for.
    Done,
    /// As it was before.
    AsBefore,
    /// Nobody can tell yet.
    Open,
}

/// What became of what was asked for, told from the records afterwards; `failed`: the call did not end well.
pub fn fate(ask: &Ask, after: &Snapshot, failed: bool) -> Fate {
    // Without an answer the call's intent is still open; a definite one, good or bad, has closed it.
    let open = after.resource(ResourceKind::Worker).is_some_and(|r| {
        r.state == ResourceState::Present && r.settle_until.is_some_and(|t| t > after.now)
    });
    let of = |name: &str, done: &dyn Fn(Option<&SecretRecord>) -> bool| {
        let record = after.secret(name);
        match record {
            _ if done(record) => Fate::Done,
            Some(r) if r.state == SecretState::Pushing && open => Fate::Open,
            Some(_) | None => Fate::AsBefore,
        }
    };
    match ask {
        Ask::Set(keys) => {
            let fates = keys.iter().map(|k| {
                of(&k.name, &|r| {
                    r.is_some_and(|r| {
                        r.state != SecretState::Pushing
                            && r.fingerprint.as_ref() == Some(&k.fingerprint)
                    })
                })
            });
            // One call for all: they share their fate.
            fates
                .reduce(|a, b| if a == b { a } else { Fate::Open })
                .unwrap_or(Fate::Done)
        }
        Ask::Unset(name) => of(name, &|r| r.is_none()),
        Ask::RotateAuth => of(secret_names::AUTH_TOKEN, &|_| !failed),
    }
}
