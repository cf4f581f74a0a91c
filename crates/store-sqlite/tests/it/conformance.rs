//! The conformance suite on real files.

use std::sync::Arc;

use talon_store::{Store, conformance};
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
            Arc::new(SqliteStore::open(&url).await.unwrap()) as Arc<dyn Store>
        }
    })
    .await;
}
