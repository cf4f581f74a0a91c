//! The rules of the contract in plain SQL, whoever writes.

use sqlx::Row;
use talon_core::name::RESERVED;
use talon_store::codes;

use crate::harness::{Role, TestPostgres};
use crate::support::{FIRST_ROW, refused, run, with_first_row};

#[tokio::test]
async fn the_first_row_is_as_easy_as_promised() {
    let database = TestPostgres::shared().await.database().await;
    for role in [Role::Admin, Role::Writer] {
        let insert = FIRST_ROW.replace(
            "research-pro",
            if role == Role::Admin {
                "by-admin"
            } else {
                "by-writer"
            },
        );
        let select =
            "SELECT name, deployment_status, deployment_error, worker_url FROM agent_source";
        let output = database.psql(role, &format!("{insert}; {select}"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("|pending||"), "{text}");
    }
}

#[tokio::test]
async fn what_never_changes_is_refused_with_its_code() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, true).await;
    let mut number = 0;
    for (set, code) in [
        ("id = gen_random_uuid()", codes::FIXED),
        ("name = 'other'", codes::FIXED),
        ("owner = 'other'", codes::FIXED),
        ("persona = 'canary'", codes::IMMUTABLE),
        ("instructions = 'canary'", codes::IMMUTABLE),
        ("first_deployed_at = NULL", codes::LATCHED),
        ("generation = 7", codes::DATABASE_COLUMNS),
        ("updated_at = 'epoch'", codes::DATABASE_COLUMNS),
        ("created_at = 'epoch'", codes::DATABASE_COLUMNS),
        ("identity_md = 'canary'", codes::IDENTITY_FIXED),
        ("deleted_at = now()", codes::ARCHIVE),
        ("visibility = 'canary'", codes::INVALID),
        ("deletion_policy = 'canary'", codes::INVALID),
        ("skills = '{\"canary\": 1}'", codes::INVALID),
        ("theme = '[\"canary\"]'", codes::INVALID),
        ("r2 = '\"canary\"'", codes::INVALID),
        ("model = ''", codes::INVALID),
        ("deployment_status = 'canary'", codes::INVALID),
    ] {
        let sqlstate = code.strip_prefix("TALON-").expect("our prefix");
        let message = refused(
            run(&mut admin, &format!("UPDATE agent_source SET {set}")).await,
            sqlstate,
        );
        assert!(message.starts_with(code), "{message}");
        assert!(!message.contains("canary"), "{message}");
        if code != codes::INVALID {
            let said = codes::message(code).expect("a known code");
            assert_eq!(message, format!("{code} {said}"));
        }
        number += 1;
    }
    assert_eq!(number, 18);
    let rows: i64 = sqlx::query_scalar("SELECT generation FROM agent_source")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn the_same_value_passes_by_upsert_too() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, true).await;
    let upsert = |persona: &str| {
        format!(
            "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('research-pro', '{persona}', 'x', 'a/b')
             ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE SET persona = EXCLUDED.persona"
        )
    };
    assert_eq!(
        run(&mut admin, &upsert("You are a careful research analyst.")).await,
        Ok(1)
    );
    let generation = "SELECT generation FROM agent_source";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(generation)
            .fetch_one(&mut admin)
            .await
            .unwrap(),
        1
    );
    refused(run(&mut admin, &upsert("another")).await, "OC002");
    assert_eq!(
        run(&mut admin, "UPDATE agent_source SET model = model").await,
        Ok(1),
        "a no-op returns its row"
    );
    assert_eq!(
        sqlx::query_scalar::<_, i64>(generation)
            .fetch_one(&mut admin)
            .await
            .unwrap(),
        1
    );
    let moved: i64 =
        sqlx::query_scalar("UPDATE agent_source SET model = 'a/c' RETURNING generation")
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert_eq!(moved, 2);
}

#[tokio::test]
async fn status_columns_given_by_hand_are_refused() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    for (column, value) in [
        ("id", "gen_random_uuid()"),
        ("generation", "2"),
        ("observed_generation", "1"),
        ("deployment_status", "'deployed'"),
        ("worker_url", "'https://x'"),
        ("worker_name", "'x'"),
        ("r2_bucket", "'x'"),
        ("r2_token_id", "'x'"),
        ("auth_token_hash", "'x'"),
        ("has_anthropic_key", "true"),
        ("identity_md", "'x'"),
        ("first_deployed_at", "now()"),
        ("deleted_at", "now()"),
        ("deletion_requested_at", "now()"),
        ("created_at", "'epoch'"),
    ] {
        let insert = format!(
            "INSERT INTO agent_source (name, persona, instructions, model, {column})
             VALUES ('research-pro', 'p', 'i', 'a/b', {value})"
        );
        refused(run(&mut admin, &insert).await, "OC007");
    }
}

