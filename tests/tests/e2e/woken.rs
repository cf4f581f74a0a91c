//! Deployed agents are woken, and confirm what was pushed, over the local Cloudflare's front door.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use talon_cloudflare::WorkersDev;
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason};
use talon_core::deliver::{WakeError, WorkerDoor, WorkerReport};
use talon_core::resource::ResourceKind;
use talon_core::secret::SecretValue;
use talon_core::snapshot::SecretState;
use talon_core::status::DeploymentStatus;
use talon_simulator::{SimConfig, WorkerEdit};
use talon_store::EventFilter;
use talon_store::network::{PresenceStore, Registration};
use talon_store_sqlite::SqliteStore;
use talon_tests::pretender::{Manner, Pretender};
use talon_tests::stage::{Stage, idle, spec, wait_for};
use tokio::sync::watch;

const AGENT: &str = "research-pro";

struct Scene {
    stage: Stage,
    store: Arc<SqliteStore>,
    workers: Arc<Pretender>,
    folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("talon.db").display());
    SqliteStore::migrate(&url).await.expect("a schema");
    let store = Arc::new(SqliteStore::open(&url).await.expect("a database"));
    let workers = Arc::new(Pretender::start().await);
    let sim = SimConfig {
        runner: workers.clone(),
        front_door: Some(([127, 0, 0, 1], 0).into()),
        ..SimConfig::default()
    };
    let mut stage = Stage::on(store.clone(), sim).await;
    let door = WorkersDev::new(stage.sim.front_door()).expect("a client");
    stage.door = Some(Arc::new(door));
    Scene {
        stage,
        store,
        workers,
        folder,
    }
}

fn secrets_ready(s: &Snapshot) -> (Reason, String) {
    let mut all = s.conditions.iter().map(|c| &c.condition);
    let found = all.find(|c| c.kind == ConditionType::SecretsReady);
    found.map_or((Reason::NotObserved, String::new()), |c| {
        (c.reason, c.message.clone())
    })
}

