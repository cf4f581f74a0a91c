//! A history's stage: one database, one account, and the processes that come and go.

use std::collections::BTreeMap;
use std::ops::Not;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use talon_controller::{ControllerConfig, Daemon, Parts};
use talon_core::clock::Clock;
use talon_core::deliver::WorkerDoor;
use talon_core::spec::AgentSpec;
use talon_core::{AgentName, InstallId, Owner, Snapshot};
use talon_plan::R2Endpoint;
use talon_router::EmbeddedRegistry;
use talon_secrets::InstallKey;
use talon_store::memory::MemoryStore;
use talon_store::{ApplyOptions, Store, StoreError};
use talon_worker::Bundle;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cloud::{Account, SimCloud};
use super::dice::{Dice, SharedDice};
use super::door::{DoorDice, SimDoor};
use super::faults::Weather;
use super::oracle;
use super::seat::Seat;
use super::store::{Database, SimStore};
use super::time::VirtualClock;
use crate::secrets::MapReader;

/// How many calls to the database a history may need; more is a storm.
const STORM: u64 = 400_000;

/// A process with its daemon.
pub struct Process {
    /// What can happen to it.
    pub seat: Arc<Seat>,
    /// The daemon in it.
    pub daemon: Daemon,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    /// Stops it gracefully, unless it dies at that.
    ///
    /// # Panics
    /// If the daemon panicked.
    pub async fn stop(mut self) {
        self.seat.thaw();
        self.stop.cancel();
        let ended = tokio::select! {
            biased;
            ended = &mut self.task => Some(ended),
            () = self.seat.died() => None,
        };
        match ended {
            Some(ended) => assert!(ended.is_ok(), "the daemon ends without a panic"),
            None => self.crash().await,
        }
    }

    /// Ends it at once, wherever it is.
    pub async fn crash(self) {
        self.seat.kill();
        self.task.abort();
        let ended = self.task.await;
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.is_cancelled()),
            "the daemon panicked"
        );
    }
}

/// The stage of one history.
pub struct Sim {
    /// The account.
    pub account: Arc<Account>,
    /// The database.
    pub database: Arc<Database>,
    /// The database's clock.
    pub database_clock: Arc<VirtualClock>,
    /// Chance.
    pub dice: SharedDice,
    /// What references lead to.
    pub secrets: Arc<MapReader>,
    /// Keys that were handed in over HTTP and must be on the Worker of every agent, by name.
    pub handed_in: BTreeMap<String, String>,
    /// This installation.
    pub install: InstallId,
    /// Root of control tokens.
    pub key: Arc<InstallKey>,
    /// The code that processes started from now on deploy.
    pub bundle: Bundle,
    /// Settings of processes started from now on.
    pub config: ControllerConfig,
    /// Processes started from now on are never told that something may be due.
    pub deaf: bool,
    /// Whether processes started from now on can speak to Workers, and the dice of that.
    pub door: Option<DoorDice>,
    /// Those that run.
    pub processes: Vec<Process>,
}

/// The reference that [`Sim::spec`] uses.
pub const KEY: &str = "env:TALON_SECRET_ANTHROPIC";

/// An agent's name.
///
/// # Panics
/// If the text is not one.
pub fn name(text: &str) -> AgentName {
    AgentName::parse(text).expect("the fixture's name is valid")
}

