//! Two stores, one random history: after every step both must say the same.
//!
//! Ids and times differ between stores and are compared as what they mean: which agent, and whether there is a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::contact::ContactWrite;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{
    Cleanup, Finish, Intent, Mutation, Outcome, Progress, ResourceWrite, SecretWrite, StatusWrite,
};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};
use talon_core::spec::{DeletionPolicy, Jurisdiction};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentSpec, Epoch, Generation, Owner};

use super::support::{LONG, name, spec, try_id};
use crate::{
    ApplyOptions, ApplyOutcome, Claim, EventFilter, HoldKind, ListFilter, Store, StoreError,
};

const NAMES: [&str; 3] = ["agent-one", "agent-two", "agent-three"];

/// Small seeded chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }
}

/// One step of a history; agents and claims are named by their number of birth, so that it means the same to both.
#[derive(Debug, Clone)]
enum Step {
    Apply(&'static str, Owner, Box<AgentSpec>, ApplyOptions),
    Delete(&'static str, bool),
    Reconcile(&'static str),
    Suspend(&'static str, bool),
    Claim(Duration),
    Renew(usize, i64),
    Release(usize, i64),
    Commit(usize, i64, Vec<Mutation>),
    Finish(usize, i64, Box<Finish>),
    Enqueue(usize),
    Event(Option<usize>, NewEvent),
    Correct(usize, ResourceKind, CleanupResult),
    Hold(HoldKind),
    ReleaseHold,
    Lease(&'static str, Duration),
}

fn random_spec(dice: &mut Dice) -> AgentSpec {
    let mut wanted = spec();
    if dice.one_in(4) {
        wanted.persona = "another".to_owned();
    }
    wanted.keep_alive = dice.one_in(2);
    wanted.deletion_protected = dice.one_in(8);
    if dice.one_in(4) {
        wanted.r2.jurisdiction = Jurisdiction::Eu;
    }
    if dice.one_in(6) {
        wanted.deletion_policy = DeletionPolicy::KeepBucket;
    }
    if dice.one_in(12) {
        wanted.model.clear();
    }
    wanted
}

fn random_mutation(dice: &mut Dice, seen: i64) -> Mutation {
    match dice.roll(13) {
        0 => Mutation::Latch {
            generation: Generation(seen),
        },
        1 => Mutation::Identity {
            markdown: dice.pick(&["a", "b"]).to_owned(),
            sha256: "s".to_owned(),
        },
        2 => Mutation::Names {
            worker: dice.pick(&["w1", "w2", "w3"]).to_owned(),
            bucket: dice.pick(&["b1", "b2", "b3"]).to_owned(),
            account: "a".to_owned(),
        },
        3 => Mutation::Status(StatusWrite {
            deployment_status: Some(dice.pick(&DeploymentStatus::ALL)),
            deployment_error: dice.pick(&[None, Some(None), Some(Some("e".to_owned()))]),
            observed_generation: dice.pick(&[None, Some(Generation(seen))]),
            r2_token_id: dice.pick(&[
                None,
                Some(None),
                Some(Some("t1".to_owned())),
                Some(Some("t2".to_owned())),
            ]),
            has_openai_key: dice.pick(&[None, Some(true), Some(false)]),
            ..Default::default()
        }),
        4 => Mutation::Condition(Condition {
            kind: dice.pick(&[ConditionType::Ready, ConditionType::Stalled]),
            status: dice.pick(&[Truth::True, Truth::False]),
            reason: dice.pick(&[Reason::Idle, Reason::InProgress]),
            message: String::new(),
            observed_generation: Generation(seen),
        }),
        5 => Mutation::AuthTokenCandidate {
            try_id: try_id(u128::from(dice.roll(3))),
            sha256: dice.pick(&["h1", "h2"]).to_owned(),
        },
        6 => Mutation::AuthTokenState {
            try_id: try_id(u128::from(dice.roll(4))),
            state: dice.pick(AuthTokenState::ALL),
        },
        7 => Mutation::Secret(SecretWrite {
            name: dice.pick(&["A", "B"]).to_owned(),
            provider: None,
            source: SecretSource::Generated,
            reference: None,
            state: dice.pick(SecretState::ALL),
            fingerprint: dice.pick(&[None, Some("f".to_owned())]),
        }),
        8 => Mutation::SecretGone {
            name: dice.pick(&["A", "B"]).to_owned(),
        },
        9 => Mutation::Archive,
        10 => Mutation::Contact(ContactWrite {
            mark: dice.pick(&["m1", "m2"]).to_owned(),
            tries: dice.roll(3) as i64,
            answered: dice.one_in(2),
            problem: dice.pick(&[None, Some("p".to_owned())]),
            repairs: 0,
            try_id: dice.pick(&[None, Some(try_id(1))]),
            runtime: None,
        }),
        _ => Mutation::Resource(random_resource(dice)),
    }
}

fn random_resource(dice: &mut Dice) -> ResourceWrite {
    let settle_in = Duration::from_secs(60);
    ResourceWrite {
        external_id: dice.pick(&[None, Some(None), Some(Some("x".to_owned()))]),
        try_id: dice.pick(&[None, Some(try_id(1))]),
        outcome: dice.pick(&[
            None,
            Some(Outcome::Ok),
            Some(Outcome::Failed("f".to_owned())),
        ]),
        intent: dice.pick(&[
            None,
            Some(Intent::Open { settle_in }),
            Some(Intent::Settled),
            Some(Intent::Cleared),
        ]),
        confirmed: dice.one_in(3),
        cleanup: dice
            .pick(&[
                None,
                Some(CleanupResult::Deleted),
                Some(CleanupResult::Failed),
            ])
            .map(|result| Cleanup {
                result,
                error: None,
            }),
        ..ResourceWrite::new(
            dice.pick(&[ResourceKind::Worker, ResourceKind::R2Bucket]),
            "n",
            dice.pick(ResourceState::ALL),
        )
    }
}

fn random_step(dice: &mut Dice, born: &[(i64, i64)]) -> Step {
    let agent = dice.pick(&NAMES);
    let nth = if born.is_empty() {
        0
    } else {
        dice.roll(born.len() as u64) as usize
    };
    // What a pass may have seen: the epoch and the generation as they are, or as they were.
    let (epoch, generation) = born.get(nth).copied().unwrap_or((0, 1));
    let epoch = epoch - i64::from(dice.one_in(6));
    let generation = (generation - i64::from(dice.one_in(4))).max(1);
    let mutations = |dice: &mut Dice| {
        (0..dice.roll(4))
            .map(|_| random_mutation(dice, generation))
            .collect::<Vec<_>>()
    };
    match dice.roll(18) {
        0..=3 => Step::Apply(
            agent,
            if dice.one_in(12) {
                Owner("other".to_owned())
            } else {
                Owner::default()
            },
            Box::new(random_spec(dice)),
            ApplyOptions {
                if_generation: dice.pick(&[None, None, None, Some(0), Some(generation)]),
                dry_run: dice.one_in(8),
                ..ApplyOptions::default()
            },
        ),
        4 => Step::Delete(agent, dice.one_in(3)),
        5 => Step::Reconcile(agent),
        6 => Step::Suspend(agent, dice.one_in(2)),
        7..=8 => Step::Claim(if dice.one_in(3) { Duration::ZERO } else { LONG }),
        9 => Step::Renew(nth, epoch),
        10 => Step::Release(nth, epoch),
        11..=12 => {
            let mutations = mutations(dice);
            Step::Commit(nth, epoch, mutations)
        }
        13..=14 => {
            let mutations = mutations(dice);
            Step::Finish(
                nth,
                epoch,
                Box::new(Finish {
                    mutations,
                    loaded_generation: Generation(generation),
                    loaded_reconcile_requested_at: None,
                    loaded_hold: None,
                    next_due_in: dice.pick(&[None, Some(Duration::ZERO), Some(LONG)]),
                    progress: dice.pick(&[
                        Progress::Ok,
                        Progress::Failed,
                        Progress::Waiting,
                        Progress::Throttled { seconds: 7 },
                    ]),
                    plan_report: dice.pick(&[None, Some(Value::from(1)), Some(Value::from("x"))]),
                }),
            )
        }
        15 => Step::Enqueue(nth),
        16 => match dice.roll(3) {
            0 => Step::Correct(
                nth,
                ResourceKind::R2Bucket,
                dice.pick(&[
                    CleanupResult::Deleted,
                    CleanupResult::AlreadyAbsent,
                    CleanupResult::Failed,
                ]),
            ),
            kind => Step::Event(
                (kind == 1).then_some(nth),
                NewEvent {
                    severity: Severity::Normal,
                    reason: EventReason::Deployed,
                    object: "o".to_owned(),
                    message: dice.pick(&["m", "n"]).to_owned(),
                },
            ),
        },
        _ => match dice.roll(4) {
            0 => Step::Hold(dice.pick(&[HoldKind::Operator, HoldKind::MassChange])),
            1 => Step::ReleaseHold,
            _ => Step::Lease(dice.pick(&["a", "b"]), dice.pick(&[Duration::ZERO, LONG])),
        },
    }
}

/// One of the two stores, and the agents it has given birth to.
struct Side {
    store: Arc<dyn Store>,
    born: Vec<AgentId>,
}

impl Side {
    fn claim(&self, nth: usize, epoch: i64) -> Claim {
        Claim {
            agent_id: self.id(nth),
            epoch: Epoch(epoch),
        }
    }

    fn id(&self, nth: usize) -> AgentId {
        self.born
            .get(nth)
            .copied()
            .unwrap_or(AgentId(uuid::Uuid::nil()))
    }

    fn nth(&self, id: AgentId) -> String {
        let nth = self.born.iter().position(|b| *b == id);
        nth.map_or_else(|| "nobody".to_owned(), |nth| format!("#{nth}"))
    }

    /// Takes the step; what the store said, in words that mean the same to both.
    async fn take(&mut self, step: &Step) -> String {
        let store = self.store.clone();
        match step {
            Step::Apply(agent, owner, spec, options) => {
                let result = store.apply(&name(agent), owner, spec, *options).await;
                if let Ok(applied) = &result
                    && applied.outcome == ApplyOutcome::Created
                    && !options.dry_run
                {
                    self.born.push(applied.id);
                }
                said(result.map(|a| (a.outcome, a.generation)))
            }
            Step::Delete(agent, keep) => said(store.request_deletion(&name(agent), *keep).await),
            Step::Reconcile(agent) => said(store.request_reconcile(&name(agent)).await),
            Step::Suspend(agent, suspend) => said(store.set_suspend(&name(agent), *suspend).await),
            Step::Claim(lease) => {
                said(store.claim_due("holder", *lease, 100).await.map(|claims| {
                    let mut claims: Vec<_> = claims
                        .iter()
                        .map(|c| (self.nth(c.agent_id), c.epoch))
                        .collect();
                    claims.sort();
                    claims
                }))
            }
            Step::Renew(nth, epoch) => {
                let lost = store.renew(&[self.claim(*nth, *epoch)], LONG).await;
                said(lost.map(|lost| lost.len()))
            }
            Step::Release(nth, epoch) => said(store.release(&self.claim(*nth, *epoch)).await),
            Step::Commit(nth, epoch, mutations) => {
                said(store.commit(&self.claim(*nth, *epoch), mutations).await)
            }
            Step::Finish(nth, epoch, finish) => {
                said(store.finish(&self.claim(*nth, *epoch), finish).await)
            }
            Step::Enqueue(nth) => said(store.enqueue(&[self.id(*nth)]).await),
            Step::Event(agent, event) => {
                // An event of an agent that was never born would be refused by a database's foreign key.
                let agent = agent
                    .map(|nth| self.id(nth))
                    .filter(|id| self.born.contains(id));
                said(store.record_event(agent, event).await)
            }
            Step::Correct(nth, kind, result) => said(
                store
                    .correct_cleanup(self.id(*nth), *kind, *result, Some("c"))
                    .await,
            ),
            Step::Hold(kind) => said(store.set_hold(*kind, "r").await),
            Step::ReleaseHold => said(store.release_hold().await.map(|h| h.map(|h| h.kind))),
            Step::Lease(holder, ttl) => said(store.try_lease("sweep", holder, *ttl).await),
        }
    }

    /// Everything that can be read, without ids and times.
    async fn state(&self) -> Vec<String> {
        let all = ListFilter {
            include_archived: true,
            ..Default::default()
        };
        let mut lines = Vec::new();
        for snapshot in self.store.list(&all).await.expect("listed") {
            let nth = self.nth(snapshot.agent.id);
            let mut value = serde_json::to_value(snapshot).expect("JSON");
            blur(&mut value);
            lines.push(format!("{nth} {value}"));
        }
        let mut events: Vec<_> = self
            .store
            .events(&EventFilter::default())
            .await
            .expect("events")
            .into_iter()
            .map(|e| format!("event {} {} x{}", e.agent, e.event.message, e.count))
            .collect();
        events.sort();
        lines.extend(events);
        let mut feed: Vec<_> = self
            .store
            .changes_after(0, 100_000)
            .await
            .expect("feed")
            .into_iter()
            .map(|c| format!("{:?} of {}", c.kind, self.nth(c.agent_id)))
            .collect();
        // How many entries one commit makes is the store's own affair.
        feed.dedup();
        lines.push(feed.join(", "));
        let mut left: Vec<_> = self
            .store
            .leftovers()
            .await
            .expect("leftovers")
            .into_iter()
            .map(|l| {
                format!(
                    "left {} {} {} {:?}",
                    l.agent,
                    l.kind,
                    l.jurisdiction.as_str(),
                    l.error
                )
            })
            .collect();
        left.sort();
        lines.extend(left);
        let due = self.store.next_due_in().await.expect("next due");
        lines.push(format!("due {:?}", due.map(|d| d > LONG / 2)));
        lines
    }
}

/// Ids go, times become whether there is one.
fn blur(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("id");
            for (key, value) in map.iter_mut() {
                let time = key == "now"
                    || ["_at", "_until", "_since"]
                        .iter()
                        .any(|end| key.ends_with(end));
                if time && !value.is_null() {
                    *value = Value::from("a time");
                } else {
                    blur(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blur),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Rejected { code, .. }) => code,
        Err(other) => other.to_string(),
    }
}

/// Runs a random history of so many steps on both stores (fresh and empty) and panics, with the seed and the step, where
/// they differ.
pub async fn agree(one: Arc<dyn Store>, other: Arc<dyn Store>, seed: u64, steps: usize) {
    let mut dice = Dice(seed | 1);
    let mut sides = [one, other].map(|store| Side {
        store,
        born: Vec::new(),
    });
    let mut history: BTreeMap<usize, String> = BTreeMap::new();
    for at in 0..steps {
        let mut born = Vec::new();
        for id in &sides[0].born {
            let snapshot = sides[0]
                .store
                .load(*id)
                .await
                .expect("loaded")
                .expect("a row");
            born.push((snapshot.work.lease_epoch.0, snapshot.agent.generation.0));
        }
        let step = random_step(&mut dice, &born);
        let mut answers = Vec::new();
        for side in &mut sides {
            answers.push((side.take(&step).await, side.state().await));
        }
        history.insert(at, format!("{step:?} -> {}", answers[0].0));
        if answers[0] != answers[1] {
            let before: Vec<_> = history.values().rev().take(12).rev().cloned().collect();
            let only = |a: &[String], b: &[String]| {
                let lines: Vec<_> = a.iter().filter(|line| !b.contains(line)).cloned().collect();
                lines.join("\n")
            };
            panic!(
                "seed {seed}, step {at}: the stores differ\n{}\n\none said {}\n{}\n\nthe other said {}\n{}",
                before.join("\n"),
                answers[0].0,
                only(&answers[0].1, &answers[1].1),
                answers[1].0,
                only(&answers[1].1, &answers[0].1)
            );
        }
    }
}
