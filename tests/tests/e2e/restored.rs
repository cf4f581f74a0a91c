//! A database that was set back to an earlier hour.

use std::collections::BTreeSet;
use std::sync::Arc;

use talon_controller::clock::SystemClock;
use talon_core::Snapshot;
use talon_core::event::EventReason;
use talon_core::spec::Jurisdiction;
use talon_simulator::SimConfig;
use talon_store::memory::MemoryStore;
use talon_store::{EventFilter, HoldKind};
use talon_tests::stage::{Stage, name, spec, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn talon_holds_reports_what_it_does_not_know_and_goes_on_when_released() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::default())));
    let mut stage = Stage::on(store.clone(), SimConfig::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    stage.config.high_water_file = Some(folder.path().join("talon.seen"));
    let daemon = stage.daemon();
    stage.apply("old-agent", &spec()).await;
    stage.deployed("old-agent").await;
    stage.apply("past-agent", &spec()).await;
    stage.deployed("past-agent").await;
    let past = name("past-agent");
    let kept = stage.store.request_deletion(&past, true).await;
    kept.expect("accepted");
    let past = stage.archived("past-agent").await;
    let backup = store.backup();
    stage.apply("new-agent", &spec()).await;
    let lost = stage.deployed("new-agent").await;
    let mut far = spec();
    far.r2.jurisdiction = Jurisdiction::Eu;
    stage.apply("far-agent", &far).await;
    let far = stage.deployed("far-agent").await;
    daemon.stop().await;

    store.restore(&backup);
    stage.sim.clear_calls();
    let daemon = stage.daemon();
    let hold = wait_for(|| async { stage.store.hold().await.expect("the store answers") }).await;
    assert_eq!(hold.expect("a hold").kind, HoldKind::RestoredDatabase);
    daemon.daemon.resync_now();
    let worker = lost.agent.status.worker_name.clone();
    let worker = worker.expect("a Worker name");
    let bucket = |agent: Snapshot| agent.agent.status.r2_bucket.expect("a bucket");
    let buckets = [bucket(lost), bucket(far)];
    let unknown = async || -> BTreeSet<String> {
        let events = stage.store.events(&EventFilter::default()).await;
        let events = events.expect("the store answers").into_iter();
        let orphans = events.filter(|e| e.event.reason == EventReason::OrphanFound);
        orphans.map(|e| e.event.object).collect()
    };
    let [near, far] = &buckets;
    let lost = [
        format!("worker/{worker}"),
        format!("r2_bucket/{near}"),
        format!("r2_bucket/{far}"),
    ];
    wait_for(|| async {
        let unknown = unknown().await;
        lost.iter().all(|l| unknown.contains(l)).then_some(())
    })
    .await
    .expect("the things of the lost rows are reported");
    stage.store.release_hold().await.expect("the store answers");
    daemon.daemon.resync_now();
    stage.deployed("old-agent").await;
    assert!(
        stage.sim.worker(&worker).is_some(),
        "what no row knows is left alone"
    );
    let there: Vec<String> = stage.sim.buckets().into_iter().map(|b| b.name).collect();
    assert!(buckets.iter().all(|b| there.contains(b)), "{there:?}");
    let past = bucket(past);
    assert!(there.contains(&past), "kept on purpose");
    let unknown = unknown().await;
    assert!(
        !unknown.contains(&format!("r2_bucket/{past}")),
        "its row is archived, not lost: {unknown:?}"
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
