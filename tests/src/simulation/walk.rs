//! Random histories: several agents, several processes, people who change their minds, and whatever can go wrong.

mod hub;
mod plant;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use talon_core::AgentSpec;
use talon_core::name as names;
use talon_core::secret::{Provider, SecretRef};
use talon_core::spec::DeletionPolicy;
use talon_store::{ListFilter, Store};
use talon_worker::Bundle;
use tokio::time::sleep;

use super::dice::Dice;
use super::faults::Weather;
use super::oracle;
use super::script::{BOUND, history};
use super::seat::{Crash, Moment, Seat};
use super::stage::{KEY, Sim};
use super::world::{Catalog, Token, Worker, World};
use plant::plant;

const OPENAI: &str = "env:TALON_SECRET_OPENAI";
const AGENTS: [&str; 5] = ["alpha", "bravo", "charlie", "delta", "echo"];
const MODELS: [&str; 3] = [
    "anthropic/claude-sonnet-4-6",
    "anthropic/claude-opus-4-1",
    "anthropic/claude-haiku-4-5",
];

/// How a random history ended.
#[derive(Debug, Default)]
pub struct Walked {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// How often each fault fired.
    pub fired: BTreeMap<String, u64>,
    /// Calls to the database, calls that change something at Cloudflare, and milliseconds: equal for equal seeds.
    pub length: (u64, u64, u128),
    /// How it went, if somebody wants to read it.
    pub story: Vec<String>,
}

/// The history of a seed.
pub fn walk(seed: u64) -> Walked {
    history(async {
        let mut walker = Walker::new(seed).await;
        walker.go().await;
        walker.end().await
    })
}

