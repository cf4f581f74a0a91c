//! A stage: one store, one local Cloudflare, and as many daemons on them as a test starts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::{Client, ClientConfig, Timeouts};
use talon_controller::budget::CallBudget;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_controller::{ControllerConfig, Daemon, Parts};
use talon_core::cloud::Budget;
use talon_core::deliver::WorkerDoor;
use talon_core::secret::{Provider, SecretRef, SecretValue};
use talon_core::spec::{AgentSpec, Skill};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentName, InstallId, Owner, Snapshot, manifest};
use talon_plan::R2Endpoint;
use talon_router::EmbeddedRegistry;
use talon_secrets::{InstallKey, SecretReader};
use talon_simulator::{
    CallClass, CallRecord, DEV_API_TOKEN, Fault, FaultRule, SimConfig, SimHandle, Simulator,
};
use talon_store::memory::MemoryStore;
use talon_store::{ApplyOptions, ListFilter, Store};
use talon_worker::Bundle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::secrets::MapReader;

/// How long a test waits for what must happen before it fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The reference that [`spec`] uses.
pub const ANTHROPIC: &str = "env:TALON_SECRET_ANTHROPIC";

/// One store, one local Cloudflare.
pub struct Stage {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The local Cloudflare.
    pub sim: SimHandle,
    /// What references lead to.
    pub secrets: Arc<MapReader>,
    /// This installation.
    pub install: InstallId,
    /// Root of control tokens.
    pub key: Arc<InstallKey>,
    /// The code that daemons deploy.
    pub bundle: Bundle,
    /// The Workers themselves, as daemons reach them.
    pub door: Option<Arc<dyn WorkerDoor>>,
    /// Settings for daemons; change them before [`Stage::daemon`].
    pub config: ControllerConfig,
}

/// A daemon that runs in the background.
pub struct Running {
    /// Tells it to stop.
    pub stop: CancellationToken,
    /// For tests that want a resync now.
    pub daemon: Daemon,
    task: JoinHandle<()>,
}

impl Running {
    /// Stops it gracefully.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the daemon ends without a panic");
    }

    /// Drops it at once, wherever it is, as a crash would.
    pub async fn crash(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(
            ended.is_err_and(|e| e.is_cancelled()),
            "the daemon was aborted"
        );
    }
}

/// Settings under which tests do not wait long.
pub fn quick() -> ControllerConfig {
    ControllerConfig {
        hub_url: "ws://127.0.0.1:9/ws/agents".to_owned(),
        lease_seconds: 6.0,
        resync_seconds: 3600.0,
        request_timeout_seconds: 2.0,
        settle_grace_seconds: 1.0,
        list_lag_seconds: 0.2,
        list_spacing_seconds: 0.0,
        cleanup_deadline_seconds: 2.0,
        backoff_initial_seconds: 0.1,
        backoff_max_seconds: 1.0,
        shutdown_seconds: 5.0,
        ..ControllerConfig::default()
    }
}

/// A valid spec.
pub fn spec() -> AgentSpec {
    let text = "apiVersion: talon.dev/v1\nkind: OpenClawAgent\nmetadata: {name: some-agent}\nspec:\n  persona: You are careful.\n  \
                instructions: Cite every claim.\n  model: anthropic/claude-sonnet-4-6\n";
    let mut spec = manifest::parse(text, "fixture")
        .expect("the fixture is valid")
        .remove(0)
        .spec;
    spec.api_key_refs.insert(
        Provider("anthropic".to_owned()),
        SecretRef(ANTHROPIC.to_owned()),
    );
    spec.skills.push(Skill {
        id: "research".to_owned(),
        name: "Research".to_owned(),
        description: "Researches any topic.".to_owned(),
        pricing_model: talon_core::spec::PricingModel::Free,
        price_usd: None,
        tags: Vec::new(),
        examples: Vec::new(),
    });
    spec
}

/// An agent's name.
pub fn name(text: &str) -> AgentName {
    AgentName::parse(text).expect("the fixture's name is valid")
}

impl Stage {
    /// A stage on the in-memory store.
    pub async fn in_memory() -> Self {
        Self::with(SimConfig::default()).await
    }

    /// A stage on the in-memory store with such a local Cloudflare.
    pub async fn with(sim: SimConfig) -> Self {
        let store = MemoryStore::new(Arc::new(SystemClock::default()));
        Self::on(Arc::new(store), sim).await
    }

    /// A stage on this store and simulator.
    pub async fn on(store: Arc<dyn Store>, sim: SimConfig) -> Self {
        let sim = Simulator::start(sim).await.expect("the simulator starts");
        let secrets = Arc::new(MapReader::default());
        secrets.set(ANTHROPIC, "sk-ant-canary-value-of-the-fixture");
        let key = Arc::new(InstallKey::from_hex(&"5a".repeat(32)).expect("a key"));
        let install = InstallId::from_random(*b"0123456789");
        let install = store
            .init_install(&install, &key.check())
            .await
            .expect("the store initialises")
            .id;
        Self {
            store,
            sim,
            secrets,
            install,
            key,
            bundle: Bundle::embedded(),
            door: None,
            config: quick(),
        }
    }