#[tokio::test]
async fn names_are_checked_as_core_does() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    let thirty_one = "a".repeat(31);
    let good = ["abc", "a-b", "0x9", "a1-b2-c3"];
    let bad = [
        "ab",
        "-ab",
        "ab-",
        "a--b",
        "Abc",
        "a_b",
        "äbc",
        "abc\n",
        "",
        &thirty_one,
    ];
    let all = good.iter().chain(&bad).chain(RESERVED);
    for text in all {
        let insert = sqlx::query("INSERT INTO agent_source (name, persona, instructions, model) VALUES ($1, 'p', 'i', 'a/b')")
            .bind(*text)
            .execute(&mut admin)
            .await;
        assert_eq!(
            insert.is_ok(),
            talon_core::AgentName::parse(text).is_ok(),
            "{text}"
        );
    }
}

#[tokio::test]
async fn delete_is_a_request_and_says_so() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    let output = database.psql(
        Role::Writer,
        "DELETE FROM agent_source WHERE name = 'research-pro'",
    );
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "DELETE 0");
    let notice = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        notice.contains("Deletion was requested") && notice.contains("0 rows"),
        "{notice}"
    );

    let read = "SELECT deletion_requested_at, generation FROM agent_source";
    let row = sqlx::query(read).fetch_one(&mut admin).await.unwrap();
    let at: chrono::DateTime<chrono::Utc> = row.get(0);
    assert_eq!(row.get::<i64, _>(1), 2);
    assert_eq!(run(&mut admin, "DELETE FROM agent_source").await, Ok(0));
    let again = sqlx::query(read).fetch_one(&mut admin).await.unwrap();
    assert_eq!(
        (
            again.get::<chrono::DateTime<chrono::Utc>, _>(0),
            again.get::<i64, _>(1)
        ),
        (at, 2)
    );

    refused(
        run(
            &mut admin,
            "UPDATE agent_source SET deletion_requested_at = NULL",
        )
        .await,
        "OC003",
    );
    refused(
        run(
            &mut admin,
            "UPDATE agent_source SET deletion_requested_at = 'epoch'",
        )
        .await,
        "OC003",
    );
    refused(
        run(&mut admin, "UPDATE agent_source SET suspend = true").await,
        "OC004",
    );
    run(&mut admin, "UPDATE agent_source SET deleted_at = now()")
        .await
        .unwrap();
    refused(
        run(&mut admin, "UPDATE agent_source SET deleted_at = NULL").await,
        "OC016",
    );
    run(&mut admin, FIRST_ROW)
        .await
        .expect("the name is free again");
}

#[tokio::test]
async fn protection_and_truncate() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    run(
        &mut admin,
        "UPDATE agent_source SET deletion_protected = true",
    )
    .await
    .unwrap();
    let message = refused(run(&mut admin, "DELETE FROM agent_source").await, "OC012");
    assert!(message.contains("deletion_protected"), "{message}");
    refused(
        run(
            &mut admin,
            "UPDATE agent_source SET deletion_requested_at = now()",
        )
        .await,
        "OC012",
    );
    refused(
        run(&mut admin, "TRUNCATE agent_source CASCADE").await,
        "OC005",
    );
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_source")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    let request =
        "UPDATE agent_source SET deletion_protected = false, deletion_requested_at = 'epoch'";
    run(&mut admin, request).await.unwrap();
    let by_database: bool = sqlx::query_scalar(
        "SELECT deletion_requested_at > now() - interval '1 minute' FROM agent_source",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert!(by_database, "the time is the database's");
}

#[tokio::test]
async fn every_change_is_audited_and_makes_a_pass_due() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    for sql in [
        "UPDATE agent_work SET next_due_at = NULL",
        "UPDATE agent_source SET deployment_status = 'deploying'",
    ] {
        run(&mut admin, sql).await.unwrap();
    }
    let due = "SELECT next_due_at IS NOT NULL FROM agent_work";
    assert!(
        !sqlx::query_scalar::<_, bool>(due)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    );
    run(&mut admin, "UPDATE agent_source SET suspend = true")
        .await
        .unwrap();
    assert!(
        sqlx::query_scalar::<_, bool>(due)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    );
    run(&mut admin, "DELETE FROM agent_source").await.unwrap();
    let actions: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log ORDER BY id")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(actions, ["insert", "update", "delete"]);
}
