//! What is changed behind our back is put right within one resync, with an event that names it.

use talon_core::event::EventReason;
use talon_core::spec::Jurisdiction;
use talon_core::{Snapshot, resource::ResourceKind};
use talon_simulator::WorkerEdit;
use talon_store::EventFilter;
use talon_tests::stage::{Running, Stage, spec, wait_for};

use crate::credentials::assert_working;

const AGENT: &str = "research-pro";

/// A deployed agent whose drift baseline is known.
async fn settled() -> (Stage, Running, Snapshot) {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    stage.deployed(AGENT).await;
    daemon.daemon.resync_now();
    let agent = stage
        .until(AGENT, "settled", |s| {
            s.resource(ResourceKind::Worker)
                .is_some_and(|r| r.observed_hash.is_some())
                && talon_tests::stage::idle(s)
        })
        .await;
    // The lists may lag behind our own writes for this long, and may not contradict them before.
    tokio::time::sleep(std::time::Duration::from_secs_f64(
        stage.config.list_lag_seconds,
    ))
    .await;
    stage.sim.clear_calls();
    (stage, daemon, agent)
}

async fn repaired(stage: &Stage, daemon: &Running, object: &str, writes: &[&str]) -> Snapshot {
    daemon.daemon.resync_now();
    let done = wait_for(|| async {
        let filter = EventFilter {
            agent: Some(AGENT.to_owned()),
            ..EventFilter::default()
        };
        let events = stage
            .store
            .events(&filter)
            .await
            .expect("the store answers");
        let named = events.iter().any(|e| {
            e.event.reason == EventReason::DriftDetected && e.event.object.starts_with(object)
        });
        (named && stage.write_names().len() >= writes.len()).then_some(())
    });
    assert!(
        done.await.is_some(),
        "no event names {object}: {:#?}",
        stage.write_names()
    );
    let agent = stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), writes);
    assert_working(stage, &agent);
    agent
}

fn worker(agent: &Snapshot) -> &str {
    agent
        .agent
        .status
        .worker_name
        .as_deref()
        .expect("a Worker name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_worker_is_uploaded_again_with_new_credentials() {
    let (stage, daemon, agent) = settled().await;
    assert!(stage.sim.remove_worker(worker(&agent)));
    repaired(
        &stage,
        &daemon,
        "worker",
        &["tokens.roll", "workers.upload", "workers.subdomain.set"],
    )
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_worker_is_uploaded_again() {
    let (stage, daemon, agent) = settled().await;
    let edit = WorkerEdit {
        code: Some("export default {};".to_owned()),
        ..WorkerEdit::default()
    };
    assert!(stage.sim.edit_worker(worker(&agent), &edit));
    repaired(
        &stage,
        &daemon,
        "worker",
        &["tokens.roll", "workers.upload"],
    )
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_bucket_is_made_again() {
    let (stage, daemon, agent) = settled().await;
    let bucket = agent.agent.status.r2_bucket.as_deref().expect("a bucket");
    assert!(stage.sim.remove_bucket(Jurisdiction::Default, bucket));
    repaired(&stage, &daemon, "r2_bucket", &["r2.bucket.create"]).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_token_is_replaced_and_pushed_in_one_call() {
    let (stage, daemon, agent) = settled().await;
    assert!(
        stage
            .sim
            .remove_token(agent.agent.status.r2_token_id.as_deref().expect("a token"))
    );
    repaired(
        &stage,
        &daemon,
        "r2_token",
        &["tokens.create", "workers.secrets.bulk"],
    )
    .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_card_is_registered_again_without_a_cloudflare_write() {
    let (stage, daemon, agent) = settled().await;
    let claim = steal(&stage, &agent).await;
    stage
        .store
        .commit(&claim, &[talon_core::mutation::Mutation::CardGone])
        .await
        .expect("committed");
    stage.store.release(&claim).await.expect("released");
    repaired(&stage, &daemon, "agent_card", &[]).await;
    assert!(
        stage
            .store
            .card(agent.agent.id)
            .await
            .expect("the store answers")
            .is_some()
    );
    daemon.stop().await;
}

/// Claims the agent as somebody else would, while the daemon has nothing to do.
async fn steal(stage: &Stage, agent: &Snapshot) -> talon_store::Claim {
    wait_for(|| async {
        stage
            .store
            .enqueue(&[agent.agent.id])
            .await
            .expect("the store answers");
        let claims = stage
            .store
            .claim_due("a-thief", std::time::Duration::from_secs(5), 1)
            .await;
        claims.expect("the store answers").pop()
    })
    .await
    .expect("a claim")
}