struct Walker {
    sim: Sim,
    dice: Dice,
    agents: usize,
    processes: usize,
    foreign: Catalog,
    thaw_at: BTreeMap<usize, Duration>,
    serial: u64,
    offset_ms: i64,
    /// Who edited whose Worker, and how.
    edited: BTreeSet<(&'static str, u64)>,
    /// Who comes to the Hub and leaves it, where there is one.
    hub: Option<Dice>,
}

impl Walker {
    async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x57a1_c0de);
        let mut sim = Sim::new(seed).await;
        sim.secrets.set(OPENAI, "sk-openai-1");
        sim.deaf = dice.permille(150);
        let foreign = sim.account.outside("foreign things", |world, now| {
            plant(world, now);
            world.now.clone()
        });
        let seconds = |s: &u64| Duration::from_secs(*s);
        sim.weather(Weather {
            writes: *dice.pick(&[0, 30, 100, 300, 500]),
            reads: *dice.pick(&[0, 20, 100]),
            database: *dice.pick(&[0, 0, 5, 30]),
            lag: seconds(dice.pick(&[0, 10, 28])),
            always: dice.permille(300),
            tagless: seconds(dice.pick(&[0, 0, 30, 58])),
            budget: dice.range(0..60),
            doors: [0, 100, 400][usize::try_from(seed % 3).unwrap_or_default()],
        });
        let hub = sim.door.as_ref().map(|_| Dice::new(seed ^ 0x4875_6200));
        let (agents, processes) = (dice.range(1..6), dice.range(1..4));
        let mut walker = Self {
            sim,
            agents: usize::try_from(agents).unwrap_or(1),
            processes: usize::try_from(processes).unwrap_or(1),
            dice,
            foreign,
            thaw_at: BTreeMap::new(),
            serial: 0,
            offset_ms: 0,
            edited: BTreeSet::new(),
            hub,
        };
        walker.revive();
        walker
    }

    /// As many processes run as should; each new one may be doomed.
    fn revive(&mut self) {
        while self.sim.processes.len() < self.processes {
            let doomed = self.dice.permille(400);
            let seat = if doomed {
                let moments = [Moment::Before, Moment::InFlight, Moment::After];
                let (at, moment) = (self.dice.range(0..80), *self.dice.pick(&moments));
                Seat::doomed(Crash { at, moment })
            } else {
                Seat::default()
            };
            self.sim.start(seat);
        }
    }

    async fn bury(&mut self) {
        let dead = |s: &Sim| s.processes.iter().position(|p| p.seat.is_dead());
        while let Some(at) = dead(&self.sim) {
            self.note("a process died at a call");
            self.lose(at).await;
        }
    }

    async fn lose(&mut self, at: usize) {
        self.sim.crash(at).await;
        self.thaw_at.clear();
        for process in &self.sim.processes {
            process.seat.thaw();
        }
    }

    fn note(&self, what: &str) {
        self.sim.account.state().faults.note(what);
    }

    fn agent(&mut self) -> &'static str {
        self.dice.pick::<&str>(&AGENTS[..self.agents])
    }

    async fn go(&mut self) {
        let steps = self.dice.range(8..40);
        for _ in 0..steps {
            self.step().await;
            self.come_and_go().await;
            let wait = match self.dice.range(0..8) {
                0..2 => 0,
                2..5 => self.dice.range(10..3_000),
                5..7 => self.dice.range(3_000..70_000),
                _ => self.dice.range(70_000..400_000),
            };
            sleep(Duration::from_millis(wait)).await;
            let now = self.sim.elapsed();
            for (at, until) in &self.thaw_at {
                if *until <= now
                    && let Some(process) = self.sim.processes.get(*at)
                {
                    process.seat.thaw();
                }
            }
            self.thaw_at.retain(|_, until| *until > now);
            self.bury().await;
            if self.dice.permille(700) {
                self.revive();
            }
        }
    }

    async fn step(&mut self) {
        let agent = self.agent();
        match self.dice.range(0..24) {
            0..9 => self.change(agent).await,
            9..12 => {
                let keep = self.dice.permille(200);
                self.sim.delete(agent, keep).await;
            }
            12..16 => self.outside(agent).await,
            16 => {
                self.serial += 1;
                let value = format!("sk-{}", self.serial);
                let reference = *self.dice.pick(&[KEY, OPENAI]);
                match self.dice.permille(700) {
                    true => self.sim.secrets.set(reference, &value),
                    false => self.sim.secrets.remove(reference),
                }
            }
            17..19 if !self.sim.processes.is_empty() => {
                let at = self.dice.range(0..self.sim.processes.len() as u64);
                self.note("a process was killed");
                self.lose(usize::try_from(at).unwrap_or_default()).await;
            }
            19..21 if !self.sim.processes.is_empty() => {
                let at = self.dice.range(0..self.sim.processes.len() as u64);
                let at = usize::try_from(at).unwrap_or_default();
                let ms = self.dice.range(1_000..300_000);
                self.note("a process was frozen");
                self.sim.account.tell(|| format!("process {at} freezes"));
                self.sim.processes[at].seat.freeze();
                let until = self.sim.elapsed() + Duration::from_millis(ms);
                self.thaw_at.insert(at, until);
            }
            21 => {
                let ms = self.dice.range(500..60_000);
                let until = self.sim.elapsed() + Duration::from_millis(ms);
                let away = self.sim.database.away_until.lock();
                *away.unwrap_or_else(PoisonError::into_inner) = until;
            }
            22 => self.upgrade().await,
            _ => self.jump().await,
        }
    }

    /// Everybody gets new code at once.
    async fn upgrade(&mut self) {
        while !self.sim.processes.is_empty() {
            self.lose(0).await;
        }
        self.serial += 1;
        let code = format!("export default {{}}; // {}", self.serial % 3);
        self.sim.bundle = Bundle::from_source("walk", &code);
        self.revive();
    }

    /// The database's clock jumps, up to an hour away from Cloudflare's on either side. What was done just before is not
    /// where it was.
    async fn jump(&mut self) {
        if !self.dice.permille(300) {
            return;
        }
        let by = *self
            .dice
            .pick(&[-3_600_000, -60_000, 60_000, 3_600_000_i64]);
        if (self.offset_ms + by).abs() > 3_700_000 {
            return;
        }
        if by > 0 {
            // Waits are measured on this clock: a jump ahead ends them early. What it must not do is double or break things
            // that are at rest; a request still on its way may be overtaken, and what it makes is left to the sweep.
            let storm =
                std::mem::replace(&mut self.sim.account.state().faults.weather, Sim::calm());
            sleep(Duration::from_secs(120)).await;
            self.sim.weather(storm);
        }
        self.offset_ms += by;
        self.note("the database's clock jumped");
        self.sim
            .account
            .tell(|| format!("the database's clock jumps by {by} ms"));
        self.sim.database_clock.jump(by);
        for agent in AGENTS {
            self.sim.account.disturb(agent);
        }
    }

    async fn change(&mut self, agent: &str) {
        let present = self.sim.live(agent).await;
        let mut spec = present.map_or_else(Sim::spec, |s| s.agent.spec);
        for _ in 0..self.dice.range(1..3) {
            self.mutate(&mut spec);
        }
        self.sim.apply(agent, &spec).await;
    }

    fn mutate(&mut self, spec: &mut AgentSpec) {
        self.serial += 1;
        let serial = self.serial;
        let openai = Provider("openai".to_owned());
        match self.dice.range(0..13) {
            0..3 => (*self.dice.pick(&MODELS)).clone_into(&mut spec.model),
            3..5 => spec.description = Some(format!("The agent, {serial}.")),
            5 => spec.keep_alive = !spec.keep_alive,
            6 => spec.persona = format!("You are number {serial}."),
            7 => spec.secrets_version += 1,
            8..10 => {
                if spec.api_key_refs.remove(&openai).is_none() {
                    spec.api_key_refs
                        .insert(openai, SecretRef(OPENAI.to_owned()));
                }
            }
            10 => spec.suspend = !spec.suspend,
            11 => "nonsense".clone_into(&mut spec.model),
            _ => {
                spec.deletion_policy = match spec.deletion_policy {
                    DeletionPolicy::KeepBucket => DeletionPolicy::default(),
                    _ => DeletionPolicy::KeepBucket,
                }
            }
        }
    }

    /// Somebody does something to an agent's things.
    async fn outside(&mut self, agent: &'static str) {
        let what = self.dice.range(0..9);
        if (3..7).contains(&what) {
            self.edited.insert((agent, what));
        }
        self.interfere(agent, what).await;
    }

    async fn interfere(&mut self, agent: &str, what: u64) {
        let Some(snapshot) = self.sim.live(agent).await else {
            return;
        };
        let status = &snapshot.agent.status;
        let (Some(worker), Some(bucket)) = (status.worker_name.clone(), status.r2_bucket.clone())
        else {
            return;
        };
        let token = names::token_name(&self.sim.install, snapshot.agent.id);
        let account = &self.sim.account;
        let edit = |w: &mut World, change: &dyn Fn(&mut Worker)| {
            if let Some(found) = w.now.workers.get_mut(&worker) {
                change(found);
            }
        };
        let told = format!("does {what} to {agent}");
        account.outside(&told, |w, now| match what {
            0 => drop(w.now.workers.remove(&worker)),
            1 => drop(w.now.buckets.remove(&bucket)),
            2 => w.now.tokens.retain(|t| t.name != token),
            3 => edit(w, &|w| {
                w.etag = format!("edited-{now}");
                w.texts.clear();
                w.modified_on = now;
            }),
            4 => edit(w, &|w| {
                w.secrets.remove("ANTHROPIC_API_KEY");
                w.modified_on = now;
            }),
            5 => edit(w, &|w| {
                w.plain.insert("AGENT_NAME".to_owned(), "other".to_owned());
                w.modified_on = now;
            }),
            6 => edit(w, &|w| {
                w.undeployed = true;
                w.modified_on = now;
            }),
            7 => {
                if let Some(found) = w.now.buckets.get_mut(&bucket) {
                    found
                        .objects
                        .extend((0..1_500).map(|n| format!("object-{n}")));
                    found.uploads.insert("upload-1".to_owned());
                }
            }
            _ => w.now.tokens.push(Token {
                id: format!("extra-{}", now.timestamp_millis()),
                name: token.clone(),
                value: "somebody's".to_owned(),
                bucket: bucket.clone(),
                issued: now,
            }),
        });
        for name in [&worker, &bucket, &token, &agent.to_owned()] {
            account.disturb(name);
        }
    }

    /// Every row becomes one that can be reached.
    async fn make_right(&mut self) {
        for reference in [KEY, OPENAI] {
            if self.sim.secrets.get(reference).is_none() {
                self.sim.secrets.set(reference, "sk-again");
            }
        }
        let all = self.sim.database.rows.list(&ListFilter::default()).await;
        for snapshot in all.unwrap_or_default() {
            let mut spec = snapshot.agent.spec.clone();
            spec.suspend = false;
            if !MODELS.contains(&spec.model.as_str()) {
                MODELS[0].clone_into(&mut spec.model);
            }
            self.sim
                .apply(&snapshot.agent.name.to_string(), &spec)
                .await;
        }
    }

    /// An edit that falls between a look, a write of ours that rests on it, and the next look is taken for ours: lists do
    /// not say who wrote. Made again when nothing else is to be done, it must be found.
    async fn edit_again(&mut self) {
        self.sim.weather(Sim::calm());
        let resyncs = Duration::from_secs_f64(2.0 * self.sim.config.resync_seconds);
        sleep(resyncs).await;
        for (agent, what) in self.edited.clone() {
            let listed = async |s: &Sim| {
                s.live(agent).await.is_none_or(|a| {
                    let worker = a.resource(talon_core::resource::ResourceKind::Worker);
                    a.work.next_due_at.is_none()
                        && worker.is_some_and(|r| r.observed_hash.is_some())
                })
            };
            self.sim.until(BOUND, listed).await;
            self.interfere(agent, what).await;
        }
    }

    async fn end(mut self) -> Walked {
        self.bury().await;
        self.make_right().await;
        if self.sim.database.rows.hold().await.ok().flatten().is_some() {
            self.note("a hold was released");
        }
        // Nothing is held at the end, whatever the brake thought.
        let _held = self.sim.database.rows.release_hold().await;
        for process in std::mem::take(&mut self.sim.processes) {
            // The last ones to run are not doomed.
            if self.dice.permille(500) {
                process.crash().await;
            } else {
                process.stop().await;
            }
        }
        self.sim.deaf = false;
        for _ in 0..self.processes {
            self.sim.start(Seat::default());
        }
        self.edit_again().await;
        self.bring_back().await;
        let mut wrong = self.sim.settle(BOUND).await;
        let now = self.sim.account.state().world.now.clone();
        let foreign = oracle::foreign(&now, &self.sim);
        let same = self
            .foreign
            .workers
            .iter()
            .all(|(n, w)| foreign.workers.get(n) == Some(w))
            && self
                .foreign
                .buckets
                .iter()
                .all(|(n, b)| foreign.buckets.get(n) == Some(b))
            && self
                .foreign
                .tokens
                .iter()
                .all(|t| foreign.tokens.contains(t));
        if !same {
            wrong.push("O3: something that is not ours was changed".to_owned());
        }
        let stale = self.sim.database.stale.load(Ordering::Relaxed);
        let queries = self.sim.database.calls.load(Ordering::Relaxed);
        let took = self.sim.elapsed().as_millis();
        let mut state = self.sim.account.state();
        if stale > 0 {
            state.faults.note("a write of a stale epoch was refused");
        }
        Walked {
            wrong,
            fired: state.faults.fired.clone(),
            length: (queries, state.calls(), took),
            story: std::mem::take(&mut state.story),
        }
    }
}