impl Sim {
    /// The stage of a seed.
    pub async fn new(seed: u64) -> Self {
        let dice = SharedDice::new(seed);
        let skew = Dice::new(seed ^ 1).range(0..240_000);
        let trace = std::env::var_os("TALON_SIM_TRACE").is_some();
        let cloud_clock = Arc::new(VirtualClock::new(skew.cast_signed() - 120_000));
        let account = Arc::new(Account::new(cloud_clock, dice.clone(), trace));
        account.state().world.route_touches = seed.is_multiple_of(2);
        let database_clock = Arc::new(VirtualClock::new(0));
        let rows = MemoryStore::with_seed(database_clock.clone(), seed);
        let secrets = Arc::new(MapReader::default());
        secrets.set(KEY, "sk-ant-of-the-fixture");
        let key = Arc::new(InstallKey::from_hex(&"5a".repeat(32)).expect("a key"));
        let install = InstallId::from_random(*b"0123456789");
        rows.init_install(&install, &key.check())
            .await
            .expect("the store initialises");
        let check = oracle::at_each_write(account.clone());
        Self {
            database: Arc::new(Database::new(rows, check)),
            account,
            database_clock,
            dice,
            secrets,
            handed_in: BTreeMap::new(),
            install,
            key,
            bundle: Bundle::embedded(),
            config: ControllerConfig {
                hub_url: "wss://hub.example/ws/agents".to_owned(),
                ..ControllerConfig::default()
            },
            deaf: false,
            door: (seed >> 1)
                .is_multiple_of(2)
                .not()
                .then(|| Arc::new(Mutex::new(Dice::new(seed ^ 2)))),
            processes: Vec::new(),
        }
    }

    /// A valid spec.
    pub fn spec() -> AgentSpec {
        let mut spec = crate::stage::spec();
        spec.api_key_refs.values_mut().for_each(|r| {
            KEY.clone_into(&mut r.0);
        });
        spec
    }

    /// Sets what goes wrong from now on.
    pub fn weather(&self, weather: Weather) {
        self.account.state().faults.weather = weather;
    }

    /// Lists lag as they do on a day without faults.
    pub fn calm() -> Weather {
        Weather {
            lag: Duration::from_secs(5),
            ..Weather::default()
        }
    }

    /// Starts a process in this seat.
    pub fn start(&mut self, seat: Seat) {
        let seat = Arc::new(seat);
        let store: Arc<dyn Store> = Arc::new(SimStore {
            database: self.database.clone(),
            seat: seat.clone(),
            account: self.account.clone(),
            dice: self.dice.clone(),
            deaf: self.deaf,
        });
        let parts = Parts {
            store: store.clone(),
            cloud: Arc::new(SimCloud {
                account: self.account.clone(),
                seat: seat.clone(),
                timeout: Duration::from_secs_f64(self.config.request_timeout_seconds),
            }),
            registry: Arc::new(EmbeddedRegistry::new(store)),
            secrets: self.secrets.clone(),
            bundle: Arc::new(self.bundle.clone()),
            door: self.door.as_ref().map(|dice| {
                Arc::new(SimDoor {
                    account: self.account.clone(),
                    seat: seat.clone(),
                    dice: dice.clone(),
                }) as Arc<dyn WorkerDoor>
            }),
            install: self.install.clone(),
            key: self.key.clone(),
            r2_endpoint: R2Endpoint::Cloudflare,
            clock: Arc::new(VirtualClock::new(0)),
            random: Arc::new(self.dice.clone()),
        };
        let daemon = Daemon::new(parts, self.config.clone());
        let stop = CancellationToken::new();
        let (runs, stopped) = (daemon.clone(), stop.clone());
        let task = tokio::spawn(async move {
            // A database that is away at the start ends the daemon; whoever watches it starts it again.
            while runs.run(stopped.clone()).await.is_err() {
                sleep(Duration::from_secs(5)).await;
            }
        });
        self.processes.push(Process {
            seat,
            daemon,
            stop,
            task,
        });
    }

    /// Crashes the process of this number.
    pub async fn crash(&mut self, at: usize) {
        self.account.tell(|| format!("process {at} dies"));
        self.processes.remove(at).crash().await;
    }

