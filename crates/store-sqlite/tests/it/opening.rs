//! Opening, migrating, the daemon's lock.

use std::os::unix::fs::PermissionsExt;

use talon_core::mutation::Mutation;
use talon_store::{Store, StoreError};
use talon_store_sqlite::SqliteStore;

use crate::support::Database;

#[tokio::test]
async fn a_missing_file_is_new_and_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    assert!(SqliteStore::is_new(&url).await.unwrap());
    let error = SqliteStore::open(&url).await.err().unwrap();
    assert!(
        matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("talon migrate")
    );
    SqliteStore::migrate(&url).await.unwrap();
    assert!(!SqliteStore::is_new(&url).await.unwrap());
    SqliteStore::migrate(&url).await.unwrap();
    let store = SqliteStore::open(&url).await.unwrap();
    let mode = std::fs::metadata(store.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let nowhere = format!("sqlite://{}/no/such/folder/t.db", folder.path().display());
    assert!(matches!(
        SqliteStore::migrate(&nowhere).await,
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn what_is_no_talon_database_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(
        &text,
        "This is a text file, long enough to have a header. ".repeat(100),
    )
    .unwrap();
    let error = SqliteStore::open(text.to_str().unwrap())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    assert!(SqliteStore::is_new(empty.to_str().unwrap()).await.unwrap());
    let error = SqliteStore::open(empty.to_str().unwrap())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("no Talon schema"), "{error}");
}

#[tokio::test]
async fn another_schema_is_refused() {
    let db = Database::new().await;
    let url = db.file.to_str().unwrap();
    db.ok("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)");
    let error = SqliteStore::open(url).await.err().unwrap();
    assert!(
        error.to_string().contains("newer than this program"),
        "{error}"
    );
    assert!(matches!(
        SqliteStore::migrate(url).await,
        Err(StoreError::Corrupt(_))
    ));
    db.ok("DELETE FROM _sqlx_migrations WHERE version IN (9999, (SELECT max(version) FROM _sqlx_migrations WHERE version < 9999))");
    let error = SqliteStore::open(url).await.err().unwrap();
    assert!(error.to_string().contains("talon migrate"), "{error}");
}

#[tokio::test]
async fn two_may_migrate_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("t.db").display());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { SqliteStore::migrate(&url).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    SqliteStore::open(&url).await.unwrap();
}

#[tokio::test]
async fn one_daemon_for_each_file() {
    let db = Database::new().await;
    let other = SqliteStore::open(db.file.to_str().unwrap()).await.unwrap();
    let lock = db.store.lock_daemon().unwrap();
    let error = other.lock_daemon().unwrap_err().to_string();
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    assert!(error.contains("one daemon per SQLite file"));
    // Reading and writing need no lock.
    assert_eq!(other.last_change().await.unwrap(), 0);
    drop(lock);
    other.lock_daemon().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_given_up_half_way_blocks_nobody() {
    let db = Database::new().await;
    let (_, claim) = db.latched("research-pro").await;
    let store = db.store.clone();
    for patience in 0..60u64 {
        let (store, claim) = (store.clone(), claim.clone());
        let task = tokio::spawn(async move { store.commit(&claim, &[Mutation::CardGone]).await });
        tokio::time::sleep(std::time::Duration::from_micros(patience * 20)).await;
        task.abort();
        let _ = task.await;
    }
    let name = talon_core::AgentName::parse("research-pro").unwrap();
    db.store.request_reconcile(&name).await.unwrap();
}
