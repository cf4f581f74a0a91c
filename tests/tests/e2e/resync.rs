//! A converged fleet costs nothing but the lists.

use talon_simulator::CallClass;
use talon_tests::stage::{Stage, spec, wait_for};

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
