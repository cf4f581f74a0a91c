//! A converged fleet costs nothing but the lists; and a resync finds what has become possible.

use talon_core::condition::{ConditionType, Reason, Truth};
use talon_simulator::{CallClass, Fault};
use talon_tests::stage::{ANTHROPIC, Stage, spec, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_converged_agents_cost_five_lists_and_not_one_write() {
    let mut stage = Stage::in_memory().await;
    stage.config.brake.deletions = 1000;
    let daemon = stage.daemon();
    for n in 0..200 {
        stage.apply(&format!("agent-{n}"), &spec()).await;
    }
    for n in 0..200 {
        stage.deployed(&format!("agent-{n}")).await;
    }
    let lists = || {
        stage
            .sim
            .calls()
            .iter()
            .filter(|c| c.operation == "workers.list")
            .count()
    };
    let resync = async || {
        let before = lists();
        daemon.daemon.resync_now();
        wait_for(|| async { (lists() > before).then_some(()) })
            .await
            .expect("a resync");
        for n in 0..200 {
            stage.deployed(&format!("agent-{n}")).await;
        }
    };
    // The first one after a deployment remembers how the lists show each Worker.
    resync().await;
    wait_for(|| async {
        let all = stage.all().await;
        let based = |s: &talon_core::Snapshot| {
            s.resource(talon_core::resource::ResourceKind::Worker)
                .is_some_and(|r| r.observed_hash.is_some())
                && talon_tests::stage::idle(s)
        };
        all.iter().all(based).then_some(())
    })
    .await
    .expect("every Worker has its baseline");

    let feed = stage.store.last_change().await.expect("the store answers");
    let mut before = stage.all().await;
    stage.sim.clear_calls();
    resync().await;
    daemon.stop().await;
    let calls = stage.sim.calls();
    assert!(
        calls.len() <= 5,
        "{} calls: {:#?}",
        calls.len(),
        calls.iter().map(|c| &c.path).collect::<Vec<_>>()
    );
    assert!(calls.iter().all(|c| c.class == CallClass::Read));
    assert_eq!(
        stage.store.last_change().await.expect("the store answers"),
        feed
    );
    let mut after = stage.all().await;
    for snapshot in before.iter_mut().chain(after.iter_mut()) {
        snapshot.now = chrono::DateTime::UNIX_EPOCH;
    }
    assert!(
        before == after,
        "a resync of converged agents changed a row"
    );
}

/// What a reference points at may be there long before the agent would look for it again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_resync_wakes_agents_whose_references_resolve_again() {
    const AGENT: &str = "research-pro";
    let mut stage = Stage::in_memory().await;
    // By itself it would come back in an hour.
    stage.config.backoff_initial_seconds = 3_600.0;
    stage.config.backoff_max_seconds = 3_600.0;
    stage.secrets.remove(ANTHROPIC);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let stalls = |s: &talon_core::Snapshot| {
        s.work.lease_owner.is_none()
            && s.conditions.iter().any(|c| {
                let c = &c.condition;
                c.kind == ConditionType::Stalled
                    && c.status == Truth::True
                    && c.reason == Reason::SecretValueMissing
            })
    };
    let stalled = stage.until(AGENT, "stalled", stalls).await;
    let waits = stalled.work.next_due_at.expect("it comes back by itself") - stalled.now;
    assert!(waits.num_seconds() > 200, "in {waits}");

    // As long as nothing is there, a resync wakes nobody.
    let lists = stage.sim.calls().len();
    daemon.daemon.resync_now();
    wait_for(|| async { (stage.sim.calls().len() > lists).then_some(()) })
        .await
        .expect("a resync");
    let after = stage.get(AGENT).await;
    assert_eq!(after.work.next_due_at, stalled.work.next_due_at);
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());

    stage.secrets.set(ANTHROPIC, "sk-ant-there-at-last");
    daemon.daemon.resync_now();
    stage.deployed(AGENT).await;
    daemon.stop().await;
}

/// Lists that show that more is to be done are no reason to try what failed again before its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_resync_wakes_nobody_who_waits_after_a_failure() {
    const AGENT: &str = "research-pro";
    let mut stage = Stage::in_memory().await;
    stage.config.backoff_initial_seconds = 3_600.0;
    stage.config.backoff_max_seconds = 3_600.0;
    let refused = Fault::Status {
        status: 403,
        html: false,
        code: None,
        after_commit: false,
    };
    stage.fault_once("r2.bucket.create", refused);
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    stage.fault_fired().await;
    let waits = stage
        .until(AGENT, "waiting", |s| {
            s.work.lease_owner.is_none() && s.work.next_due_at.is_some_and(|due| due > s.now)
        })
        .await;
    assert_eq!(waits.work.failure_count, 1);
    let lists = || {
        let calls = stage.sim.calls();
        calls
            .iter()
            .filter(|c| c.operation == "workers.list")
            .count()
    };
    // The second begins when the first is over.
    for _ in 0..2 {
        let before = lists();
        daemon.daemon.resync_now();
        wait_for(|| async { (lists() > before).then_some(()) })
            .await
            .expect("a resync");
    }
    daemon.stop().await;
    let after = stage.get(AGENT).await;
    assert_eq!(after.work.next_due_at, waits.work.next_due_at);
}
