//! The conformance suite on real files.

use std::sync::Arc;

use talon_store::{WholeStore, conformance};
use talon_store_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    conformance::run(|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = folder.path().join(format!("{n}.db"));
        async move {
            let url = format!("sqlite://{}", file.display());
            SqliteStore::migrate(&url).await.unwrap();
            Arc::new(SqliteStore::open(&url).await.unwrap()) as Arc<dyn WholeStore>
        }
    })
    .await;
}

/// The clock of this machine, as the databases see it.
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
    for seed in 1..=10 {
        let db = crate::support::Database::new().await;
        let memory = Arc::new(talon_store::MemoryStore::with_seed(Arc::new(System), seed));
        conformance::differential::agree(memory, Arc::new(db.store.clone()), seed * 7919, 120)
            .await;
    }
}