fn confirmed(s: &Snapshot) -> bool {
    secrets_ready(s).0 == Reason::Pushed && idle(s)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_is_woken_and_every_secret_and_the_runtime_confirmed() {
    let scene = scene().await;
    let stage = &scene.stage;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.until(AGENT, "confirmed", confirmed).await;
    assert_eq!(stage.write_names().len(), 4, "{:?}", stage.write_names());
    assert!(agent.secrets.len() >= 8);
    let verified = |s: &talon_core::snapshot::SecretRecord| s.state == SecretState::Verified;
    assert!(agent.secrets.iter().all(verified), "{:?}", agent.secrets);
    let contact = agent.contact.expect("it was spoken to");
    assert_eq!(contact.runtime, Some(stage.bundle.manifest.sha256.clone()));
    let worker = agent.agent.status.worker_name.expect("a Worker");
    assert_eq!(scene.workers.woken(), [worker]);

    // A push is followed by another word, a card is not.
    let mut changed = spec();
    changed.model = "anthropic/claude-opus-4-1".to_owned();
    stage.apply(AGENT, &changed).await;
    stage
        .until(AGENT, "confirmed again", |s| {
            confirmed(s) && scene.workers.woken().len() == 2
        })
        .await;
    changed.display_name = Some("Research Pro".to_owned());
    stage.apply(AGENT, &changed).await;
    stage.deployed(AGENT).await;
    assert_eq!(scene.workers.woken().len(), 2);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_away_is_deployed_and_says_so_and_is_woken_when_it_is_there() {
    let scene = scene().await;
    let stage = &scene.stage;
    scene.workers.be(Manner::Away);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage
        .until(AGENT, "deployed and tried", |s| {
            s.agent.status.deployment_status == DeploymentStatus::Deployed
                && s.contact.as_ref().is_some_and(|c| c.tries >= 2)
        })
        .await;
    assert_eq!(agent.work.failure_count, 0);
    let (reason, message) = secrets_ready(&agent);
    assert_eq!(reason, Reason::PushedUnverified);
    assert!(message.contains("does not answer"), "{message}");
    scene.workers.be(Manner::Honest);
    stage.until(AGENT, "confirmed", confirmed).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_worker_of_ours_would_say_confirms_nothing() {
    for (manner, told) in [
        (Manner::Saying("<html>".to_owned()), "cannot be understood"),
        (
            Manner::Saying(format!(
                "{{\"fingerprints\":{{\"A\":\"{}\"}}}}",
                "x".repeat(64)
            )),
            "its fingerprints are none",
        ),
        (Manner::Saying("x".repeat(1 << 20)), "too long"),
        (
            Manner::Elsewhere("http://127.0.0.1:9/status".to_owned()),
            "302",
        ),
    ] {
        let scene = scene().await;
        let stage = &scene.stage;
        scene.workers.be(manner.clone());
        let daemon = stage.daemon();
        stage.apply(AGENT, &spec()).await;
        let agent = stage
            .until(AGENT, "tried", |s| {
                s.contact.is_some() && s.work.lease_owner.is_none()
            })
            .await;
        let (reason, message) = secrets_ready(&agent);
        assert_eq!(reason, Reason::PushedUnverified, "{manner:?}");
        assert!(message.contains(told), "{manner:?}: {message}");
        assert!(!message.contains("html"), "{message}");
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_holds_another_value_gets_it_again() {
    let scene = scene().await;
    let stage = &scene.stage;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.until(AGENT, "confirmed", confirmed).await;
    daemon.stop().await;

    // A minute after the push, what the Worker says is no longer an old version's answer: the records are made older.
    let minute = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-120 seconds')";
    let path = scene.folder.path().join("talon.db");
    for sql in [
        format!("UPDATE agent_secret SET pushed_at = {minute}"),
        format!("UPDATE agent_resource SET intent_at = {minute} WHERE kind = 'worker'"),
    ] {
        let url = format!("sqlite://{}", path.display());
        let mut db = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
            .await
            .expect("the file opens");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut db)
            .await
            .expect("written");
    }
    scene
        .workers
        .be(Manner::Without("ANTHROPIC_API_KEY".to_owned()));
    stage.sim.clear_calls();
    let daemon = stage.daemon();
    // Whoever looks sees that what was written last was not yet spoken about.
    daemon.daemon.resync_now();
    stage
        .until(AGENT, "repaired", |s| {
            confirmed(s) && stage.write_names() == ["workers.secrets.bulk"]
        })
        .await;
    let filter = EventFilter {
        agent: Some(AGENT.to_owned()),
        ..EventFilter::default()
    };
    let told = stage.store.events(&filter).await.expect("events");
    let drift = told.iter().any(|e| {
        e.event
            .message
            .contains("other values of ANTHROPIC_API_KEY")
    });
    assert!(drift, "{told:#?}");
    assert!(agent.contact.is_some());
    daemon.stop().await;
}

/// The agent's Worker registers at the Hub.
async fn come(scene: &Scene, agent: &Snapshot) {
    let registration = Registration {
        connection_id: "c1".to_owned(),
        hub: "hub".to_owned(),
        token_sha256: agent.agent.status.auth_token_hash.clone().expect("a token"),
        runtime: None,
    };
    let known = scene.store.agent_connected(agent.agent.id, &registration);
    known.await.expect("registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_left_the_hub_is_waited_for_and_its_message_tells_of_the_last_wake() {
    let scene = scene().await;
    let stage = &scene.stage;
    let daemon = stage.daemon();
    let mut stays = spec();
    stays.keep_alive = true;
    stage.apply(AGENT, &stays).await;
    let agent = stage.until(AGENT, "confirmed", confirmed).await;
    come(&scene, &agent).await;
    let id = agent.agent.id;
    let connected = |s: &Snapshot| {
        let mut all = s.conditions.iter().map(|c| &c.condition);
        let hub = all.find(|c| c.kind == ConditionType::HubConnected);
        hub.map(|c| (c.reason, c.message.clone()))
    };
    stage
        .until(AGENT, "connected", |s| {
            idle(s) && connected(s).is_some_and(|c| c.0 == Reason::Registered)
        })
        .await;
    scene
        .store
        .agent_disconnected(id, "c1")
        .await
        .expect("ended");
    let away = stage
        .until(AGENT, "missed", |s| {
            s.work.lease_owner.is_none()
                && connected(s).is_some_and(|c| c.0 == Reason::Disconnected)
        })
        .await;
    let (_, message) = connected(&away).expect("said");
    assert!(message.contains("woken at"), "{message}");
    let due = away.work.next_due_at.expect("it comes back to wake it");
    let wait = (due - away.now).num_seconds();
    assert!((60..=121).contains(&wait), "{wait} s");
    assert_eq!(scene.workers.woken().len(), 1);
    daemon.stop().await;
}

/// It would come back to be woken in two minutes: that it was edited does not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_left_the_hub_because_it_was_edited_is_repaired_by_the_next_resync() {
    let scene = scene().await;
    let stage = &scene.stage;
    let daemon = stage.daemon();
    let mut stays = spec();
    stays.keep_alive = true;
    stage.apply(AGENT, &stays).await;
    stage.until(AGENT, "confirmed", confirmed).await;
    daemon.daemon.resync_now();
    let agent = stage
        .until(AGENT, "settled", |s| {
            let worker = s.resource(ResourceKind::Worker);
            worker.is_some_and(|w| w.observed_hash.is_some()) && idle(s)
        })
        .await;
    come(&scene, &agent).await;
    stage.until(AGENT, "at the Hub", idle).await;
    let lag = stage.config.list_lag_seconds;
    tokio::time::sleep(Duration::from_secs_f64(lag)).await;

    let edit = WorkerEdit {
        drop_bindings: vec!["AGENT_NAME".to_owned()],
        ..WorkerEdit::default()
    };
    let worker = agent.agent.status.worker_name.clone().expect("a Worker");
    assert!(stage.sim.edit_worker(&worker, &edit));
    let left = scene.store.agent_disconnected(agent.agent.id, "c1");
    left.await.expect("ended");
    let minute = |s: &Snapshot| {
        let due = s.work.next_due_at.map(|due| (due - s.now).num_seconds());
        s.work.lease_owner.is_none() && due.is_some_and(|wait| wait > 60)
    };
    stage.until(AGENT, "missed", minute).await;
    stage.sim.clear_calls();
    let begun = Instant::now();
    daemon.daemon.resync_now();
    stage
        .until(AGENT, "repaired", |_| {
            stage.write_names() == ["tokens.roll", "workers.upload"]
        })
        .await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    daemon.stop().await;
}

/// Holds whoever knocks until it is opened, and counts.
struct Counting {
    door: WorkersDev,
    opened: watch::Receiver<bool>,
    there: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl WorkerDoor for Counting {
    async fn wake(
        &self,
        url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(), WakeError> {
        let there = self.there.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(there, Ordering::SeqCst);
        let opened = self.opened.clone().wait_for(|open| *open).await.is_ok();
        self.there.fetch_sub(1, Ordering::SeqCst);
        assert!(opened, "the test is over");
        self.door.wake(url, control, timeout).await
    }

    async fn status(
        &self,
        url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<WorkerReport, WakeError> {
        self.door.status(url, control, timeout).await
    }
}

/// While as many as may be wait for their Workers, everybody else is deployed; whoever found no place comes back.
#[tokio::test(flavor = "multi_thread")]
async fn four_workers_are_spoken_to_at_once_and_nobody_waits_behind_them() {
    let mut scene = scene().await;
    let (open, opened) = watch::channel(false);
    let counting = Arc::new(Counting {
        door: WorkersDev::new(scene.stage.sim.front_door()).expect("a client"),
        opened,
        there: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    scene.stage.door = Some(counting.clone());
    let stage = &scene.stage;
    let daemon = stage.daemon();
    let agents: Vec<String> = (0..9).map(|n| format!("agent-{n}")).collect();
    for agent in &agents {
        stage.apply(agent, &spec()).await;
    }
    let crowded = || async {
        let all = stage.all().await;
        let uploads = stage.write_names();
        let uploaded = uploads.iter().filter(|w| *w == "workers.upload").count();
        let put_off = all
            .iter()
            .filter(|s| s.work.lease_owner.is_none() && s.work.next_due_at.is_some());
        // Four hold their passes; the others have ended theirs, and come back.
        (uploaded == 9 && put_off.count() == 5).then_some(())
    };
    wait_for(crowded).await.expect("five were put off");
    assert_eq!(counting.there.load(Ordering::SeqCst), 4);
    open.send_replace(true);
    for agent in &agents {
        stage.until(agent, "confirmed", confirmed).await;
    }
    assert_eq!(counting.most.load(Ordering::SeqCst), 4);
    daemon.stop().await;
}
