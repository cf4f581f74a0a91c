//! Cleanup goes on past failures and says exactly what became of each resource.

use std::collections::BTreeMap;

use talon_core::Snapshot;
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::spec::Jurisdiction;
use talon_tests::stage::{Running, Stage, name, spec, wait_for};

const AGENT: &str = "research-pro";

async fn live() -> (Stage, Running, Snapshot) {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.deployed(AGENT).await;
    (stage, daemon, agent)
}

async fn delete(stage: &Stage) -> Snapshot {
    stage.delete(AGENT).await;
    stage.archived(AGENT).await
}

fn results(agent: &Snapshot) -> BTreeMap<ResourceKind, CleanupResult> {
    agent
        .resources
        .iter()
        .map(|r| (r.kind, r.cleanup_result.expect("a result")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_objects_and_unfinished_uploads_is_emptied_first() {
    let (stage, daemon, agent) = live().await;
    let bucket = agent.agent.status.r2_bucket.as_deref().expect("a bucket");
    assert!(stage.sim.fill_bucket(Jurisdiction::Default, bucket, 2_500));
    assert!(stage.sim.start_uploads(Jurisdiction::Default, bucket, 3));
    let agent = delete(&stage).await;
    assert!(
        results(&agent)
            .values()
            .all(|r| *r == CleanupResult::Deleted),
        "{:#?}",
        agent.resources
    );
    assert!(stage.sim.buckets().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_already_counts_as_success_and_says_so() {
    let (stage, daemon, agent) = live().await;
    let status = &agent.agent.status;
    assert!(
        stage
            .sim
            .remove_worker(status.worker_name.as_deref().expect("a Worker"))
    );
    assert!(
        stage
            .sim
            .remove_token(status.r2_token_id.as_deref().expect("a token"))
    );
    let agent = delete(&stage).await;
    let results = results(&agent);
    assert_eq!(results[&ResourceKind::Worker], CleanupResult::AlreadyAbsent);
    assert_eq!(
        results[&ResourceKind::R2Token],
        CleanupResult::AlreadyAbsent
    );
    assert_eq!(results[&ResourceKind::R2Bucket], CleanupResult::Deleted);
    assert_eq!(results[&ResourceKind::AgentCard], CleanupResult::Deleted);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cloudflare_keeps_does_not_stop_the_rest_and_the_sweep_gets_it_later() {
    let (stage, daemon, _) = live().await;
    stage
        .sim
        .faults()
        .set_conditions(|c| c.refuse_token_delete = Some(String::new()));
    let agent = delete(&stage).await;
    let kept = agent.resource(ResourceKind::R2Token).expect("a record");
    assert_eq!(kept.cleanup_result, Some(CleanupResult::Failed));
    assert!(
        kept.cleanup_error
            .as_ref()
            .is_some_and(|e| e.contains("403") || e.contains("code")),
        "{kept:?}"
    );
    for record in agent
        .resources
        .iter()
        .filter(|r| r.kind != ResourceKind::R2Token)
    {
        assert_eq!(
            record.cleanup_result,
            Some(CleanupResult::Deleted),
            "{record:?}"
        );
    }
    let left = stage.store.leftovers().await.expect("the store answers");
    assert_eq!(
        left.iter().map(|l| l.kind).collect::<Vec<_>>(),
        [ResourceKind::R2Token]
    );

    stage
        .sim
        .faults()
        .set_conditions(|c| c.refuse_token_delete = None);
    wait_for(|| async {
        daemon.daemon.resync_now();
        stage
            .store
            .leftovers()
            .await
            .expect("the store answers")
            .is_empty()
            .then_some(())
    })
    .await
    .expect("the sweep got it");
    assert_eq!(stage.sim.tokens().len(), 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_removed_is_left_over_with_its_bucket_until_the_sweep_gets_both() {
    let (stage, daemon, agent) = live().await;
    let bucket = agent.agent.status.r2_bucket.as_deref().expect("a bucket");
    assert!(stage.sim.fill_bucket(Jurisdiction::Default, bucket, 3));
    stage
        .sim
        .faults()
        .set_conditions(|c| c.refuse_object_delete = Some(String::new()));
    delete(&stage).await;
    let left = async || {
        let left = stage.store.leftovers().await.expect("the store answers");
        left.into_iter().map(|l| l.kind).collect::<Vec<_>>()
    };
    assert_eq!(
        left().await,
        [ResourceKind::R2Objects, ResourceKind::R2Bucket]
    );
    stage
        .sim
        .faults()
        .set_conditions(|c| c.refuse_object_delete = None);
    wait_for(|| async {
        daemon.daemon.resync_now();
        left().await.is_empty().then_some(())
    })
    .await
    .expect("the sweep got both");
    assert!(stage.sim.buckets().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_bucket_keeps_it_and_names_it() {
    let (stage, daemon, agent) = live().await;
    stage
        .store
        .request_deletion(&name(AGENT), true)
        .await
        .expect("accepted");
    let archived = stage.archived(AGENT).await;
    assert_eq!(
        results(&archived)[&ResourceKind::R2Bucket],
        CleanupResult::Kept
    );
    let buckets: Vec<String> = stage.sim.buckets().into_iter().map(|b| b.name).collect();
    assert_eq!(buckets, [agent.agent.status.r2_bucket.expect("a bucket")]);
    assert!(stage.sim.workers().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_is_free_again_and_a_new_agent_of_that_name_is_another() {
    let (stage, daemon, agent) = live().await;
    delete(&stage).await;
    stage.apply(AGENT, &spec()).await;
    let again = stage
        .store
        .get(AGENT, false)
        .await
        .expect("the store answers")
        .expect("a live agent");
    assert_ne!(again.agent.id, agent.agent.id);
    wait_for(|| async {
        let now = stage
            .store
            .get(AGENT, false)
            .await
            .expect("the store answers")?;
        (now.agent.status.deployment_status == talon_core::status::DeploymentStatus::Deployed)
            .then_some(())
    })
    .await
    .expect("deployed again");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_deleted_before_anything_was_made_costs_no_write() {
    let stage = Stage::in_memory().await;
    let mut spec = spec();
    spec.suspend = true;
    stage.apply(AGENT, &spec).await;
    let daemon = stage.daemon();
    delete(&stage).await;
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_objects_go_in_slices_and_block_nobody() {
    let mut stage = Stage::in_memory().await;
    stage.config.concurrency = 1;
    stage.config.empty_slice_seconds = 0.2;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.deployed(AGENT).await;
    let bucket = agent.agent.status.r2_bucket.as_deref().expect("a bucket");
    assert!(
        stage
            .sim
            .fill_bucket(Jurisdiction::Default, bucket, 100_000)
    );
    stage.delete(AGENT).await;
    wait_for(|| async {
        stage
            .sim
            .calls()
            .iter()
            .any(|c| c.operation == "s3.delete_objects")
            .then_some(())
    })
    .await
    .expect("emptying began");
    stage.apply("news-digest", &spec()).await;
    stage.deployed("news-digest").await;
    assert!(
        !stage.get(AGENT).await.agent.is_archived(),
        "the other agent did not wait for the bucket"
    );
    let agent = stage.archived(AGENT).await;
    assert_eq!(
        results(&agent)[&ResourceKind::R2Objects],
        CleanupResult::Deleted
    );
    assert_eq!(stage.sim.buckets().len(), 1);
    daemon.stop().await;
}
