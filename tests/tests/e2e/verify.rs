//! What `cargo xtask verify-cloudflare` checks on a real account holds of the local one.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::Unlimited;
use talon_cloudflare::verify::{Patience, Verdict, Wanted, verify_account};
use talon_simulator::{Quota, SimConfig};
use talon_tests::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_local_cloudflare_is_as_talon_assumes_the_real_one_to_be() {
    let sim = SimConfig {
        quota: Some(Quota::CLOUDFLARE),
        ..SimConfig::default()
    };
    let stage = Stage::with(sim).await;
    let client = stage.client(Arc::new(Unlimited));
    let bundle = stage.bundle.clone();
    let identity = "# IDENTITY.md - Who Am I?\n";
    let upload = |w: Wanted| bundle.upload(identity, w.bindings, w.tags, w.migrate);
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
