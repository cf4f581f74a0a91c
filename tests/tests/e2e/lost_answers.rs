//! Answers that are lost, and requests that land late: the agent ends with working credentials, or gone.

use std::time::Duration;

use talon_core::Snapshot;
use talon_simulator::{Fault, WorkerEdit};
use talon_tests::stage::{Stage, spec, wait_for};

use crate::credentials::assert_working;

const AGENT: &str = "research-pro";

/// How often a call was sent.
fn sent(stage: &Stage, operation: &str) -> usize {
    let names = stage.write_names();
    names.iter().filter(|name| *name == operation).count()
}

/// A first deployment on the way of which one call went wrong.
async fn with_fault(operation: &str, fault: Fault) -> (Stage, Snapshot) {
    let stage = Stage::in_memory().await;
    stage.fault_once(operation, fault);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.deployed(AGENT).await;
    assert_eq!(stage.sim.faults().fired(), 1, "the fault fired");
    daemon.stop().await;
    assert_working(&stage, &agent);
    (stage, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_landed_is_found_and_not_sent_again() {
    let (stage, _) = with_fault("workers.upload", Fault::ResetAfter).await;
    assert_eq!(sent(&stage, "workers.upload"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_or_token_that_landed_is_found_and_not_made_twice() {
    with_fault("r2.bucket.create", Fault::ResetAfter).await;
    let (stage, _) = with_fault("tokens.create", Fault::ResetAfter).await;
    assert_eq!(sent(&stage, "tokens.create"), 1);
    assert_eq!(
        sent(&stage, "tokens.roll"),
        1,
        "its value is lost: one roll"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_survives_a_lost_answer_before_and_after_it_took_effect() {
    for operation in [
        "r2.bucket.create",
        "tokens.create",
        "workers.upload",
        "workers.subdomain.set",
    ] {
        for fault in [
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::TimeoutAfter {
                answer_after_ms: None,
            },
        ] {
            with_fault(operation, fault).await;
        }
    }
}

/// A stage on which nobody waits for an answer as long as a late request takes.
async fn hasty() -> Stage {
    let mut stage = Stage::in_memory().await;
    stage.config.request_timeout_seconds = 1.0;
    stage.config.settle_grace_seconds = 0.5;
    stage
}

async fn late_upload_landed(stage: &Stage) {
    wait_for(|| async {
        let landed = |c: &talon_simulator::CallRecord| c.fault.as_deref() == Some("landed_late");
        stage.sim.calls().iter().any(landed).then_some(())
    })
    .await
    .expect("the upload landed late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_upload_that_lands_after_the_next_try_does_no_harm() {
    let stage = hasty().await;
    let late = Fault::LandLate { after_ms: 6_000 };
    stage.fault_once("workers.upload", late);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    stage.deployed(AGENT).await;
    late_upload_landed(&stage).await;
    daemon.daemon.resync_now();
    let agent = stage.deployed(AGENT).await;
    daemon.stop().await;
    assert_working(&stage, &agent);
}

/// The upload of one repair lands after the next one was answered, and brings credentials back that were replaced.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_lands_after_the_next_try_gets_working_credentials() {
    let stage = hasty().await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let first = stage.deployed(AGENT).await;
    let worker = first
        .agent
        .status
        .worker_name
        .clone()
        .expect("a Worker name");
    tokio::time::sleep(Duration::from_secs_f64(stage.config.list_lag_seconds)).await;
    stage.sim.edit_worker(
        &worker,
        &WorkerEdit {
            tags: Some(Vec::new()),
            ..WorkerEdit::default()
        },
    );
    let late = Fault::LandLate { after_ms: 6_000 };
    stage.fault_once("workers.upload", late);
    daemon.daemon.resync_now();
    stage.fault_fired().await;
    let second = stage
        .until(AGENT, "repaired", |s| {
            s.agent.status.auth_token_hash != first.agent.status.auth_token_hash
                && talon_tests::stage::idle(s)
        })
        .await;
    let token = || {
        stage
            .sim
            .secret_value(&worker, "SOCIETY_AI_AUTH_TOKEN")
            .map(|t| t.sha256_hex())
    };
    assert_eq!(token(), second.agent.status.auth_token_hash);
    late_upload_landed(&stage).await;
    assert_ne!(
        token(),
        second.agent.status.auth_token_hash,
        "the late upload brought its own credentials"
    );
    wait_for(|| async {
        daemon.daemon.resync_now();
        (token() == stage.deployed(AGENT).await.agent.status.auth_token_hash).then_some(())
    })
    .await
    .expect("the credentials were replaced");
    let agent = stage.deployed(AGENT).await;
    daemon.stop().await;
    assert_working(&stage, &agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_lands_after_the_deletion_leaves_nothing() {
    let mut stage = Stage::in_memory().await;
    stage.config.request_timeout_seconds = 1.0;
    let late = Fault::LandLate { after_ms: 4_000 };
    stage.fault_once("workers.upload", late);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    stage.fault_fired().await;
    stage.delete(AGENT).await;
    stage.archived(AGENT).await;
    wait_for(|| async {
        stage
            .sim
            .calls()
            .iter()
            .any(|c| c.operation == "workers.upload" && c.world_status.is_some())
            .then_some(())
    })
    .await
    .expect("the upload landed");
    daemon.daemon.resync_now();
    let gone = wait_for(|| async { stage.sim.workers().is_empty().then_some(()) }).await;
    assert!(gone.is_some(), "{:#?}", stage.sim.workers());
    assert_eq!(stage.sim.tokens().len(), 1);
    assert!(stage.sim.buckets().is_empty());
    daemon.stop().await;
}
