//! An agent lives: the real runtime, built from its sources, in real workerd, deployed by the real daemon, at a real Hub.
//!
//! The first run on a machine builds the runtime and fetches workerd, both from npm.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::WorkersDev;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_core::condition::{ConditionType, Truth};
use talon_core::deliver::{Deliver, TaskUpdate};
use talon_core::snapshot::{AuthTokenState, SecretState};
use talon_core::spec::AgentSpec;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_simulator::{SimConfig, WorkerdOptions, WorkerdRunner};
use talon_store_sqlite::SqliteStore;
use talon_tests::stage::{Running, Stage, name, spec, wait_for};
use talon_worker::workshop::Workshop;
use tokio::net::TcpListener;

const AGENT: &str = "note-taker";

/// An agent that thinks with the stand-in model, which needs no key.
fn thinker() -> AgentSpec {
    AgentSpec {
        model: "dev/echo".to_owned(),
        api_key_refs: Default::default(),
        ..spec()
    }
}

struct Network {
    stage: Stage,
    daemon: Running,
    hub: Hub,
    _folder: tempfile::TempDir,
}

impl Network {
    async fn start() -> Self {
        let bundle = tokio::task::spawn_blocking(|| {
            let shop = Workshop::usual().expect("a folder for bundles");
            shop.find_or_build(&mut |line| println!("{line}"))
                .expect("the runtime builds")
        });
        let runner = WorkerdRunner::new(WorkerdOptions::default()).expect("a runner");
        runner.prepare().await.expect("workerd");
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("talon.db").display());
        SqliteStore::migrate(&url).await.expect("a schema");
        let store = Arc::new(SqliteStore::open(&url).await.expect("a database"));
        let cloud = SimConfig {
            runner: Arc::new(runner),
            front_door: Some(([127, 0, 0, 1], 0).into()),
            ..SimConfig::default()
        };
        let mut stage = Stage::on(store.clone(), cloud).await;
        stage.bundle = bundle.await.expect("the build does not panic");
        // A real upload is tried in workerd before it is accepted.
        stage.config.request_timeout_seconds = 30.0;
        stage.config.lease_seconds = 90.0;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        stage.config.hub_url = format!("ws://{address}/ws/agents");
        let door = Arc::new(WorkersDev::new(stage.sim.front_door()).expect("a client"));
        stage.door = Some(door.clone());
        let daemon = stage.daemon();
        let parts = HubParts {
            store,
            key: SigningKey::new([7; 32]),
            search: None,
            waker: Some(daemon.daemon.waker(door)),
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(OsRandom),
        };
        let hub = Hub::start(parts, HubConfig::default())
            .await
            .expect("a Hub");
        let routes = hub.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            stage,
            daemon,
            hub,
            _folder: folder,
        }
    }

    /// Hands in a task and follows it to its end: the pieces of the answer together, and the whole.
    async fn ask(&self, id: &str, text: &str) -> (String, String) {
        let task = NewTask {
            id: TaskId::parse(id).expect("an id"),
            agent: AGENT.to_owned(),
            session: TaskId::parse("session-1").expect("an id"),
            text: text.to_owned(),
            metadata: serde_json::json!({}),
            asked_by: None,
            deadline_in: Duration::from_secs(60),
        };
        let mut updates = self.hub.deliver(task).await.expect("the task is taken");
        let mut pieces = String::new();
        while let Some(update) = updates.next().await {
            match update {
                TaskUpdate::Status { text, .. } => pieces.push_str(&text),
                TaskUpdate::Done { state, text } => {
                    assert_eq!(state, TaskState::Completed, "{text}");
                    return (pieces, text);
                }
            }
        }
        panic!("the Hub stopped before {id} ended");
    }

    async fn stop(self) {
        self.daemon.stop().await;
        self.hub.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_agent_is_woken_answers_writes_an_artifact_remembers_and_is_deleted() {
    let network = Network::start().await;
    let stage = &network.stage;
    stage.apply(AGENT, &thinker()).await;
    let deployed = stage.deployed(AGENT).await;
    assert_eq!(stage.write_names().len(), 4, "{:?}", stage.write_names());
    let confirmed = stage
        .until(AGENT, "confirmed by its Worker", |s| {
            s.secrets.iter().all(|s| s.state == SecretState::Verified)
        })
        .await;
    let runs = confirmed.contact.and_then(|c| c.runtime);
    assert_eq!(runs, Some(stage.bundle.manifest.sha256.clone()));

    let (_, answer) = network
        .ask("task-1", "Save a note: the kettle is blue")
        .await;
    assert!(answer.starts_with("Done."), "{answer}");
    let bucket = deployed.agent.status.r2_bucket.expect("a bucket");
    let objects = wait_for(|| async {
        let buckets = stage.sim.buckets();
        let found = buckets.into_iter().find(|b| b.name == bucket)?;
        (found.objects > 0).then_some(found.objects)
    });
    assert!(objects.await.is_some(), "nothing was written to the bucket");

    let (pieces, answer) = network.ask("task-2", "What did I tell you before?").await;
    assert!(answer.contains("the kettle is blue"), "{answer}");
    assert_eq!(pieces, answer, "the answer was streamed");

    let connected = stage
        .until(AGENT, "connected", |s| {
            s.conditions.iter().any(|c| {
                c.condition.kind == ConditionType::HubConnected && c.condition.status == Truth::True
            })
        })
        .await;
    let tokens: Vec<_> = connected.auth_tokens.iter().map(|t| t.state).collect();
    assert_eq!(tokens, [AuthTokenState::Current]);

    let asked = stage.store.request_deletion(&name(AGENT), false).await;
    asked.expect("accepted");
    stage.archived(AGENT).await;
    let offline = wait_for(|| async {
        let online = network.hub.is_online(AGENT).await.expect("the Hub answers");
        (!online).then_some(())
    });
    assert!(offline.await.is_some(), "a deleted agent stays connected");
    assert!(stage.sim.workers().is_empty() && stage.sim.buckets().is_empty());
    network.stop().await;
}
