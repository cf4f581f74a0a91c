//! Waking up.

use std::time::{Duration, Instant};

use super::support::{Bench, name};

/// Calls `wait` until nothing is left to be told.
async fn drain(bench: &Bench) {
    loop {
        let max = Duration::from_millis(600);
        let start = Instant::now();
        bench.wait(max).await.unwrap();
        if start.elapsed() >= max {
            return;
        }
    }
}

pub(super) async fn returns_after_max(bench: Bench) {
    drain(&bench).await;
    let start = Instant::now();
    bench.wait(Duration::from_millis(50)).await.unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    bench.wait(Duration::ZERO).await.unwrap();
}

pub(super) async fn sees_what_happened_before_the_call(bench: Bench) {
    bench.create("research-pro").await;
    drain(&bench).await;
    bench
        .request_reconcile(&name("research-pro"))
        .await
        .unwrap();
    let start = Instant::now();
    bench.wait(Duration::from_secs(60)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
}

pub(super) async fn wakes_for_a_change(bench: Bench) {
    drain(&bench).await;
    let waiter = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.wait(Duration::from_secs(60)).await })
    };
    tokio::task::yield_now().await;
    let start = Instant::now();
    bench.create("research-pro").await;
    waiter.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
}
