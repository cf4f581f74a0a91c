//! One agent, its row and its world, driven as the controller drives them: load → observe → plan → execute → finish,
//! with answers that get lost, requests that land late and a process that dies between any two instructions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::card::AgentCard;
use talon_core::cloud::WorkerSettings;
use talon_core::mutation::Mutation;
use talon_core::presence::Presence;
use talon_core::secret::names as secret_names;
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState};
use talon_core::{Snapshot, TryId, name};
use talon_plan::desired::Names;
use talon_plan::effect::{self, Failure, StepCx};
use talon_plan::heard::Answer;
use talon_plan::status::PassFailure;
use talon_plan::step::{StepId, brings_auth_token};
use talon_plan::{Input, Knock, Look, Need, Observed, Plan, SecretProblem, Step, StepKind, World};

use crate::calls::{Made, deletes};
use crate::database::Database;
use crate::reality::{Call, Lists, Reality, Refusal, Reply, sha};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is lost and nothing was done.
    LostNotDone,
    /// The answer is lost, all was done.
    LostDone,
    /// The answer is lost; the request lands this long after it was sent.
    Late(Duration),
    /// Definitely not done.
    Refused,
    /// Put off.
    Throttled,
    /// Delivered twice.
    Twice,
}

/// The process dies at this instruction; `flight`: the call it was about to make lands that much later all the same.
#[derive(Debug, Clone, Copy)]
pub struct CrashAt {
    pub instruction: usize,
    pub flight: Option<Duration>,
    pub pause: Duration,
}

/// The process died.
#[derive(Debug)]
pub struct Crashed;

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Nothing to do: converged or archived.
    Quiet,
    /// Something failed or is awaited.
    Again(Duration),
    /// Blocked or held.
    Stuck,
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub now: DateTime<Utc>,
    pub world: World,
    pub db: Database,
    pub reality: Reality,
    /// Values behind the row's references, by name on the Worker.
    pub keys: BTreeMap<String, Result<String, SecretProblem>>,
    /// Values that a request has handed in, by name on the Worker.
    pub handed_in: BTreeMap<String, String>,
    /// Names of the steps that called something, in order.
    pub calls: Vec<&'static str>,
    pub list_reads: usize,
    pub settings_reads: usize,
    pub name_reads: usize,
    /// By index of the call.
    pub faults: BTreeMap<usize, Fault>,
    pub fired: usize,
    pub crash: Option<CrashAt>,
    pub instructions: usize,
    /// How far lists lag behind.
    pub lag: Duration,
    pub last_plan: Plan,
    /// Whether the Hub tells whose token the live Worker has registered with.
    pub hub: bool,
    /// What the Worker says in place of what is true.
    pub says: Option<Answer>,
    /// How often it was spoken to.
    pub knocks: usize,
    lists: Option<(DateTime<Utc>, Lists)>,
    settings: Option<WorkerSettings>,
    secret_names: Option<BTreeSet<String>>,
    flying: Vec<(DateTime<Utc>, Call)>,
    dice: u128,
}

impl Stage {
    pub fn new(now: DateTime<Utc>, world: World, row: Snapshot) -> Self {
        let mut stage = Self {
            now,
            world,
            db: Database::new(row),
            reality: Reality::new(),
            keys: BTreeMap::new(),
            handed_in: BTreeMap::new(),
            calls: Vec::new(),
            list_reads: 0,
            settings_reads: 0,
            name_reads: 0,
            faults: BTreeMap::new(),
            fired: 0,
            crash: None,
            instructions: 0,
            lag: Duration::ZERO,
            last_plan: Plan::default(),
            hub: false,
            says: None,
            knocks: 0,
            lists: None,
            settings: None,
            secret_names: None,
            flying: Vec::new(),
            dice: 0,
        };
        stage.reality.remember(now - TimeDelta::days(1));
        stage
    }

    pub fn advance(&mut self, by: Duration) {
        let end = self.now + TimeDelta::from_std(by).unwrap();
        self.flying.sort_by_key(|(at, _)| *at);
        while self.flying.first().is_some_and(|(at, _)| *at <= end) {
            let (at, call) = self.flying.remove(0);
            // Nobody hears the answer.
            let _ = self.reality.perform(at, &call);
        }
        self.now = end;
    }

