//! Migrating: from nothing, again, from several places, without rights.

use talon_store::StoreError;
use talon_store_postgres::{MigrateOptions, PostgresStore};

use crate::harness::{Role, TestPostgres};
use crate::support::{FIRST_ROW, run};

const PLAIN: MigrateOptions = MigrateOptions { hardening: false };

#[tokio::test]
async fn from_nothing_and_again() {
    let database = TestPostgres::shared().await.empty_database().await;
    let url = database.url(Role::Admin);
    let missing = PostgresStore::open(&url).await.unwrap_err();
    assert!(
        matches!(&missing, StoreError::Corrupt(what) if what.contains("talon migrate")),
        "{missing:?}"
    );
    let first = PostgresStore::migrate(&url, PLAIN).await.unwrap();
    assert_eq!(first.applied[0], "0001_agents");
    let last = first.applied.last().unwrap();
    assert!(
        last.starts_with(&format!("{:04}_", first.schema_version)),
        "{last}"
    );
    assert_eq!(first.warnings, Vec::<String>::new());
    let second = PostgresStore::migrate(&url, PLAIN).await.unwrap();
    assert_eq!(
        (second.applied.len(), second.schema_version),
        (0, first.schema_version)
    );
    PostgresStore::open(&url).await.unwrap();

    let mut admin = database.connect(Role::Admin).await;
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class WHERE relnamespace = 'talon'::regnamespace",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(owners, ["talon_owner"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_several_places_at_once() {
    let database = TestPostgres::shared().await.empty_database().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = database.url(Role::Admin);
        all.spawn(async move { PostgresStore::migrate(&url, PLAIN).await });
    }
    for report in all.join_all().await {
        report.unwrap();
    }
    PostgresStore::open(&database.url(Role::Admin))
        .await
        .unwrap();
}

#[tokio::test]
async fn another_schema_is_refused() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    let newer = "INSERT INTO talon._sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'x', true, '', 0)";
    run(&mut admin, newer).await.unwrap();
    let error = PostgresStore::open(&database.url(Role::Admin))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt(what) if what.contains("newer")),
        "{error:?}"
    );
    let error = PostgresStore::migrate(&database.url(Role::Admin), PLAIN)
        .await
        .unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(_)), "{error:?}");
    run(
        &mut admin,
        "DELETE FROM talon._sqlx_migrations WHERE version >= 6",
    )
    .await
    .unwrap();
    let error = PostgresStore::open(&database.url(Role::Admin))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt(what) if what.contains("talon migrate")),
        "{error:?}"
    );
}

/// On a server of its own: without the roles of the contract, which belong to the whole server.
#[tokio::test]
async fn without_the_right_to_make_roles() {
    let server = TestPostgres::start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let database = server.empty_database().await;
    let mut admin = database.connect(Role::Admin).await;
    run(&mut admin, "CREATE ROLE plain LOGIN").await.unwrap();
    let grant: String = sqlx::query_scalar(
        "SELECT format('GRANT CREATE ON DATABASE %I TO plain', current_database())",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    run(&mut admin, &grant).await.unwrap();
    let url = database.url(Role::Admin).replacen("postgres@", "plain@", 1);
    let report = PostgresStore::migrate(&url, MigrateOptions { hardening: true })
        .await
        .unwrap();
    assert_eq!(report.warnings.len(), 5, "{:?}", report.warnings);
    let all = report.warnings.join("\n");
    for needed in [
        "talon_writer",
        "search path",
        "log_min_error_statement",
        "log_error_verbosity",
    ] {
        assert!(all.contains(needed), "{all}");
    }
    PostgresStore::open(&url).await.unwrap();
    let output = server.run(
        "psql",
        [
            "-X",
            "-d",
            &url,
            "-c",
            &FIRST_ROW.replace("agent_source", "talon.agent_source"),
        ],
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // An administrator makes the roles later: migrating again gives them what they need.
    let report = PostgresStore::migrate(&database.url(Role::Admin), PLAIN)
        .await
        .unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let mut writer = database.connect(Role::Writer).await;
    run(&mut writer, "UPDATE agent_source SET suspend = true")
        .await
        .unwrap();
}
