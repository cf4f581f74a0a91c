//! What `cargo xtask verify-cloudflare` checks on a real account holds of the local one.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::Unlimited;
use talon_cloudflare::verify::{Patience, Verdict, Wanted, verify_account};
use talon_core::cloud::{Binding, Migration, WorkerUpload};
use talon_simulator::{Quota, SimConfig};
use talon_store::memory::MemoryStore;
use talon_tests::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_local_cloudflare_is_as_talon_assumes_the_real_one_to_be() {
    let store = Arc::new(MemoryStore::new(Arc::new(
        talon_controller::clock::SystemClock::default(),
    )));
    let sim = SimConfig {
        quota: Some(Quota::CLOUDFLARE),
        ..SimConfig::default()
    };
    let stage = Stage::on(store, sim).await;
    let client = stage.client(Arc::new(Unlimited));
    let bundle = stage.bundle.clone();
    let upload = |wanted: Wanted| {
        let manifest = &bundle.manifest;
        let mut bindings = wanted.bindings;
        let class_name = manifest.durable_object_class.clone();
        bindings.push(Binding::DurableObject {
            name: "AGENT".to_owned(),
            class_name: class_name.clone(),
        });
        WorkerUpload {
            main_module: manifest.main_module.clone(),
            modules: bundle.modules("# IDENTITY.md - Who Am I?\n"),
            bindings,
            compatibility_date: manifest.compatibility_date.clone(),
            compatibility_flags: manifest.compatibility_flags.clone(),
            migration: wanted.migrate.then(|| Migration {
                new_tag: manifest.migration_tag.clone(),
                new_sqlite_classes: vec![class_name],
            }),
            tags: wanted.tags,
        }
    };
    let patience = Patience {
        pause: Duration::from_millis(50),
        most: Duration::from_secs(20),
    };
    let report = verify_account(&client, &upload, "e2e00001", patience).await;
    assert!(report.len() > 20, "{} checks", report.len());
    let other: Vec<_> = report
        .iter()
        .filter(|(_, verdict)| *verdict != Verdict::Holds)
        .collect();
    assert!(other.is_empty(), "{other:#?}");
    assert!(
        stage.sim.workers().is_empty()
            && stage.sim.buckets().is_empty()
            && stage.sim.tokens().len() == 1
    );
}
