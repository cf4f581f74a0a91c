//! Wake-ups: hints that are never missed for good.

use std::time::{Duration, Instant};

use talon_store::Store;
use talon_store_postgres::PostgresStore;

use crate::harness::{Role, TestDatabase, TestPostgres};
use crate::support::{FIRST_ROW, create, name, run};

/// Far longer than any wake-up takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until there is nothing more to be told.
async fn drain(store: &PostgresStore) {
    let brief = Duration::from_millis(300);
    loop {
        let start = Instant::now();
        store.wait(brief).await.unwrap();
        if start.elapsed() >= brief {
            return;
        }
    }
}

async fn woken(store: &PostgresStore) {
    let start = Instant::now();
    store.wait(PATIENCE).await.unwrap();
    assert!(start.elapsed() < PATIENCE / 2, "nobody woke the waiter");
}

async fn cut_listener(database: &TestDatabase<'_>) {
    let mut admin = database.connect(Role::Admin).await;
    let cut: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND query ILIKE 'LISTEN%' AND pid <> pg_backend_pid()",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(cut, 1);
}

#[tokio::test]
async fn plain_sql_wakes_and_a_status_write_does_not() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    drain(&store).await;
    let mut writer = database.connect(Role::Writer).await;
    run(&mut writer, FIRST_ROW).await.unwrap();
    woken(&store).await;
    drain(&store).await;
    let mut controller = database.connect(Role::Controller).await;
    run(
        &mut controller,
        "UPDATE agent_source SET deployment_status = 'deploying'",
    )
    .await
    .unwrap();
    let brief = Duration::from_millis(200);
    let start = Instant::now();
    store.wait(brief).await.unwrap();
    assert!(start.elapsed() >= brief);
    store
        .request_reconcile(&name("research-pro"))
        .await
        .unwrap();
    woken(&store).await;
}

#[tokio::test]
async fn the_payload_is_the_id_and_nothing_else() {
    let database = TestPostgres::shared().await.database().await;
    let mut listener = sqlx::postgres::PgListener::connect(&database.url(Role::Reader))
        .await
        .unwrap();
    listener.listen("talon").await.unwrap();
    let store = database.store().await;
    let id = create(&store, "research-pro").await;
    assert_eq!(listener.recv().await.unwrap().payload(), id.to_string());
}

#[tokio::test]
async fn what_is_missed_while_disconnected_is_found_on_reconnection() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    drain(&store).await;
    cut_listener(&database).await;
    // Whether this is announced before the listener is back or not, the waiter is told.
    create(&store, "research-pro").await;
    woken(&store).await;
    assert_eq!(
        store.claim_due("tests", PATIENCE, 10).await.unwrap().len(),
        1
    );
    // And it listens again.
    drain(&store).await;
    store
        .request_reconcile(&name("research-pro"))
        .await
        .unwrap();
    woken(&store).await;
}

#[tokio::test]
async fn enqueued_work_wakes_other_replicas() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let other = database.store().await;
    let id = create(&store, "research-pro").await;
    let mut admin = database.connect(Role::Admin).await;
    run(&mut admin, "UPDATE agent_work SET next_due_at = NULL")
        .await
        .unwrap();
    drain(&other).await;
    assert_eq!(store.enqueue(&[id]).await.unwrap(), 1);
    woken(&other).await;
}
