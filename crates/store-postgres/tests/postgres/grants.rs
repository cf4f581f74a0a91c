//! What each role may do.

use std::time::Duration;

use talon_core::Owner;
use talon_store::access::AccessStore;
use talon_store::conformance::support::spec;
use talon_store::fleet::{Actor, FleetStore};
use talon_store::{ApplyOptions, EventFilter, ListFilter, Store};
use talon_store_postgres::PostgresStore;

use crate::harness::{Role, TestPostgres};
use crate::support::{FIRST_ROW, name, refused, run, with_first_row};

const FORBIDDEN: &str = "42501";

#[tokio::test]
async fn a_writer_writes_the_spec_and_nothing_else() {
    let database = TestPostgres::shared().await.database().await;
    let mut writer = database.connect(Role::Writer).await;
    run(&mut writer, FIRST_ROW).await.unwrap();
    run(
        &mut writer,
        "UPDATE agent_source SET model = 'a/b', suspend = true, reconcile_requested_at = now()",
    )
    .await
    .unwrap();
    for set in [
        "deployment_status = 'deployed'",
        "observed_generation = 9",
        "worker_url = 'https://x'",
        "worker_name = 'x'",
        "first_deployed_at = now()",
        "deleted_at = now()",
        "auth_token_hash = 'x'",
        "identity_md = 'x'",
        "generation = 5",
        "name = 'other'",
        "owner = 'other'",
    ] {
        refused(
            run(&mut writer, &format!("UPDATE agent_source SET {set}")).await,
            FORBIDDEN,
        );
    }
    for statement in [
        "SELECT auth_token_hash FROM agent_source",
        "SELECT * FROM agent_source",
        "SELECT sha256 FROM agent_auth_token",
        "SELECT sha256 FROM agent_api_key",
        "SELECT token_sha256 FROM agent_presence",
        "DELETE FROM task",
        "SELECT card FROM agent_card",
        "SELECT key_check FROM install",
        "SELECT * FROM audit_log",
        "SELECT prune_audit_log('0 s')",
        "UPDATE agent_work SET next_due_at = NULL",
        "INSERT INTO agent_event (severity, reason, object, message, first_at, last_at) VALUES ('Normal', 'Created', '', '', now(), now())",
        "TRUNCATE agent_source",
        "INSERT INTO agent_source (name, persona, instructions, model, deployment_status) VALUES ('other', 'p', 'i', 'a/b', 'deployed')",
        "ALTER TABLE agent_source DISABLE TRIGGER ALL",
        "DROP TRIGGER guard_update ON agent_source",
    ] {
        refused(run(&mut writer, statement).await, FORBIDDEN);
    }
    for view in [
        "agents",
        "agents_stuck",
        "cleanup",
        "leftovers",
        "recent_events",
    ] {
        run(&mut writer, &format!("SELECT * FROM {view}"))
            .await
            .unwrap();
    }
    assert_eq!(run(&mut writer, "DELETE FROM agent_source").await, Ok(0));
    let requested: bool =
        sqlx::query_scalar("SELECT deletion_requested_at IS NOT NULL FROM agent_source")
            .fetch_one(&mut writer)
            .await
            .unwrap();
    assert!(requested);
}

#[tokio::test]
async fn a_writer_reads_agents_without_the_hashes_of_their_tokens() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    run(
        &mut admin,
        "INSERT INTO agent_auth_token (agent_id, try, sha256, state, created_at)
            SELECT id, repeat('a', 26), 'hash-of-a-token', 'current', now() FROM agent_source;
         UPDATE agent_source SET auth_token_hash = 'hash-of-a-token'",
    )
    .await
    .unwrap();

    let controller = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    let seen = controller
        .get("research-pro", false)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        seen.agent.status.auth_token_hash.as_deref(),
        Some("hash-of-a-token")
    );
    assert_eq!(seen.auth_tokens.len(), 1);

    let writer = PostgresStore::open(&database.url(Role::Writer))
        .await
        .unwrap();
    let listed = writer.list(&ListFilter::default()).await.unwrap();
    let found = writer.get("research-pro", false).await.unwrap().unwrap();
    let loaded = writer.load(seen.agent.id).await.unwrap().unwrap();
    assert_eq!(listed.len(), 1);
    for one in listed.iter().chain([&found, &loaded]) {
        assert_eq!(one.agent.status.auth_token_hash, None);
        assert!(one.auth_tokens.is_empty());
        assert_eq!(one.agent.spec, seen.agent.spec);
        assert_eq!(one.resources, seen.resources);
    }
    // What `talon why` and `talon events` look at besides.
    assert_eq!(writer.hold().await.unwrap(), None);
    writer.events(&EventFilter::default()).await.unwrap();
}

