//! One pass over one agent: load → observe → plan → execute, until nothing is left to do now, then finish.

pub(crate) mod knock;

use std::collections::BTreeSet;
use std::time::Duration;

use talon_core::Snapshot;
use talon_core::cloud::{CallClass, CallCx, WorkerSettings};
use talon_core::condition::Reason;
use talon_core::mutation::{Finish, Mutation, Progress};
use talon_plan::status::PassFailure;
use talon_plan::{Input, Need, Plan, World, report};
use talon_store::{StoreError, StoreResult};

use crate::backoff::RetryPolicy;
use crate::config::seconds;
use crate::execute::{Executor, Outcome};
use crate::failure::{self, Verdict};
use crate::lease::Lease;
use crate::observe::{Anchor, knows};
use crate::shared::{Seen, Shared};
use crate::tell;

/// How often a pass plans before it gives others their turn.
const ROUNDS: usize = 8;
/// How long a stalled agent is left alone; a change of its row wakes it at once.
const STALLED_RECHECK: Duration = Duration::from_secs(300);
/// How soon a pass comes back that used up its time slice: whoever is due by now goes first.
const NEXT_SLICE: Duration = Duration::from_millis(20);
/// How many passes in a row may run in circles before a person is asked.
const CIRCLES: i64 = 5;
/// How soon a pass comes back that used up its rounds.
const SOON: Duration = Duration::from_secs(1);

/// Why a pass did not get to see what it must see.
enum NotSeen {
    /// The daemon stops, or the lease is lost.
    Stopped,
    /// Cloudflare did not show it.
    Failed(Verdict),
}

/// A pass under way.
pub struct Pass<'a> {
    shared: &'a Shared,
    lease: &'a Lease,
    settings: Option<WorkerSettings>,
    secret_names: Option<BTreeSet<String>>,
    /// Whether the Worker itself was spoken to.
    knocked: bool,
    /// Whether as many Workers as may be were spoken to when this one's turn came.
    crowded: bool,
}

/// Runs one pass and finishes it. `Err` when the database fails or the lease is lost: then nothing more was written.
pub async fn run(shared: &Shared, lease: &Lease) -> StoreResult<()> {
    Pass {
        shared,
        lease,
        settings: None,
        secret_names: None,
        knocked: false,
        crowded: false,
    }
    .run()
    .await
}

