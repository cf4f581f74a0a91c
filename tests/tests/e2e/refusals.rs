//! What cannot be done is said, with what to do, and disturbs nothing else.

use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::status::DeploymentStatus;
use talon_simulator::SimConfig;
use talon_store::memory::MemoryStore;
use talon_tests::stage::{ANTHROPIC, Stage, spec};

fn stalled(s: &Snapshot, reason: Reason) -> bool {
    s.conditions.iter().any(|c| {
        c.condition.kind == ConditionType::Stalled
            && c.condition.status == Truth::True
            && c.condition.reason == reason
    })
}

fn failed(s: &Snapshot, reason: Reason) -> bool {
    s.agent.status.deployment_status == DeploymentStatus::Failed && stalled(s, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_worker_under_our_name_is_never_touched() {
    let stage = Stage::in_memory().await;
    let mut row = spec();
    row.suspend = true;
    stage.apply("research-pro", &row).await;
    let id = stage.get("research-pro").await.agent.id;
    let worker = talon_core::name::worker_name(
        &stage.install,
        id,
        &talon_tests::stage::name("research-pro"),
    );
    stage
        .sim
        .put_foreign_worker(&worker, Some(vec!["somebody-else".to_owned()]))
        .expect("a foreign Worker");
    let before = format!("{:?}", stage.sim.worker(&worker));
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let agent = stage
        .until("research-pro", "stalled", |s| {
            failed(s, Reason::NameConflict)
        })
        .await;
    assert!(
        agent
            .agent
            .status
            .deployment_error
            .is_some_and(|e| e.contains(&worker))
    );
    stage.apply("news-digest", &spec()).await;
    stage.deployed("news-digest").await;
    assert_eq!(format!("{:?}", stage.sim.worker(&worker)), before);
    stage
        .store
        .request_deletion(&talon_tests::stage::name("research-pro"), false)
        .await
        .expect("accepted");
    stage.archived("research-pro").await;
    assert_eq!(format!("{:?}", stage.sim.worker(&worker)), before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_controller_token_says_so() {
    let store = std::sync::Arc::new(MemoryStore::new(std::sync::Arc::new(
        talon_controller::clock::SystemClock::default(),
    )));
    let sim = SimConfig {
        api_token: "another-token-than-the-one-we-have".to_owned(),
        ..SimConfig::default()
    };
    let stage = Stage::on(store, sim).await;
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let agent = stage
        .until("research-pro", "failed", |s| {
            failed(s, Reason::CloudflareAuth)
        })
        .await;
    assert!(
        agent
            .agent
            .status
            .deployment_error
            .is_some_and(|e| e.contains("talon doctor"))
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_subdomain_says_so_and_makes_nothing() {
    let store = std::sync::Arc::new(MemoryStore::new(std::sync::Arc::new(
        talon_controller::clock::SystemClock::default(),
    )));
    let stage = Stage::on(
        store,
        SimConfig {
            subdomain: None,
            ..SimConfig::default()
        },
    )
    .await;
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let agent = stage
        .until("research-pro", "failed", |s| failed(s, Reason::NoSubdomain))
        .await;
    assert!(
        agent
            .agent
            .status
            .deployment_error
            .is_some_and(|e| e.contains("workers.dev"))
    );
    assert!(stage.write_names().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_leads_nowhere_names_it_and_heals_by_itself() {
    let stage = Stage::in_memory().await;
    stage.secrets.remove(ANTHROPIC);
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let agent = stage
        .until("research-pro", "failed", |s| {
            failed(s, Reason::SecretValueMissing)
        })
        .await;
    assert!(
        agent
            .agent
            .status
            .deployment_error
            .is_some_and(|e| e.contains("TALON_SECRET_ANTHROPIC"))
    );
    assert!(
        stage.write_names().is_empty(),
        "nothing is made without a key"
    );
    stage
        .secrets
        .set(ANTHROPIC, "sk-ant-canary-value-of-the-fixture");
    stage
        .store
        .request_reconcile(&talon_tests::stage::name("research-pro"))
        .await
        .expect("accepted");
    stage.deployed("research-pro").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_key_waits_as_pending() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    let mut row = spec();
    row.api_key_refs.clear();
    stage.apply("research-pro", &row).await;
    let agent = stage
        .until("research-pro", "waiting", |s| {
            s.conditions
                .iter()
                .any(|c| c.condition.reason == Reason::AwaitingKeys)
        })
        .await;
    assert_eq!(
        agent.agent.status.deployment_status,
        DeploymentStatus::Pending
    );
    assert!(stage.write_names().is_empty());
    daemon.stop().await;
}
