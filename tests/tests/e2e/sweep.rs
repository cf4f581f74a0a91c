//! What cleanup leaves over is got by the sweep, wherever it is, and its result is put right whoever removed it.

use std::sync::Arc;

use talon_controller::budget::CallBudget;
use talon_controller::clock::SystemClock;
use talon_core::Snapshot;
use talon_core::card;
use talon_core::cloud::{CallClass, CallCx, Cloud, NewToken};
use talon_core::mutation::Mutation;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord};
use talon_core::spec::Jurisdiction;
use talon_simulator::{Fault, FaultRule};
use talon_store::Claim;
use talon_tests::stage::{Running, Stage, spec, wait_for};

const AGENT: &str = "research-pro";

fn refusal() -> Fault {
    Fault::Status {
        status: 403,
        html: false,
        code: Some(10_000),
        after_commit: false,
    }
}

async fn live(jurisdiction: Jurisdiction) -> (Stage, Running, Snapshot) {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    let mut spec = spec();
    spec.r2.jurisdiction = jurisdiction;
    stage.apply(AGENT, &spec).await;
    let agent = stage.deployed(AGENT).await;
    (stage, daemon, agent)
}

async fn delete(stage: &Stage) -> Snapshot {
    stage.delete(AGENT).await;
    stage.archived(AGENT).await
}

async fn left(stage: &Stage) -> Vec<ResourceKind> {
    let left = stage.store.leftovers().await.expect("the store answers");
    left.into_iter().map(|l| l.kind).collect()
}

/// Resyncs until nothing is left over any more.
async fn swept(stage: &Stage, daemon: &Running) -> Snapshot {
    let empty = wait_for(|| async {
        daemon.daemon.resync_now();
        left(stage).await.is_empty().then_some(())
    });
    if empty.await.is_none() {
        panic!("left over: {:#?}", stage.get(AGENT).await.resources);
    }
    stage.get(AGENT).await
}

fn record(agent: &Snapshot, kind: ResourceKind) -> &ResourceRecord {
    agent.resource(kind).expect("a record")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_left_over_in_a_jurisdiction_that_no_live_agent_uses_is_found_there() {
    let (stage, daemon, agent) = live(Jurisdiction::Eu).await;
    let bucket = agent.agent.status.r2_bucket.expect("a bucket");
    assert!(stage.sim.fill_bucket(Jurisdiction::Eu, &bucket, 3));
    let faults = stage.sim.faults();
    faults.set_conditions(|c| c.refuse_bucket_delete = Some(String::new()));
    delete(&stage).await;
    assert_eq!(left(&stage).await, [ResourceKind::R2Bucket]);
    daemon.stop().await;

    faults.set_conditions(|c| c.refuse_bucket_delete = None);
    let daemon = stage.daemon();
    let agent = swept(&stage, &daemon).await;
    let bucket = record(&agent, ResourceKind::R2Bucket);
    assert_eq!(bucket.cleanup_result, Some(CleanupResult::Deleted));
    assert_eq!(bucket.cleanup_error, None);
    assert!(stage.sim.buckets().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_left_over_is_removed() {
    let (stage, daemon, _) = live(Jurisdiction::Default).await;
    let archived = delete(&stage).await;
    let agent = &archived.agent;
    let left_over = card::build(&agent.name, &agent.owner, &agent.spec, agent.generation, "");
    let claim = Claim {
        agent_id: agent.id,
        epoch: archived.work.lease_epoch,
    };
    let written = [Mutation::Card(Box::new(left_over))];
    let store = &stage.store;
    store.commit(&claim, &written).await.expect("written");
    let (failed, why) = (CleanupResult::Failed, Some("the Router was away"));
    store
        .correct_cleanup(agent.id, ResourceKind::AgentCard, failed, why)
        .await
        .expect("noted");
    assert_eq!(left(&stage).await, [ResourceKind::AgentCard]);

    let swept = swept(&stage, &daemon).await;
    let card = record(&swept, ResourceKind::AgentCard);
    assert_eq!(card.cleanup_result, Some(CleanupResult::Deleted));
    assert_eq!(card.cleanup_error, None);
    assert_eq!(store.card(agent.id).await.expect("an answer"), None);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_removes_later_is_said_to_be_absent() {
    let (stage, daemon, agent) = live(Jurisdiction::Default).await;
    let status = agent.agent.status;
    let [worker, bucket, token] =
        [status.worker_name, status.r2_bucket, status.r2_token_id].map(|n| n.expect("a name"));
    let faults = stage.sim.faults();
    let rules = ["workers.delete", "r2.bucket.delete", "tokens.delete"];
    let rules = rules.map(|o| FaultRule::on(o, refusal()));
    faults.add(rules.to_vec()).expect("rules");
    delete(&stage).await;
    let all = [
        ResourceKind::Worker,
        ResourceKind::R2Bucket,
        ResourceKind::R2Token,
    ];
    assert_eq!(left(&stage).await, all);

    // Nothing can be deleted even now: that it is gone is seen, and not tried.
    assert!(stage.sim.remove_worker(&worker));
    assert!(stage.sim.remove_bucket(Jurisdiction::Default, &bucket));
    assert!(stage.sim.remove_token(&token));
    let agent = swept(&stage, &daemon).await;
    for kind in all {
        let record = record(&agent, kind);
        assert_eq!(record.cleanup_result, Some(CleanupResult::AlreadyAbsent));
        assert_eq!(record.cleanup_error, None);
        assert!(record.cleaned_at.is_some());
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_token_that_cloudflare_keeps_is_left_over_by_name_and_got_later() {
    let (stage, daemon, agent) = live(Jurisdiction::Default).await;
    let status = &agent.agent.status;
    let own = status.r2_token_id.clone().expect("a token");
    let clock = Arc::new(SystemClock::default());
    let cloud = stage.client(Arc::new(CallBudget::in_process(clock, 1_000)));
    let cx = CallCx {
        class: CallClass::UserChange,
        remaining: None,
    };
    let second = NewToken {
        name: record(&agent, ResourceKind::R2Token).name.clone(),
        bucket: status.r2_bucket.clone().expect("a bucket"),
        jurisdiction: Jurisdiction::Default,
    };
    let second = cloud.create_token(cx, &second).await.expect("a token").id;
    let faults = stage.sim.faults();
    let mut rule = FaultRule::on("tokens.delete", refusal());
    rule.matching.path = Some(second.clone());
    faults.add(vec![rule]).expect("a rule");

    let agent = delete(&stage).await;
    let token = record(&agent, ResourceKind::R2Token);
    assert_eq!(token.cleanup_result, Some(CleanupResult::Failed));
    assert_eq!(token.cleaned_at, None);
    assert!(token.attempts >= 3, "{token:?}");
    let error = token.cleanup_error.as_deref().expect("why");
    assert!(error.contains("10000"), "{error}");
    assert_eq!(left(&stage).await, [ResourceKind::R2Token]);
    let tokens = || {
        let all = stage.sim.tokens().into_iter().map(|t| t.id);
        all.filter(|id| *id == own || *id == second)
            .collect::<Vec<_>>()
    };
    let stays = std::slice::from_ref(&second);
    assert_eq!(tokens(), stays, "the other one is gone");

    faults.clear();
    let agent = swept(&stage, &daemon).await;
    let token = record(&agent, ResourceKind::R2Token);
    assert_eq!(token.cleanup_result, Some(CleanupResult::Deleted));
    assert!(tokens().is_empty());
    daemon.stop().await;
}