impl Pass<'_> {
    async fn run(&mut self) -> StoreResult<()> {
        let Some(first) = self.shared.store.load(self.lease.claim.agent_id).await? else {
            return Err(StoreError::NotFound);
        };
        let begun = self.shared.clock.monotonic();
        let class = class_of(&first);
        let (generation, requested) = (first.agent.generation, first.agent.reconcile_requested_at);
        let mut world = match self.shared.world(class).await {
            Ok(world) => world,
            Err(verdict) => return self.finish_blind(&first, verdict).await,
        };
        let mut outcome = Outcome::default();
        let mut rounds = 0;
        let (seen, plan) = loop {
            rounds += 1;
            let seen = match self.look(&world).await? {
                Ok(seen) => seen,
                Err((snapshot, verdict)) => return self.finish_blind(&snapshot, verdict).await,
            };
            let plan = talon_plan::plan(&Input {
                snapshot: &seen.snapshot,
                observed: &seen.observed,
                world: &world,
            });
            let broken = talon_plan::lint(&plan);
            if !broken.is_empty() {
                let verdict = failure::internal(format!(
                    "the plan breaks its own rules: {}",
                    broken.join("; ")
                ));
                return self.finish_blind(&seen.snapshot, verdict).await;
            }
            let moved = seen.snapshot.agent.generation != generation;
            let over = outcome.failure.is_some()
                || outcome.interrupted
                || outcome.unfinished
                || rounds > ROUNDS;
            let ends = plan.archiving().is_some();
            if over || moved || ends || (plan.steps.is_empty() && plan.needs.is_empty()) {
                if !over && !moved && plan.is_converged() && self.latch(&seen.snapshot).await? {
                    continue;
                }
                if !moved && !outcome.interrupted && self.knock(&world, &seen, &plan).await? {
                    continue;
                }
                if over && self.others_wait(&seen, &plan, &outcome) {
                    // If it fails, the next pass looks once more.
                    let _ = self.meet(&plan, &seen, class).await;
                }
                break (seen, plan);
            }
            let rebuilds = plan.steps.iter().any(|s| s.rebuilds);
            if plan.steps.is_empty() || (rebuilds && !self.shared.seen_since(begun)) {
                let looked = if plan.steps.is_empty() {
                    self.meet(&plan, &seen, class).await
                } else {
                    // Making again what was there before rests on a look of this pass, never on an old one.
                    self.lists_after(begun, class).await
                };
                match looked {
                    Ok(()) => continue,
                    Err(NotSeen::Stopped) => outcome.interrupted = true,
                    Err(NotSeen::Failed(verdict)) => {
                        let verdict = verdict.redacted(&knows(&seen.values));
                        outcome.failure = Some(verdict.pass);
                        outcome.retry_after = verdict.retry_after;
                    }
                }
                break (seen, plan);
            }
            if world.held.is_none() && plan.steps.iter().any(|s| s.rebuilds || s.kind.destroys()) {
                // The look that shows a disaster to this pass is the one that puts the hold in force.
                world.held = self.shared.held().await?;
                if world.held.is_some() {
                    continue;
                }
            }
            self.settings = None;
            self.secret_names = None;
            let executor = Executor {
                store: self.shared.store.as_ref(),
                cloud: self.shared.cloud.as_ref(),
                registry: self.shared.registry.as_ref(),
                book: &self.shared.book,
                brake: &self.shared.brake,
                bundle: &self.shared.bundle,
                world: &world,
                clock: &self.shared.clock,
                random: self.shared.random.as_ref(),
                empty_slice: seconds(self.shared.config.empty_slice_seconds),
            };
            outcome = executor
                .run(self.lease, &seen.snapshot, plan, &seen.values, class)
                .await?;
            if let Some(failure) = &mut outcome.failure {
                // Cleanup never waits for a person: it goes on, and names what is left in the end.
                failure.stalled &= !seen.snapshot.agent.is_deleting();
            }
        };
        self.finish(
            &world,
            seen,
            plan,
            outcome,
            generation,
            requested,
            rounds > ROUNDS,
        )
        .await
    }

    /// Whether a step of a cleanup failed or was cut short while others wait for a look: it must not keep them from it.
    fn others_wait(&self, seen: &Seen, plan: &Plan, outcome: &Outcome) -> bool {
        let throttled = outcome.failure.as_ref().is_some_and(|f| f.throttled);
        seen.snapshot.agent.is_deleting()
            && !plan.needs.is_empty()
            && !throttled
            && !outcome.interrupted
    }

    /// Loads and observes. The inner error: Cloudflare or the Router could not be asked.
    async fn look(&mut self, world: &World) -> StoreResult<Result<Seen, (Box<Snapshot>, Verdict)>> {
        let shared = self.shared;
        let Some(snapshot) = shared.store.load(self.lease.claim.agent_id).await? else {
            return Err(StoreError::NotFound);
        };
        let anchor = Anchor {
            database: snapshot.now,
            monotonic: shared.clock.monotonic(),
        };
        shared.surveyor.want(snapshot.agent.spec.r2.jurisdiction);
        let class = class_of(&snapshot);
        let inventory = match shared.surveyor.latest() {
            Some(inventory)
                if inventory
                    .jurisdictions
                    .contains(&snapshot.agent.spec.r2.jurisdiction) =>
            {
                inventory
            }
            Some(_) | None => match shared.surveyor.newer_than(Duration::ZERO, class).await {
                Ok(inventory) => inventory,
                Err(e) => return Ok(Err((Box::new(snapshot), failure::of_cloud(&e)))),
            },
        };
        if let Some(error) = inventory.refused.get(&snapshot.agent.spec.r2.jurisdiction) {
            return Ok(Err((Box::new(snapshot), failure::of_cloud(error))));
        }
        let card = match shared.registry.lookup(snapshot.agent.id).await {
            Ok(card) => Some(card.map(|c| c.hash())),
            Err(e) => return Ok(Err((Box::new(snapshot), failure::of_registry(&e)))),
        };
        let settings = self.settings.take();
        let mut seen = shared
            .observe(world, snapshot, Some(&inventory), anchor, card, settings)
            .await;
        seen.observed.secret_names = self.secret_names.take();
        Ok(Ok(seen))
    }

    /// Looks at what the plan needs to see.
    async fn meet(&mut self, plan: &Plan, seen: &Seen, class: CallClass) -> Result<(), NotSeen> {
        let agent = &seen.snapshot.agent;
        let name = talon_core::name::worker_name(&self.shared.base.install, agent.id, &agent.name);
        let cx = CallCx {
            class,
            remaining: None,
        };
        for need in &plan.needs {
            match need {
                Need::ListsAfter(moment) => {
                    let after = seen.anchor.to_monotonic(*moment);
                    let newest = self
                        .shared
                        .surveyor
                        .latest()
                        .map_or(Duration::ZERO, |i| i.taken);
                    self.lists_after(after.max(newest), class).await?;
                }
                Need::Settings => {
                    let settings = self.shared.cloud.worker_settings(cx, &name).await;
                    let settings = settings.map_err(|e| NotSeen::Failed(failure::of_cloud(&e)))?;
                    self.settings = Some(settings);
                }
                Need::SecretNames => {
                    let names = self.shared.cloud.secret_names(cx, &name).await;
                    let names = names.map_err(|e| NotSeen::Failed(failure::of_cloud(&e)))?;
                    self.secret_names = Some(names.into_iter().collect());
                }
            }
        }
        Ok(())
    }

    /// Waits for lists that begin after this. They may be some seconds off, and whoever stops the daemon does not wait
    /// for them.
    async fn lists_after(&self, moment: Duration, class: CallClass) -> Result<(), NotSeen> {
        tokio::select! {
            biased;
            () = self.lease.stop.cancelled() => Err(NotSeen::Stopped),
            lists = self.shared.surveyor.newer_than(moment, class) => match lists {
                Ok(_) => Ok(()),
                Err(e) => Err(NotSeen::Failed(failure::of_cloud(&e))),
            },
        }
    }

    /// Sets `first_deployed_at`, if this generation is the one that was deployed.
    async fn latch(&self, snapshot: &Snapshot) -> StoreResult<bool> {
        if snapshot.agent.status.first_deployed_at.is_some() || snapshot.agent.is_deleting() {
            return Ok(false);
        }
        let latch = Mutation::Latch {
            generation: snapshot.agent.generation,
        };
        Ok(self
            .shared
            .store
            .commit(&self.lease.claim, &[latch])
            .await?
            .latched)
    }

    /// Ends a pass that could not even look: what the row alone tells is said, and the failure.
    async fn finish_blind(&self, snapshot: &Snapshot, verdict: Verdict) -> StoreResult<()> {
        let timing = &self.shared.base.timing;
        let (next, progress) = self.come_back(snapshot, &verdict.pass, verdict.retry_after);
        let finish = Finish {
            mutations: talon_plan::blind(snapshot, timing, &verdict.pass),
            loaded_generation: snapshot.agent.generation,
            loaded_reconcile_requested_at: snapshot.agent.reconcile_requested_at,
            // It comes back by itself.
            loaded_hold: None,
            next_due_in: Some(next),
            progress,
            plan_report: None,
        };
        self.end(snapshot, &finish).await
    }

    fn come_back(
        &self,
        snapshot: &Snapshot,
        failure: &PassFailure,
        retry_after: Option<Duration>,
    ) -> (Duration, Progress) {
        let config = &self.shared.config;
        if failure.throttled {
            let jitter = 1.0 + crate::clock::fraction(self.shared.random.as_ref()) / 4.0;
            let wait = retry_after
                .unwrap_or(SOON)
                .max(Duration::from_millis(200))
                .mul_f64(jitter);
            let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            return (wait, Progress::Throttled { seconds });
        }
        let policy = RetryPolicy {
            initial: seconds(config.backoff_initial_seconds),
            max: seconds(config.backoff_max_seconds),
        };
        let wait = policy.after(snapshot.work.failure_count + 1, self.shared.random.as_ref());
        (wait, Progress::Failed)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the whole end of a pass in one place"
    )]
    async fn finish(
        &self,
        world: &World,
        seen: Seen,
        mut plan: Plan,
        mut outcome: Outcome,
        generation: talon_core::Generation,
        requested: Option<chrono::DateTime<chrono::Utc>>,
        out_of_rounds: bool,
    ) -> StoreResult<()> {
        let input = Input {
            snapshot: &seen.snapshot,
            observed: &seen.observed,
            world,
        };
        let runs_in_circles = out_of_rounds
            && !plan.steps.is_empty()
            && !(outcome.interrupted || outcome.unfinished || outcome.failure.is_some());
        if runs_in_circles {
            // Steps that succeed and leave more to do, again and again: something undoes them, and must not cost calls
            // without end.
            outcome.failure = Some(PassFailure {
                reason: Reason::InternalError,
                message: format!(
                    "{ROUNDS} plans in a row were executed and more is to be done; something undoes it"
                ),
                stalled: seen.snapshot.work.failure_count >= CIRCLES,
                throttled: false,
            });
        }
        let archiving = plan.archiving().map(<[Mutation]>::to_vec);
        // What failed before the end stands in the records of what is left over.
        let failure = outcome.failure.as_ref().filter(|_| archiving.is_none());
        let status = talon_plan::status(&input, &plan, failure);
        let deleting = seen.snapshot.agent.is_deleting();
        let archived = seen.snapshot.agent.is_archived() || archiving.is_some();
        let (next_due_in, progress) = if archived {
            (None, Progress::Ok)
        } else if outcome.interrupted {
            (Some(Duration::ZERO), Progress::Waiting)
        } else if outcome.unfinished {
            (Some(NEXT_SLICE), Progress::Waiting)
        } else if let Some(failure) = &outcome.failure {
            let (wait, progress) = self.come_back(&seen.snapshot, failure, outcome.retry_after);
            (Some(wait), progress)
        } else if let Some(block) = &plan.block {
            let wait = if block.stalled || !deleting {
                STALLED_RECHECK
            } else {
                SOON
            };
            let wait = if block.reason == Reason::Suspended {
                None
            } else {
                Some(wait)
            };
            (wait, Progress::Waiting)
        } else if let Some(held) = &plan.held {
            let why = tell::safe(&format!("effects are held: {}", held.message));
            tell::later(&self.shared.book, &seen.snapshot, &why, None);
            (None, Progress::Waiting)
        } else if let Some(recheck) = plan.recheck_in {
            (Some(recheck), Progress::Waiting)
        } else if out_of_rounds || !plan.steps.is_empty() || !plan.needs.is_empty() {
            (Some(SOON), Progress::Waiting)
        } else {
            (None, Progress::Ok)
        };
        // What failed waits for its own time: coming back for the Worker's sake would try it again before.
        let waits = outcome.failure.is_none() && !archived;
        let knock = self.knock_due_in(&plan).filter(|_| waits);
        let next_due_in = [next_due_in, knock].into_iter().flatten().min();
        let mut mutations = Vec::new();
        if let Some(last) = archiving {
            mutations.append(&mut plan.opening);
            mutations.extend(last);
            plan.steps.clear();
        }
        mutations.extend(status.into_mutations());
        let finish = Finish {
            mutations,
            loaded_generation: generation,
            loaded_reconcile_requested_at: requested,
            loaded_hold: world.held.as_ref().and_then(|held| held.since),
            next_due_in,
            progress,
            plan_report: Some(report::to_json(&plan)),
        };
        self.end(&seen.snapshot, &finish).await
    }

    /// Writes the end of the pass, and says what came of it.
    async fn end(&self, snapshot: &Snapshot, finish: &Finish) -> StoreResult<()> {
        self.shared.store.finish(&self.lease.claim, finish).await?;
        let book = &self.shared.book;
        tell::transition(book, snapshot, &finish.mutations);
        match finish.progress {
            Progress::Failed => {
                tell::later(book, snapshot, "tried again later", finish.next_due_in)
            }
            Progress::Throttled { .. } => {
                tell::later(
                    book,
                    snapshot,
                    "put off: the call budget asks to wait",
                    finish.next_due_in,
                );
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the calls of a pass are for.
fn class_of(snapshot: &Snapshot) -> CallClass {
    if snapshot.agent.is_deleting() {
        CallClass::Delete
    } else if snapshot.work.failure_count > 0 {
        CallClass::Retry
    } else {
        CallClass::UserChange
    }
}