    /// Changes the world behind Talon's back.
    pub fn outside(&mut self, change: impl FnOnce(&mut Reality, DateTime<Utc>)) {
        change(&mut self.reality, self.now);
        self.reality.remember(self.now);
        self.advance(Duration::from_millis(10));
    }

    /// Changes the row as a person would: the generation moves.
    pub fn edit(&mut self, change: impl FnOnce(&mut talon_core::AgentSpec)) {
        change(&mut self.db.row.agent.spec);
        self.db.row.agent.generation.0 += 1;
    }

    pub fn delete(&mut self) {
        self.db.row.agent.deletion_requested_at = Some(self.now);
    }

    pub fn names(&self) -> Names {
        let (snapshot, observed) = (self.db.load(self.now), Observed::default());
        Names::of(&Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &self.world,
        })
    }

    fn tick(&mut self) -> Result<(), Crashed> {
        self.instructions += 1;
        match self.crash {
            Some(c) if c.instruction == self.instructions => Err(Crashed),
            Some(_) | None => Ok(()),
        }
    }

    pub fn look_at_lists(&mut self) {
        self.list_reads += 1;
        let as_of = self.now;
        let then = as_of - TimeDelta::from_std(self.lag).unwrap();
        self.lists = Some((as_of, self.reality.lists_at(then, as_of)));
        self.advance(Duration::from_millis(100));
    }

    /// Forgets the lists, as a resync does.
    pub fn resync(&mut self) {
        self.advance(Duration::from_secs(300));
        self.lists = None;
    }

    pub fn observe(&mut self) -> (Snapshot, Observed) {
        if self.lists.is_none() {
            self.look_at_lists();
        }
        let names = self.names();
        let mut snapshot = self.db.load(self.now);
        if self.hub {
            snapshot.presence = self.presence(&snapshot, &names.worker);
        }
        let agent = &snapshot.agent;
        let (as_of, lists) = self.lists.clone().unwrap_or_default();
        let as_of = Some(as_of);
        let tokens: Vec<_> = lists
            .tokens
            .into_iter()
            .filter(|t| t.name == names.token)
            .collect();
        let mut observed = Observed {
            worker: Look {
                as_of,
                seen: lists.workers.get(&names.worker).cloned(),
            },
            bucket: Look {
                as_of,
                seen: lists.buckets.get(&names.bucket).cloned(),
            },
            tokens: Look {
                as_of,
                seen: (!tokens.is_empty()).then_some(tokens),
            },
            settings: self.settings.take(),
            secret_names: self.secret_names.take(),
            card: Some(self.reality.card.as_ref().map(AgentCard::hash)),
            ..Observed::default()
        };
        if !agent.is_deleting() {
            for provider in agent.spec.api_key_refs.keys() {
                let name = provider.secret_name();
                let value = self
                    .keys
                    .get(&name)
                    .cloned()
                    .unwrap_or_else(|| Ok(format!("sk of {name}")));
                observed.references.insert(name, value.map(|v| sha(&v)));
            }
            let texts = [
                (secret_names::MODEL, agent.spec.model.clone()),
                (secret_names::KEEP_ALIVE, agent.spec.keep_alive.to_string()),
                (secret_names::CONTROL_TOKEN, "control".to_owned()),
            ];
            observed.derived = texts.map(|(n, v)| (n.to_owned(), sha(&v))).into();
        }
        (snapshot, observed)
    }

    /// The connection of the live Worker, if the Hub accepts the token that it has.
    fn presence(&self, snapshot: &Snapshot, worker: &str) -> Option<Presence> {
        let worker = self.reality.workers.get(worker)?;
        let token_sha256 = sha(worker.secrets.get(secret_names::AUTH_TOKEN)?);
        let accepted =
            |t: &AuthTokenRecord| t.sha256 == token_sha256 && t.state != AuthTokenState::Retired;
        snapshot.auth_tokens.iter().any(accepted).then(|| Presence {
            connected: true,
            connection_id: "c1".to_owned(),
            hub: "hub-1".to_owned(),
            token_sha256,
            runtime: None,
            connected_at: worker.modified_on,
            last_seen: self.now,
            disconnected_at: None,
        })
    }

    /// The plan as it would be made now.
    pub fn plan(&mut self) -> Plan {
        let (snapshot, observed) = self.observe();
        self.plan_of(&snapshot, &observed)
    }

    fn plan_of(&mut self, snapshot: &Snapshot, observed: &Observed) -> Plan {
        let plan = talon_plan::plan(&Input {
            snapshot,
            observed,
            world: &self.world,
        });
        assert_eq!(talon_plan::lint(&plan), Vec::<String>::new(), "{plan:#?}");
        self.db.diary.plan(&plan, self.now);
        self.last_plan = plan.clone();
        plan
    }

    /// One pass.
    pub fn pass(&mut self) -> Result<End, Crashed> {
        let mut failure: Option<PassFailure> = None;
        let (mut unfinished, mut knocked) = (false, false);
        for round in 0.. {
            let (snapshot, observed) = self.observe();
            let plan = self.plan_of(&snapshot, &observed);
            let over = failure.is_some() || unfinished || round > 8;
            if !over && plan.steps.is_empty() && !plan.needs.is_empty() {
                self.meet(&plan);
                continue;
            }
            if !over
                && plan.is_converged()
                && snapshot.agent.status.first_deployed_at.is_none()
                && !snapshot.agent.is_deleting()
            {
                self.tick()?;
                let generation = snapshot.agent.generation;
                self.db.commit(self.now, &[Mutation::Latch { generation }]);
                continue;
            }
            if (over || plan.steps.is_empty())
                && !knocked
                && matches!(plan.knock, Knock::Now { .. })
            {
                knocked = true;
                self.tick()?;
                self.speak(&snapshot);
                continue;
            }
            if over || plan.steps.is_empty() {
                return self.finish(&snapshot, &observed, &plan, failure, unfinished);
            }
            (failure, unfinished) = self.execute(&snapshot, plan)?;
        }
        unreachable!()
    }

    fn meet(&mut self, plan: &Plan) {
        for need in &plan.needs {
            match need {
                Need::ListsAfter(t) => {
                    assert!(*t <= self.now, "a need that cannot be met: {t}");
                    self.look_at_lists();
                }
                Need::Settings => {
                    self.settings_reads += 1;
                    self.settings = Some(
                        self.reality
                            .settings(&self.names().worker)
                            .unwrap_or_default(),
                    );
                }
                Need::SecretNames => {
                    self.name_reads += 1;
                    let names = self.reality.secret_names(&self.names().worker);
                    self.secret_names = Some(names.into_iter().collect());
                }
            }
        }
    }

    fn finish(
        &mut self,
        snapshot: &Snapshot,
        observed: &Observed,
        plan: &Plan,
        failure: Option<PassFailure>,
        unfinished: bool,
    ) -> Result<End, Crashed> {
        let input = Input {
            snapshot,
            observed,
            world: &self.world,
        };
        let report = talon_plan::status(&input, plan, failure.as_ref());
        self.tick()?;
        self.db.commit(self.now, &report.into_mutations());
        let work = &mut self.db.row.work;
        work.unclean_until = None;
        match &failure {
            None => (work.failure_count, work.failing_since) = (0, None),
            Some(f) if f.throttled => {}
            Some(_) => {
                work.failure_count += 1;
                work.failing_since.get_or_insert(self.now);
            }
        }
        Ok(if unfinished {
            End::Again(Duration::ZERO)
        } else if failure.is_some() {
            End::Again(Duration::from_secs(5))
        } else if plan.block.is_some() || plan.held.is_some() {
            End::Stuck
        } else if let Some(recheck) = plan.recheck_in {
            End::Again(recheck)
        } else if let Some(wait) = plan.knock.due_in() {
            End::Again(wait)
        } else if plan.steps.is_empty() && plan.needs.is_empty() {
            End::Quiet
        } else {
            End::Again(Duration::from_secs(1))
        })
    }

    pub fn execute(
        &mut self,
        snapshot: &Snapshot,
        plan: Plan,
    ) -> Result<(Option<PassFailure>, bool), Crashed> {
        let mut made = self.begin(&plan);
        let mut failure: Option<PassFailure> = None;
        let (mut unfinished, mut failed, mut done) =
            (false, Vec::<StepId>::new(), Vec::<StepId>::new());
        let mut pending = plan.opening;
        let token_name = name::token_name(&self.world.install, snapshot.agent.id);
        for mut step in plan.steps {
            if step.after.iter().any(|s| failed.contains(s)) {
                failed.push(step.id);
                continue;
            }
            assert!(
                step.after.iter().all(|s| done.contains(s)),
                "{step:?} before what it needs"
            );
            if let StepKind::RegisterCard(card) = &mut step.kind {
                let new = made.auth.as_deref().map(sha).filter(|_| made.auth_placed);
                let hash = new.or(snapshot.agent.status.auth_token_hash.clone());
                if let (Some(hash), Some(auth)) = (hash, card.authentication.as_mut()) {
                    auth.credentials = hash;
                }
            }
            self.fill_fingerprints(&mut step.kind, &made);
            let auth_sha256 = made.auth.as_deref().map(sha);
            let try_id = made.try_id.clone();
            let cx = StepCx {
                snapshot,
                try_id: &try_id,
                auth_sha256: auth_sha256.as_deref(),
                token_name: &token_name,
                settle: self.world.timing.settle(),
                cloud_now: Some(self.now + self.reality.ahead),
            };
            pending.extend(effect::intent(&step.kind, &cx));
            if step.kind.has_effect() && !pending.is_empty() {
                self.tick()?;
                self.db.commit(self.now, &pending);
                pending.clear();
            }
            match self.perform(snapshot, &step, &mut made)? {
                Ok(answer) => {
                    if matches!(answer, effect::Answer::Emptied { empty: false, .. }) {
                        unfinished = true;
                        failed.push(step.id);
                    } else {
                        done.push(step.id);
                    }
                    pending.extend(effect::done(&step.kind, &answer, &cx));
                }
                Err(f) => {
                    pending.extend(effect::failed(&step.kind, &f, &cx));
                    failed.push(step.id);
                    failure = Some(PassFailure {
                        reason: if f.throttled {
                            talon_core::condition::Reason::RateLimited
                        } else {
                            talon_core::condition::Reason::CloudflareError
                        },
                        message: f.message.clone(),
                        stalled: false,
                        throttled: f.throttled,
                    });
                    if f.throttled {
                        break;
                    }
                }
            }
        }
        if !pending.is_empty() {
            self.tick()?;
            self.db.commit(self.now, &pending);
        }
        Ok((failure, unfinished))
    }

    fn begin(&mut self, plan: &Plan) -> Made {
        self.dice += 1;
        let brings = plan.steps.iter().any(|s| match &s.kind {
            StepKind::Upload(u) => u.brings_auth_token(),
            StepKind::PushSecrets { set, .. } => brings_auth_token(set),
            _ => false,
        });
        Made {
            try_id: TryId::new(self.now.timestamp_millis().unsigned_abs(), self.dice),
            auth: brings.then(|| format!("auth {}", self.dice)),
            auth_placed: false,
            r2: None,
        }
    }

    fn perform(
        &mut self,
        snapshot: &Snapshot,
        step: &Step,
        made: &mut Made,
    ) -> Result<Result<effect::Answer, Failure>, Crashed> {
        let Some(call) = self.call_of(snapshot, &step.kind, made) else {
            return Ok(Ok(effect::Answer::Done));
        };
        if let Err(crashed) = self.tick() {
            if let Some(flight) = self.crash.and_then(|c| c.flight) {
                let at = self.now + TimeDelta::from_std(flight).unwrap();
                self.flying.push((at, call));
            }
            return Err(crashed);
        }
        let index = self.calls.len();
        self.calls.push(step.kind.name());
        let sent = self.now;
        let undeletable = self.reality.undeletable.contains(&step.kind.name());
        let fault = self.faults.get(&index).copied();
        self.fired += usize::from(fault.is_some());
        let outcome = match fault {
            _ if undeletable => Err(failure("not allowed to")),
            None => self.carry_out(&call, made),
            Some(Fault::Twice) => {
                let first = self.carry_out(&call, made);
                match self.carry_out(&call, made) {
                    Ok(second) => Ok(second),
                    Err(_) => first,
                }
            }
            Some(Fault::LostNotDone) => Err(lost()),
            Some(Fault::LostDone) => {
                let _ = self.reality.perform(self.now, &call);
                Err(lost())
            }
            Some(Fault::Late(after)) => {
                self.flying
                    .push((sent + TimeDelta::from_std(after).unwrap(), call));
                Err(lost())
            }
            Some(Fault::Refused) => Err(failure("connection refused")),
            Some(Fault::Throttled) => Err(Failure {
                throttled: true,
                ..failure("throttled")
            }),
        };
        self.db.diary.call(step.kind.name(), &outcome);
        let took = if outcome.as_ref().is_err_and(|f| f.ambiguous) {
            self.world.timing.request_timeout
        } else {
            Duration::from_millis(50)
        };
        self.advance(took);
        self.tick()?;
        Ok(outcome)
    }

    fn carry_out(&mut self, call: &Call, made: &mut Made) -> Result<effect::Answer, Failure> {
        match self.reality.perform(self.now, call) {
            Ok(Reply::Done) => Ok(effect::Answer::Done),
            Ok(Reply::Token { id, value }) => {
                made.r2 = Some((id.clone(), value));
                Ok(effect::Answer::Token { id })
            }
            Ok(Reply::Version(version)) => {
                made.auth_placed |= match call {
                    Call::Upload(u) => u.supply.contains_key(secret_names::AUTH_TOKEN),
                    Call::Push(_, changes) => changes.contains_key(secret_names::AUTH_TOKEN),
                    _ => false,
                };
                Ok(effect::Answer::Version(version))
            }
            Ok(Reply::Emptied { removed, empty }) => Ok(effect::Answer::Emptied { removed, empty }),
            Err(Refusal::NotFound) if deletes(call) => Ok(effect::Answer::WasAbsent),
            Err(refusal) => Err(Failure {
                not_found: refusal == Refusal::NotFound,
                exists: refusal == Refusal::Exists,
                conflict: false,
                ..failure(&format!("{refusal:?}"))
            }),
        }
    }

    /// Passes, one after the other, until nothing is left to do and nothing is in flight; dies and rises on the way.
    pub fn converge(&mut self) {
        for _ in 0..200 {
            match self.pass() {
                Ok(End::Quiet) if self.flying.is_empty() => return,
                Ok(End::Quiet) => {
                    let last = self
                        .flying
                        .iter()
                        .map(|(at, _)| *at)
                        .max()
                        .unwrap_or(self.now);
                    self.advance((last - self.now).to_std().unwrap_or_default());
                    self.resync();
                }
                Ok(End::Again(after)) => self.advance(after),
                Ok(End::Stuck) => panic!(
                    "stuck: {:?} {:?}",
                    self.last_plan.block, self.last_plan.held
                ),
                Err(Crashed) => {
                    let crash = self.crash.take();
                    self.db.row.work.unclean_until = Some(self.now + TimeDelta::seconds(45));
                    (self.settings, self.secret_names) = (None, None);
                    self.advance(crash.map(|c| c.pause).unwrap_or_default());
                }
            }
        }
        panic!(
            "does not converge: calls {:?}\nlast plan {:#?}",
            self.calls, self.last_plan
        );
    }

    /// One pass that must not die.
    pub fn one_pass(&mut self) -> End {
        self.pass().expect("nobody kills this process")
    }
}

fn failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        ambiguous: false,
        throttled: false,
        not_found: false,
        exists: false,
        conflict: false,
    }
}

fn lost() -> Failure {
    Failure {
        ambiguous: true,
        ..failure("the answer was lost")
    }
}
