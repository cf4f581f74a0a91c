//! A disaster is not repaired faithfully.

use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::status::DeploymentStatus;
use talon_store::HoldKind;
use talon_tests::stage::{Running, Stage, name, spec, wait_for};

async fn fleet(size: usize) -> (Stage, Running) {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    for n in 0..size {
        stage.apply(&format!("agent-{n}"), &spec()).await;
    }
    for n in 0..size {
        stage.deployed(&format!("agent-{n}")).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs_f64(
        stage.config.list_lag_seconds,
    ))
    .await;
    stage.sim.clear_calls();
    (stage, daemon)
}

async fn held(stage: &Stage) -> talon_store::Hold {
    wait_for(|| async { stage.store.hold().await.expect("the store answers") })
        .await
        .expect("a hold")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_list_that_comes_back_empty_uploads_nothing() {
    let (stage, daemon) = fleet(12).await;
    stage
        .sim
        .faults()
        .set_conditions(|c| c.empty_worker_list = true);
    daemon.daemon.resync_now();
    let hold = held(&stage).await;
    assert_eq!(hold.kind, HoldKind::MassChange);
    assert!(hold.reason.contains("12 of 12"), "{}", hold.reason);
    let agent = stage
        .until("agent-0", "held", |s| {
            s.conditions.iter().any(|c| {
                c.condition.kind == ConditionType::Held
                    && c.condition.status == Truth::True
                    && c.condition.reason == Reason::MassChange
            })
        })
        .await;
    assert!(agent.agent.status.first_deployed_at.is_some());
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());

    stage
        .sim
        .faults()
        .set_conditions(|c| c.empty_worker_list = false);
    stage.store.release_hold().await.expect("the store answers");
    daemon.daemon.resync_now();
    for n in 0..12 {
        stage.deployed(&format!("agent-{n}")).await;
    }
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_really_gone_are_made_again_once_released() {
    let (stage, daemon) = fleet(24).await;
    for worker in stage.sim.workers() {
        assert!(stage.sim.remove_worker(&worker.name));
    }
    daemon.daemon.resync_now();
    held(&stage).await;
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());
    stage.store.release_hold().await.expect("the store answers");
    wait_for(|| async { (stage.sim.workers().len() == 24).then_some(()) })
        .await
        .expect("every Worker is made again");
    for n in 0..24 {
        stage.deployed(&format!("agent-{n}")).await;
    }
    let hold = stage.store.hold().await.expect("the store answers");
    assert!(hold.is_none(), "{hold:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_the_first_to_see_a_disaster_repairs_nothing() {
    let (stage, daemon) = fleet(24).await;
    daemon.stop().await;
    for worker in stage.sim.workers() {
        assert!(stage.sim.remove_worker(&worker.name));
    }
    for n in 0..24 {
        stage
            .store
            .request_reconcile(&name(&format!("agent-{n}")))
            .await
            .expect("accepted");
    }
    let daemon = stage.daemon();
    held(&stage).await;
    for n in 0..24 {
        stage
            .until(&format!("agent-{n}"), "idle", talon_tests::stage::idle)
            .await;
    }
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_deletions_at_once_are_held_until_released() {
    let (stage, daemon) = fleet(30).await;
    for n in 0..30 {
        stage.delete(&format!("agent-{n}")).await;
    }
    held(&stage).await;
    let made = stage.sim.workers().len();
    assert!(
        made >= 9,
        "at most the first twenty went before the brake: {made} are left"
    );
    wait_for(|| async {
        let all = stage.all().await;
        let all_held = |s: &talon_core::Snapshot| {
            s.agent.status.deployment_status == DeploymentStatus::Deleting
                && s.conditions.iter().any(|c| {
                    c.condition.kind == ConditionType::Held && c.condition.status == Truth::True
                })
        };
        (!all.is_empty() && all.iter().all(all_held)).then_some(())
    })
    .await
    .expect("the rest is held");
    stage.store.release_hold().await.expect("the store answers");
    for n in 0..30 {
        stage.archived(&format!("agent-{n}")).await;
    }
    assert!(stage.sim.workers().is_empty());
    daemon.stop().await;
}
