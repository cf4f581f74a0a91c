//! Other processes' writes are noticed.

use std::time::{Duration, Instant};

use talon_store::Store;

use crate::support::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_written_by_hand_wakes() {
    let db = Database::new().await;
    // Nothing more to be told of.
    db.store.wait(Duration::from_millis(500)).await.unwrap();
    db.store.wait(Duration::ZERO).await.unwrap();
    let store = db.store.clone();
    let waiter = tokio::spawn(async move {
        let start = Instant::now();
        store.wait(Duration::from_secs(60)).await.unwrap();
        start.elapsed()
    });
    tokio::task::yield_now().await;
    db.insert("research-pro");
    assert!(waiter.await.unwrap() < Duration::from_secs(30));
    let lease = Duration::from_secs(60);
    assert_eq!(db.store.claim_due("x", lease, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_written_before_the_call_wakes() {
    let db = Database::new().await;
    db.store.wait(Duration::ZERO).await.unwrap();
    db.insert("research-pro");
    let start = Instant::now();
    db.store.wait(Duration::from_secs(60)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
}
