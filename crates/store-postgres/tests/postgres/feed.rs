//! The change feed loses nothing, whatever the order of commits.

use std::collections::BTreeSet;

use sqlx::Connection;
use talon_core::AgentId;
use talon_store::{Change, Store};

use crate::harness::{Role, TestPostgres};
use crate::support::{FIRST_ROW, create, run};

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let mut slow = database.connect(Role::Writer).await;
    let mut transaction = slow.begin().await.unwrap();
    run(&mut transaction, &FIRST_ROW.replace("research-pro", "slow"))
        .await
        .unwrap();
    // Begins later, draws its number later, commits first.
    let quick = create(&store, "quick").await;
    let seen = store.changes_after(0, 10).await.unwrap();
    assert_eq!(seen.iter().map(|c| c.agent_id).collect::<Vec<_>>(), [quick]);
    let last = seen[0].seq;
    assert_eq!(store.last_change().await.unwrap(), last);
    transaction.commit().await.unwrap();
    let later = store.changes_after(last, 10).await.unwrap();
    assert_eq!(later.len(), 1, "the entry of the slow transaction");
    assert_ne!(later[0].agent_id, quick);
}

#[tokio::test]
async fn one_that_is_rolled_back_leaves_nothing() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let mut writer = database.connect(Role::Writer).await;
    let mut transaction = writer.begin().await.unwrap();
    run(&mut transaction, FIRST_ROW).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(store.changes_after(0, 10).await.unwrap(), []);
    assert_eq!(store.last_change().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_go_on_see_everything_once_and_in_the_same_order() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 12;
    let database = TestPostgres::shared().await.database().await;
    let store = std::sync::Arc::new(database.store().await);
    let mut writers = tokio::task::JoinSet::new();
    for w in 0..WRITERS {
        let mut connection = database.connect(Role::Writer).await;
        writers.spawn(async move {
            for r in 0..ROUNDS {
                let mut transaction = connection.begin().await.unwrap();
                run(
                    &mut transaction,
                    &FIRST_ROW.replace("research-pro", &format!("agent-{w}-{r}")),
                )
                .await
                .unwrap();
                // Others commit in between.
                tokio::task::yield_now().await;
                let rename = format!(
                    "UPDATE agent_source SET display_name = 'x' WHERE name = 'agent-{w}-{r}'"
                );
                run(&mut transaction, &rename).await.unwrap();
                transaction.commit().await.unwrap();
            }
        });
    }
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = store.clone();
        readers.spawn(async move {
            let mut all: Vec<Change> = Vec::new();
            while all.len() < 2 * WRITERS * ROUNDS {
                let after = all.last().map_or(0, |change| change.seq);
                let more = store.changes_after(after, 5).await.unwrap();
                if more.is_empty() {
                    tokio::task::yield_now().await;
                }
                all.extend(more);
            }
            all
        });
    }
    writers.join_all().await;
    let read = readers.join_all().await;
    assert!(
        read.iter().all(|all| *all == read[0]),
        "every reader sees the same"
    );
    assert!(read[0].is_sorted_by(|a, b| a.seq < b.seq));
    let agents: BTreeSet<AgentId> = read[0].iter().map(|change| change.agent_id).collect();
    assert_eq!(
        (read[0].len(), agents.len()),
        (2 * WRITERS * ROUNDS, WRITERS * ROUNDS)
    );
}

#[tokio::test]
async fn the_controller_may_read_it() {
    let database = TestPostgres::shared().await.database().await;
    create(&database.store().await, "research-pro").await;
    let store = talon_store_postgres::PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    assert_eq!(store.changes_after(0, 10).await.unwrap().len(), 1);
    assert_eq!(store.last_change().await.unwrap(), 1);
}
