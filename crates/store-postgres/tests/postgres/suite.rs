//! The suite that every store passes, some cases at a time, each on a database of its own.

use std::sync::Arc;

use talon_store::{Store, WholeStore, conformance};

use crate::harness::TestPostgres;

/// Cases that run at once.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    let server = TestPostgres::shared().await;
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    for case in conformance::cases() {
        let places = places.clone();
        running.spawn(async move {
            let _place = places.acquire().await;
            let database = server.database().await;
            let store: Arc<dyn WholeStore> = Arc::new(database.store().await);
            let passed = tokio::spawn((case.run)(store)).await.is_ok();
            (case.name, passed)
        });
    }
    let results = running.join_all().await;
    let failed: Vec<&str> = results
        .iter()
        .filter(|(_, passed)| !passed)
        .map(|(name, _)| *name)
        .collect();
    assert!(
        failed.is_empty() && !results.is_empty(),
        "{} failed: {failed:?}",
        failed.len()
    );
}

/// The clock of this machine, as the server sees it.
struct System;

impl talon_core::clock::Clock for System {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now()
    }
    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agrees_with_the_store_in_memory() {
    let server = TestPostgres::shared().await;
    for seed in 1..=10 {
        let database = server.database().await;
        let memory = Arc::new(talon_store::MemoryStore::with_seed(Arc::new(System), seed));
        let store: Arc<dyn Store> = Arc::new(database.store().await);
        conformance::differential::agree(memory, store, seed * 7919, 120).await;
    }
}
