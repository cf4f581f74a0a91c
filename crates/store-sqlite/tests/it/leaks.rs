//! A raw key where a reference belongs reaches no file, on the library that is built in (the system's may wipe deleted
//! content and would hide a leak) and on the system's.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use talon_core::secret::{Provider, SecretRef};
use talon_core::{AgentName, Owner};
use talon_store::{ApplyOptions, Store, codes};

use crate::support::Database;

const CANARY: &str = "sk-ant-api03-CANARY-7f3c0e9a";
const PLANTED: &str = "PLANTED-3b1c";

/// Every statement that could carry a key into `api_key_refs`.
fn statements() -> Vec<String> {
    let mut values = vec![
        CANARY.to_owned(),
        format!("\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("{{\"anthropic\":\"{CANARY}\"}}"),
        format!("{{\"anthropic\":\"env:A\",\"openai\":\"{CANARY}\"}}"),
        format!("{{\"anthropic\":\"env:A\",\"anthropic\":\"{CANARY}\"}}"),
        format!("{{\"anthropic\":{{\"key\":\"{CANARY}\"}}}}"),
        format!("{{\"anthropic\":\"env:A {CANARY}\"}}"),
        format!("{{\"anthropic\":\"file:{CANARY}\"}}"),
        format!("{{\"anthropic\":\"vault:kv/x#{CANARY}\"}}"),
        format!("{{\"{CANARY}\":\"env:A\"}}"),
        format!("{{\"anthropic\":\"env:A\"}} {CANARY}"),
        format!("{{\"anthropic\":\"env:\\u0041\",\"x\":\"{CANARY}\"}}"),
        format!("{{\"anthropic\": /* {CANARY} */ \"env:A\"}}"),
    ];
    values.push(format!("{{\"anthropic\":\"{}\"}}", CANARY.repeat(300)));
    let mut all = Vec::new();
    for value in values {
        let row = format!("'{PLANTED}', 'i', 'm/m', '{value}'");
        let columns = "(name, persona, instructions, model, api_key_refs)";
        all.push(format!(
            "INSERT INTO agent_source {columns} VALUES ('agent-new', {row})"
        ));
        all.push(format!(
            "INSERT OR IGNORE INTO agent_source {columns} VALUES ('agent-new', {row})"
        ));
        all.push(format!(
            "REPLACE INTO agent_source {columns} VALUES ('agent-one', {row})"
        ));
        all.push(format!(
            "INSERT INTO agent_source {columns} VALUES ('agent-good', 'p', 'i', 'm/m', '{{}}'), ('agent-new', {row})"
        ));
        all.push(format!(
            "INSERT INTO agent_source {columns} VALUES ('agent-one', {row})
             ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE SET api_key_refs = excluded.api_key_refs"
        ));
        all.push(format!("UPDATE agent_source SET api_key_refs = '{value}'"));
        all.push(format!(
            "UPDATE OR REPLACE agent_source SET api_key_refs = '{value}', keep_alive = 1"
        ));
        all.push(format!(
            "UPDATE OR IGNORE agent_source SET api_key_refs = '{value}' WHERE name = 'agent-one'"
        ));
    }
    all
}

/// Files of a folder that hold the text.
fn found(folder: &Path, text: &str) -> Vec<String> {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
            hits.push(path.display().to_string());
        }
    }
    hits
}

#[tokio::test]
async fn a_raw_key_reaches_no_file() {
    let db = Database::new().await;
    db.insert("agent-one");
    db.insert("agent-two");
    let mut connection: SqliteConnection = SqliteConnectOptions::new()
        .filename(&db.file)
        .pragma("secure_delete", "OFF")
        .connect()
        .await
        .unwrap();
    // The searcher finds what is there: in the write-ahead log at first, in the file later.
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE agent_source SET description = '{PLANTED}'"
    )))
    .execute(&mut connection)
    .await
    .unwrap();
    assert!(!found(db.folder.path(), PLANTED).is_empty());
    for statement in statements() {
        let error = sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&mut connection)
            .await
            .expect_err(&statement)
            .to_string();
        assert!(
            error.contains(codes::NOT_A_REFERENCE),
            "{statement}: {error}"
        );
        assert!(!error.contains("CANARY"));
        let said = db.sql(&statement).expect_err(&statement);
        assert!(
            said.contains(codes::NOT_A_REFERENCE) && !said.contains("CANARY"),
            "{said}"
        );
        // The same inside a transaction that goes on and commits.
        let mut tx = connection.begin().await.unwrap();
        sqlx::query("UPDATE agent_source SET keep_alive = 1 - keep_alive")
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&mut *tx)
            .await
            .expect_err(&statement);
        tx.commit().await.unwrap();
    }
    assert_eq!(found(db.folder.path(), "CANARY"), Vec::<String>::new());
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(found(db.folder.path(), "CANARY"), Vec::<String>::new());
    assert!(!found(db.folder.path(), PLANTED).is_empty());
    connection.close().await.unwrap();
    db.store.close().await;
    assert_eq!(found(db.folder.path(), "CANARY"), Vec::<String>::new());
}

#[tokio::test]
async fn the_stores_own_way_in_leaks_nothing_either() {
    let db = Database::new().await;
    let mut spec = talon_store::conformance::support::spec();
    spec.api_key_refs
        .insert(Provider("openai".to_owned()), SecretRef(CANARY.to_owned()));
    let name = AgentName::parse("research-pro").unwrap();
    let error = db
        .store
        .apply(&name, &Owner::default(), &spec, ApplyOptions::default())
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("CANARY"));
    assert_eq!(found(db.folder.path(), "CANARY"), Vec::<String>::new());
}
