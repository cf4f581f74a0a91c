//! What cannot be done is said, with what to do, and disturbs nothing else.

use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::status::DeploymentStatus;
use talon_simulator::SimConfig;
use talon_tests::stage::{ANTHROPIC, Stage, name, spec};

const AGENT: &str = "research-pro";

fn failed(s: &Snapshot, reason: Reason) -> bool {
    s.agent.status.deployment_status == DeploymentStatus::Failed
        && s.conditions.iter().any(|c| {
            c.condition.kind == ConditionType::Stalled
                && c.condition.status == Truth::True
                && c.condition.reason == reason
        })
}

/// Waits until the agent failed for this reason, and its error names what a person needs.
async fn fails(stage: &Stage, reason: Reason, named: &str) {
    let agent = stage.until(AGENT, "failed", |s| failed(s, reason)).await;
    let error = agent.agent.status.deployment_error.unwrap_or_default();
    assert!(error.contains(named), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_worker_under_our_name_is_never_touched() {
    let stage = Stage::in_memory().await;
    let mut row = spec();
    row.suspend = true;
    stage.apply(AGENT, &row).await;
    let id = stage.get(AGENT).await.agent.id;
    let worker = talon_core::name::worker_name(&stage.install, id, &name(AGENT));
    stage
        .sim
        .put_foreign_worker(&worker, Some(vec!["somebody-else".to_owned()]))
        .expect("a foreign Worker");
    let before = format!("{:?}", stage.sim.worker(&worker));
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    fails(&stage, Reason::NameConflict, &worker).await;
    stage.apply("news-digest", &spec()).await;
    stage.deployed("news-digest").await;
    assert_eq!(format!("{:?}", stage.sim.worker(&worker)), before);
    stage.delete(AGENT).await;
    stage.archived(AGENT).await;
    assert_eq!(format!("{:?}", stage.sim.worker(&worker)), before);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_controller_token_says_so() {
    let stage = Stage::with(SimConfig {
        api_token: "another-token-than-the-one-we-have".to_owned(),
        ..SimConfig::default()
    })
    .await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    fails(&stage, Reason::CloudflareAuth, "talon doctor").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_subdomain_says_so_and_makes_nothing() {
    let stage = Stage::with(SimConfig {
        subdomain: None,
        ..SimConfig::default()
    })
    .await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    fails(&stage, Reason::NoSubdomain, "workers.dev").await;
    assert!(stage.write_names().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_leads_nowhere_names_it_and_heals_by_itself() {
    let stage = Stage::in_memory().await;
    stage.secrets.remove(ANTHROPIC);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    fails(&stage, Reason::SecretValueMissing, "TALON_SECRET_ANTHROPIC").await;
    assert!(
        stage.write_names().is_empty(),
        "nothing is made without a key"
    );
    stage
        .secrets
        .set(ANTHROPIC, "sk-ant-canary-value-of-the-fixture");
    stage
        .store
        .request_reconcile(&name(AGENT))
        .await
        .expect("accepted");
    stage.deployed(AGENT).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_key_waits_as_pending() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    let mut row = spec();
    row.api_key_refs.clear();
    stage.apply(AGENT, &row).await;
    let agent = stage
        .until(AGENT, "waiting", |s| {
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