#[tokio::test]
async fn a_controller_writes_the_status_and_not_the_spec() {
    let database = TestPostgres::shared().await.database().await;
    with_first_row(&database, false).await;
    let mut controller = database.connect(Role::Controller).await;
    run(
        &mut controller,
        "UPDATE agent_source SET deployment_status = 'deploying', worker_name = 'w', auth_token_hash = 'x'",
    )
    .await
    .unwrap();
    for statement in [
        "UPDATE agent_source SET persona = 'x'",
        "UPDATE agent_source SET model = 'x'",
        "UPDATE agent_source SET api_key_refs = '{}'",
        "UPDATE agent_source SET suspend = true",
        "UPDATE agent_source SET deletion_requested_at = now()",
        "DELETE FROM agent_source",
        "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('other', 'p', 'i', 'a/b')",
        "INSERT INTO agent_change (agent_id, kind) SELECT id, 'spec' FROM agent_source",
        "DELETE FROM audit_log",
        "INSERT INTO audit_log (actor, action, object) VALUES ('somebody', 'x', 'y')",
        "INSERT INTO audit_log (at, action, object) VALUES (now() - interval '1 year', 'x', 'y')",
    ] {
        refused(run(&mut controller, statement).await, FORBIDDEN);
    }
    // In whose name it writes is its own to say; as whom it is known to the database is not.
    run(
        &mut controller,
        "INSERT INTO audit_log (principal, action, object) VALUES ('token:ann', 'x', 'y')",
    )
    .await
    .unwrap();
}

/// A server for the HTTP API whose login has what README tells people to give it, and nothing else.
#[tokio::test]
async fn a_controller_writes_the_spec_for_whoever_asks_over_http() {
    let database = TestPostgres::shared().await.database().await;
    let store = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    let ann = Actor {
        name: "token:ann".to_owned(),
        source: "10.0.0.9".to_owned(),
    };
    let (agent, owner) = (name("research-pro"), Owner::default());
    let options = ApplyOptions::default();
    store
        .apply_as(&ann, &agent, &owner, &spec(), options)
        .await
        .unwrap();
    let mut wanted = spec();
    wanted.model = "a/b".to_owned();
    store
        .apply_as(&ann, &agent, &owner, &wanted, options)
        .await
        .unwrap();
    assert!(
        store
            .set_suspend_as(&ann, &agent, None, true)
            .await
            .unwrap()
    );
    store
        .request_reconcile_as(&ann, &agent, None)
        .await
        .unwrap();
    assert!(store.set_hold_as(&ann, "a look").await.unwrap());
    assert!(store.release_hold_as(&ann).await.unwrap().is_some());
    store
        .request_deletion_as(&ann, &agent, None, false)
        .await
        .unwrap();
    let log = store.audit_log(100).await.unwrap();
    let actions: Vec<_> = log.iter().rev().map(|e| e.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "insert",
            "update",
            "update",
            "reconcile",
            "hold",
            "release_hold",
            "delete"
        ]
    );
    for entry in &log {
        assert_eq!(
            (entry.actor.as_str(), entry.source.as_deref()),
            ("token:ann", Some("10.0.0.9"))
        );
    }
    // By itself it is what it was, on the same connections.
    let refused = store
        .apply(&name("other"), &owner, &spec(), options)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("this database role may not"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_audit_log_is_pruned_with_the_rest_and_by_nobody_emptied() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    run(
        &mut admin,
        "INSERT INTO audit_log (at, actor, action, agent_id) SELECT now() - days * interval '1 day', 'x', 'update', id
         FROM agent_source, unnest(ARRAY[6, 8, 29, 31]) AS days",
    )
    .await
    .unwrap();
    let store = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    for (keep_days, left) in [(30, 4), (0, 2)] {
        let keep = Duration::from_secs(keep_days * 86_400);
        assert!(store.prune(keep).await.unwrap() >= 1);
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(count, left, "kept for {keep_days} days");
    }
}

