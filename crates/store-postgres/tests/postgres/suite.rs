//! The suite that every store passes.

use std::sync::Arc;

use talon_store::{Store, conformance};

use crate::harness::TestPostgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    let server = TestPostgres::shared().await;
    // A database lives as long as its case: the store keeps it.
    conformance::run(|| async {
        let database = Box::leak(Box::new(server.database().await));
        Arc::new(database.store().await) as Arc<dyn Store>
    })
    .await;
}
