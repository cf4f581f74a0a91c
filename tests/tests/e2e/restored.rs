//! A database that was set back to an earlier hour.

use std::sync::Arc;

use talon_controller::clock::SystemClock;
use talon_simulator::SimConfig;
use talon_store::memory::MemoryStore;
use talon_store::{EventFilter, HoldKind};
use talon_tests::stage::{Stage, spec, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn talon_holds_reports_what_it_does_not_know_and_goes_on_when_released() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::default())));
    let mut stage = Stage::on(store.clone(), SimConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    stage.config.high_water_file = Some(folder.path().join("talon.seen"));
    let daemon = stage.daemon();
    stage.apply("old-agent", &spec()).await;
    stage.deployed("old-agent").await;
    let backup = store.backup();
    stage.apply("new-agent", &spec()).await;
    let lost = stage.deployed("new-agent").await;
    daemon.stop().await;

    store.restore(&backup);
    stage.sim.clear_calls();
    let daemon = stage.daemon();
    let hold = wait_for(|| async { stage.store.hold().await.expect("the store answers") }).await;
    assert_eq!(hold.expect("a hold").kind, HoldKind::RestoredDatabase);
    daemon.daemon.resync_now();
    let worker = lost.agent.status.worker_name.expect("a Worker name");
    wait_for(|| async {
        let events = stage
            .store
            .events(&EventFilter::default())
            .await
            .expect("the store answers");
        events
            .iter()
            .any(|e| e.event.object == format!("worker/{worker}"))
            .then_some(())
    })
    .await
    .expect("the Worker of the lost row is reported");
    stage.store.release_hold().await.expect("the store answers");
    daemon.daemon.resync_now();
    stage.deployed("old-agent").await;
    assert!(
        stage.sim.worker(&worker).is_some(),
        "what no row knows is left alone"
    );
    assert!(stage.write_names().is_empty(), "{:?}", stage.write_names());
    daemon.stop().await;

    let daemon = stage.daemon();
    stage.apply("next-agent", &spec()).await;
    stage.deployed("next-agent").await;
    assert!(
        stage
            .store
            .hold()
            .await
            .expect("the store answers")
            .is_none(),
        "a restart does not hold again"
    );
    daemon.stop().await;
}