    /// Applies a spec; `false` if a rule of the contract refused it.
    ///
    /// # Panics
    /// If the database fails.
    pub async fn apply(&self, agent: &str, spec: &AgentSpec) -> bool {
        self.account.tell(|| format!("apply {agent}"));
        let (owner, options) = (Owner::default(), ApplyOptions::default());
        let rows = &self.database.rows;
        let before = self.live(agent).await;
        let applied = rows.apply(&name(agent), &owner, spec, options).await;
        // O13: what was deployed once is not changed any more.
        let after = self.live(agent).await;
        if let (Some(before), Some(after)) = (before, after) {
            let fixed = |s: &Snapshot| {
                let (spec, status) = (&s.agent.spec, &s.agent.status);
                let texts = (spec.persona.clone(), spec.instructions.clone());
                (texts, status.identity_sha256.clone())
            };
            let same = before.agent.id == after.agent.id;
            let deployed = before.agent.status.first_deployed_at.is_some();
            if same && deployed && fixed(&before) != fixed(&after) {
                let text = format!("O13: {agent} was changed after it was deployed");
                self.database.broken().push(text);
            }
        }
        match applied {
            Ok(_) => true,
            Err(StoreError::Rejected { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Asks for deletion; nothing if there is no such agent.
    pub async fn delete(&self, agent: &str, keep_bucket: bool) {
        self.account.tell(|| format!("delete {agent}"));
        // There may be no such agent, or it is protected: both are answers.
        let _answer = self
            .database
            .rows
            .request_deletion(&name(agent), keep_bucket)
            .await;
    }

    /// The live agent of this name.
    pub async fn live(&self, agent: &str) -> Option<Snapshot> {
        self.database.rows.get(agent, false).await.ok().flatten()
    }

    /// The agent of this name, archived or not.
    ///
    /// # Panics
    /// If there is none.
    pub async fn get(&self, agent: &str) -> Snapshot {
        let found = self.database.rows.get(agent, true).await;
        found.ok().flatten().expect("the agent exists")
    }

    /// What is not as it should be, if the rows are right.
    pub async fn wrong(&self) -> Vec<String> {
        oracle::wrong(self).await
    }

    /// Ends all faults and waits until everything is as it should be and stays so for three resyncs without a write.
    /// Returns what is wrong otherwise.
    pub async fn settle(&mut self, within: Duration) -> Vec<String> {
        self.weather(Self::calm());
        self.account.state().faults.armed.clear();
        *self
            .database
            .away_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Duration::ZERO;
        for process in &self.processes {
            process.seat.thaw();
        }
        if self.processes.is_empty() {
            self.start(Seat::default());
        }
        self.account.tell(|| "no more faults".to_owned());
        let begun = self.account.elapsed();
        let period = Duration::from_secs_f64(self.config.resync_seconds);
        let mut quiet = 0;
        let mut last = Vec::new();
        while quiet < 3 {
            let before = self.written();
            sleep(period).await;
            let storm = self.database.calls.load(Ordering::Relaxed) > STORM;
            last = self.wrong().await;
            if self.written() != before {
                quiet = 0;
                if last.is_empty() {
                    last.push("O1: something is still written at each resync".to_owned());
                }
            } else if last.is_empty() {
                quiet += 1;
            } else {
                quiet = 0;
            }
            let broken = !self.database.broken().is_empty();
            if storm || broken || self.account.elapsed() > begun + within {
                break;
            }
        }
        let mut wrong = std::mem::take(&mut *self.database.broken());
        if quiet < 3 {
            wrong.extend(last);
            for process in &self.processes {
                if process.task.is_finished() {
                    wrong.push("a daemon has ended".to_owned());
                }
            }
            if self.database.calls.load(Ordering::Relaxed) > STORM {
                wrong.push("O1: a storm of calls to the database".to_owned());
            }
        }
        wrong
    }

    fn written(&self) -> (u64, u64) {
        let database = self.database.writes.load(Ordering::Relaxed);
        (self.account.state().calls(), database)
    }

    /// Waits until so, or this long; returns whether it is so.
    pub async fn until(&self, within: Duration, so: impl AsyncFn(&Self) -> bool) -> bool {
        let begun = self.account.elapsed();
        while self.account.elapsed() < begun + within {
            if so(self).await {
                return true;
            }
            sleep(Duration::from_secs(2)).await;
        }
        false
    }

    /// Waits until nothing is wrong and nothing is due.
    ///
    /// # Panics
    /// If that takes more than two hours.
    pub async fn steady(&self) {
        let steady = self
            .until(Duration::from_secs(7_200), async |s| {
                s.wrong().await.is_empty()
            })
            .await;
        assert!(steady, "never steady: {:#?}", self.wrong().await);
    }

    /// Time since the history began.
    pub fn elapsed(&self) -> Duration {
        self.account.elapsed()
    }

    /// The clock of the database.
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.database_clock.now()
    }
}
