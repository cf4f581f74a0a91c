//! A key pasted where a reference belongs reaches neither the data files, the write-ahead log, a dump nor the server's
//! log, at default settings; and the search finds what is there.

use std::path::Path;

use sqlx::Connection;

use crate::harness::{Role, TestPostgres};
use crate::support::{CANARY, FIRST_ROW, run};

/// Something harmless that must be found, so that the search is known to work.
const PLANTED: &str = "PLANTED-8dQm31-persona";

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

/// Files under `dir` that hold the text.
fn files_with(dir: &Path, needle: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)
        .expect("the directory can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).is_ok_and(|bytes| contains(&bytes, needle)) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_pasted_key_is_nowhere() {
    let server = TestPostgres::start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let database = server.database().await;
    let mut admin = database.connect(Role::Admin).await;
    let as_value = format!(r#"{{"anthropic":"env:TALON_SECRET_ANTHROPIC","openai":"{CANARY}"}}"#);
    let ways = [
        FIRST_ROW.replace(r#"{"anthropic":"env:TALON_SECRET_ANTHROPIC"}"#, &as_value),
        FIRST_ROW
            .replace("research-pro", "whole-text")
            .replace(r#"{"anthropic":"env:TALON_SECRET_ANTHROPIC"}"#, CANARY),
        FIRST_ROW
            .replace("research-pro", "as-provider")
            .replace("anthropic\":\"", &format!("{CANARY}\":\"")),
        FIRST_ROW
            .replace("research-pro", "broken")
            .replace(r#"ANTHROPIC"}"#, &format!("X\",\"openai\":\"{CANARY}")),
        FIRST_ROW
            .replace("research-pro", "in-file")
            .replace("env:TALON_SECRET_ANTHROPIC", &format!("file:{CANARY}")),
        format!("UPDATE agent_source SET api_key_refs = '{as_value}'"),
        format!("UPDATE agent_source SET api_key_refs = '{CANARY}', persona = '{PLANTED}'"),
        format!(
            "{} ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE SET api_key_refs = EXCLUDED.api_key_refs",
            FIRST_ROW.replace(r#"{"anthropic":"env:TALON_SECRET_ANTHROPIC"}"#, &as_value)
        ),
    ];
    for (i, statement) in ways.iter().enumerate() {
        assert!(statement.contains(CANARY));
        // Every other one as a person would, so that the server logs what it logs then.
        if i % 2 == 0 {
            let output = database.psql(Role::Writer, statement);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            assert!(
                said.contains("discarded") && said.contains("rotate"),
                "{said}"
            );
            assert!(!said.contains(CANARY));
        } else {
            run(&mut admin, statement).await.unwrap();
        }
    }
    let mut prepared = database.connect(Role::Writer).await;
    sqlx::query("UPDATE agent_source SET api_key_refs = $1 WHERE name = 'research-pro'")
        .bind(&as_value)
        .execute(&mut prepared)
        .await
        .unwrap();
    // A refused statement, so that the log has something to say.
    assert!(
        run(
            &mut admin,
            &format!("UPDATE agent_source SET visibility = '{PLANTED}'")
        )
        .await
        .is_err()
    );
    let refs: Vec<String> =
        sqlx::query_scalar("SELECT api_key_refs FROM agent_source ORDER BY name")
            .fetch_all(&mut admin)
            .await
            .unwrap();
    assert!(
        refs.iter()
            .all(|text| text.contains("discarded") && !text.contains(CANARY)),
        "{refs:?}"
    );
    run(&mut admin, "CHECKPOINT").await.unwrap();

    let data = server.data_dir().expect("a server of our own");
    let log = server.log_file().expect("a server of our own");
    assert_eq!(files_with(data, CANARY), Vec::<std::path::PathBuf>::new());
    assert!(
        !contains(&std::fs::read(log).unwrap(), CANARY),
        "the server's log has the key"
    );
    let dump = server.run("pg_dump", ["-d", &database.url(Role::Admin)]);
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    assert!(!contains(&dump.stdout, CANARY));

    let planted = files_with(data, PLANTED);
    assert!(
        planted
            .iter()
            .any(|path| path.parent().is_some_and(|dir| dir.ends_with("pg_wal"))),
        "{planted:?}"
    );
    assert!(
        planted
            .iter()
            .any(|path| path.components().any(|part| part.as_os_str() == "base")),
        "{planted:?}"
    );
    assert!(contains(&std::fs::read(log).unwrap(), PLANTED));
    assert!(contains(&dump.stdout, PLANTED));
    admin.close().await.unwrap();
    prepared.close().await.unwrap();
}

#[tokio::test]
async fn hardening_keeps_refused_statements_out_of_the_log() {
    use talon_store_postgres::{MigrateOptions, PostgresStore};
    let server = TestPostgres::start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let database = server.database().await;
    let report = PostgresStore::migrate(
        &database.url(Role::Admin),
        MigrateOptions { hardening: true },
    )
    .await
    .unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let log = server.log_file().expect("a server of our own");
    let before = std::fs::read(log).unwrap().len();
    let mut writer = database.connect(Role::Writer).await;
    // One statement that is refused for another reason than the key in it, and one that fails on the value itself.
    for statement in [
        format!("UPDATE agent_source SET api_key_refs = '{CANARY}', no_such_column = 1"),
        format!("UPDATE agent_source SET secrets_version = '{CANARY}'"),
        FIRST_ROW
            .replace("research-pro", "-")
            .replace("env:TALON_SECRET_ANTHROPIC", CANARY),
    ] {
        assert!(run(&mut writer, &statement).await.is_err());
    }
    let log = String::from_utf8_lossy(&std::fs::read(log).unwrap()[before..]).into_owned();
    assert!(log.contains("TALON-OC020"), "the refusals are there: {log}");
    assert!(
        !log.contains("STATEMENT") && !log.contains("DETAIL"),
        "{log}"
    );
    // What remains, as SECURITY.md says: a value of another type is repeated by PostgreSQL itself.
    assert_eq!(log.matches(CANARY).count(), 1, "{log}");
}