#[tokio::test]
async fn a_writer_is_audited_as_itself_whatever_name_it_sets() {
    let database = TestPostgres::shared().await.database().await;
    with_first_row(&database, false).await;
    let mut logins = Vec::new();
    for (role, count) in [(Role::Writer, "1"), (Role::Admin, "2")] {
        let mut connection = database.connect(role).await;
        let login: String = sqlx::query_scalar("SELECT session_user::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        logins.push(login);
        run(&mut connection, "SET talon.actor = 'token:ann'")
            .await
            .unwrap();
        run(&mut connection, "SET talon.source = '10.0.0.9'")
            .await
            .unwrap();
        let change = format!("UPDATE agent_source SET model = 'a/{count}'");
        run(&mut connection, &change).await.unwrap();
    }
    let store = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    let log = store.audit_log(2).await.unwrap();
    let by_admin = (log[0].actor.as_str(), log[0].source.as_deref());
    assert_eq!(by_admin, ("token:ann", Some("10.0.0.9")));
    let by_writer = (log[1].actor.as_str(), log[1].source.as_deref());
    if logins[0] == logins[1] {
        // On a server that is not the tests' own the administrator steps down, and is believed.
        assert_eq!(by_writer, by_admin);
    } else {
        assert_eq!(by_writer, (logins[0].as_str(), None));
    }
}

/// Rows enough that the planner goes by what is cheap.
#[tokio::test]
async fn events_of_one_agent_are_found_by_an_index() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    run(
        &mut admin,
        "INSERT INTO agent_event (severity, reason, object, message, first_at, last_at)
         SELECT 'Normal', 'Created', 'agent/' || n, '', now(), now() FROM generate_series(1, 20000) AS n",
    )
    .await
    .unwrap();
    run(&mut admin, "ANALYZE agent_event").await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT e.*, s.name FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id
         WHERE e.agent_id IN (SELECT id FROM agent_source WHERE name = 'research-pro')
         ORDER BY e.last_at DESC, e.id DESC LIMIT 1000",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("agent_event_agent"), "{plan}");
}

#[tokio::test]
async fn a_reader_sees_views_only() {
    let database = TestPostgres::shared().await.database().await;
    with_first_row(&database, false).await;
    let mut reader = database.connect(Role::Reader).await;
    let seen: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, status, sync FROM agents")
            .fetch_all(&mut reader)
            .await
            .unwrap();
    assert_eq!(
        seen,
        [(
            "research-pro".to_owned(),
            "pending".to_owned(),
            "out of date".to_owned()
        )]
    );
    for table in [
        "agent_source",
        "agent_work",
        "agent_resource",
        "agent_secret",
        "agent_event",
        "agent_change",
        "install",
    ] {
        refused(
            run(&mut reader, &format!("SELECT * FROM {table}")).await,
            FORBIDDEN,
        );
    }
    for statement in [
        "UPDATE agents SET name = 'x'",
        "DELETE FROM agents",
        FIRST_ROW,
    ] {
        assert!(run(&mut reader, statement).await.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn a_writers_failing_statement_with_a_pasted_key_stays_out_of_the_log() {
    let database = TestPostgres::shared().await.database().await;
    let mut writer = database.connect(Role::Writer).await;
    let level: String = sqlx::query_scalar("SHOW log_min_error_statement")
        .fetch_one(&mut writer)
        .await
        .unwrap();
    assert_eq!(level, "panic");
}