    /// A client of the local Cloudflare with this budget.
    pub fn client(&self, budget: Arc<dyn Budget>) -> Client {
        let timeout = Duration::from_secs_f64(self.config.request_timeout_seconds);
        let config = ClientConfig {
            api_base: self.sim.api_base(),
            s3_endpoint: Some(self.sim.s3_endpoint()),
            account_id: self.sim.account_id().to_owned(),
            token: SecretValue::new(DEV_API_TOKEN.to_owned()),
            timeouts: Timeouts {
                connect: timeout,
                request: timeout,
                upload: timeout,
            },
            user_agent: "talon-tests".to_owned(),
        };
        Client::new(config, budget).expect("a client")
    }

    /// Starts a daemon.
    pub fn daemon(&self) -> Running {
        self.daemon_reading(self.secrets.clone())
    }

    /// Starts a daemon that reads references so.
    pub fn daemon_reading(&self, secrets: Arc<dyn SecretReader>) -> Running {
        let clock = Arc::new(SystemClock::default());
        let budget = Arc::new(CallBudget::in_process(clock.clone(), 1_000_000));
        let parts = Parts {
            store: self.store.clone(),
            cloud: Arc::new(self.client(budget)),
            registry: Arc::new(EmbeddedRegistry::new(self.store.clone())),
            secrets,
            bundle: Arc::new(self.bundle.clone()),
            door: self.door.clone(),
            install: self.install.clone(),
            key: self.key.clone(),
            r2_endpoint: R2Endpoint::Fixed(self.sim.s3_endpoint().to_string()),
            clock,
            random: Arc::new(OsRandom),
        };
        let daemon = Daemon::new(parts, self.config.clone());
        let stop = CancellationToken::new();
        let (runs, stopped) = (daemon.clone(), stop.clone());
        let task = tokio::spawn(async move { runs.run(stopped).await.expect("the daemon runs") });
        Running { stop, daemon, task }
    }

    /// Applies a spec.
    pub async fn apply(&self, agent: &str, spec: &AgentSpec) {
        let applied = self
            .store
            .apply(
                &name(agent),
                &Owner::default(),
                spec,
                ApplyOptions::default(),
            )
            .await;
        applied.expect("the spec is accepted");
    }

    /// Asks for the deletion of an agent with everything it has.
    pub async fn delete(&self, agent: &str) {
        let asked = self.store.request_deletion(&name(agent), false).await;
        asked.expect("accepted");
    }

    /// Lets the next call of this operation go wrong, once.
    pub fn fault_once(&self, operation: &str, fault: Fault) {
        let rule = FaultRule::on(operation, fault).times(1);
        self.sim.faults().add(vec![rule]).expect("a valid rule");
    }

    /// Waits until what [`Stage::fault_once`] asked for has happened.
    pub async fn fault_fired(&self) {
        wait_for(|| async { (self.sim.faults().fired() == 1).then_some(()) })
            .await
            .expect("the call was sent");
    }

    /// The agents that are not archived.
    pub async fn all(&self) -> Vec<Snapshot> {
        let all = self.store.list(&ListFilter::default()).await;
        all.expect("the store answers")
    }

    /// The agent as it is now, archived or not.
    pub async fn get(&self, agent: &str) -> Snapshot {
        self.store
            .get(agent, true)
            .await
            .expect("the store answers")
            .expect("the agent exists")
    }

    /// Waits until the agent is so.
    pub async fn until(&self, agent: &str, what: &str, so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let found = wait_for(|| async {
            let snapshot = self.get(agent).await;
            so(&snapshot).then_some(snapshot)
        });
        match found.await {
            Some(snapshot) => snapshot,
            None => panic!("{agent} never became {what}: {:#?}", self.get(agent).await),
        }
    }

    /// Waits until the agent is deployed at its present generation.
    pub async fn deployed(&self, agent: &str) -> Snapshot {
        self.until(agent, "deployed", |s| {
            let status = &s.agent.status;
            status.deployment_status == DeploymentStatus::Deployed
                && status.observed_generation == s.agent.generation
                && idle(s)
        })
        .await
    }

    /// Waits until the agent's row is archived.
    pub async fn archived(&self, agent: &str) -> Snapshot {
        self.until(agent, "archived", |s| s.agent.is_archived() && idle(s))
            .await
    }

    /// The logged calls that may change something, S3's left out.
    pub fn writes(&self) -> Vec<CallRecord> {
        self.sim
            .calls()
            .into_iter()
            .filter(|c| c.class == CallClass::Write && !c.operation.starts_with("s3."))
            .collect()
    }

    /// Names of the operations of [`Stage::writes`].
    pub fn write_names(&self) -> Vec<String> {
        self.writes().into_iter().map(|c| c.operation).collect()
    }
}

/// Whether nobody works on the agent and nothing is due.
pub fn idle(s: &Snapshot) -> bool {
    s.work.lease_owner.is_none() && s.work.next_due_at.is_none()
}

/// Asks again and again until there is an answer, or patience ends.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> Option<T> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}
