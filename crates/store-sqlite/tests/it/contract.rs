//! What people may write by hand, and what the database refuses them.

use talon_core::Generation;
use talon_core::mutation::{Mutation, ResourceWrite};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_store::{Store, codes};

use crate::support::Database;

const FIRST: &str = r#"INSERT INTO agent_source (name, persona, instructions, model, api_key_refs)
VALUES ('research-pro', 'You are a careful research analyst.', 'Cite every claim.',
        'anthropic/claude-sonnet-4-6', '{"anthropic":"env:TALON_SECRET_ANTHROPIC"}')"#;

#[tokio::test]
async fn a_first_row_is_this_easy() {
    let db = Database::new().await;
    db.ok(FIRST);
    let seen =
        db.ok("SELECT name, deployment_status, deployment_error, worker_url FROM agent_source");
    assert_eq!(seen, "research-pro|pending||");
    let snap = db.get("research-pro").await;
    assert_eq!(snap.agent.spec, talon_store::conformance::support::spec());
    assert_eq!(snap.agent.id.0.get_version_num(), 7);
    assert!(snap.work.next_due_at.is_some_and(|at| at <= snap.now));
    assert!(
        db.sql(FIRST)
            .unwrap_err()
            .contains("UNIQUE constraint failed")
    );
}

#[tokio::test]
async fn the_upsert_is_this_easy() {
    let db = Database::new().await;
    let upsert = |persona: &str, model: &str| {
        format!(
            "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('research-pro', '{persona}', 'i', '{model}')
             ON CONFLICT (name) WHERE deleted_at IS NULL
             DO UPDATE SET persona = excluded.persona, model = excluded.model RETURNING name"
        )
    };
    assert_eq!(db.ok(&upsert("one", "m/a")), "research-pro");
    let feed =
        "SELECT generation, (SELECT max(seq) FROM agent_change), updated_at FROM agent_source";
    let before = db.ok(feed);
    assert_eq!(
        db.ok(&upsert("one", "m/a")),
        "research-pro",
        "a no-op returns its row"
    );
    assert_eq!(db.ok(feed), before, "and moves nothing");
    db.ok(&upsert("two", "m/a"));
    let id = db.get("research-pro").await.agent.id;
    let claim = db.claim(id).await;
    let latch = Mutation::Latch {
        generation: Generation(2),
    };
    assert!(db.store.commit(&claim, &[latch]).await.unwrap().latched);
    db.ok(&upsert("two", "m/b"));
    assert_eq!(db.get("research-pro").await.agent.generation, Generation(3));
    db.refused(&upsert("canary-value", "m/b"), codes::IMMUTABLE);
    assert!(
        !db.sql(&upsert("canary-value", "m/b"))
            .unwrap_err()
            .contains("canary-value")
    );
}

#[tokio::test]
async fn what_is_fixed_stays_fixed() {
    let db = Database::new().await;
    let (_, claim) = db.latched("research-pro").await;
    let identity = Mutation::Identity {
        markdown: "# x".to_owned(),
        sha256: "s".to_owned(),
    };
    // The latch has frozen that there is none, too.
    assert!(db.store.commit(&claim, &[identity]).await.is_err());
    for (set, code) in [
        ("persona = 'other'", codes::IMMUTABLE),
        ("instructions = 'other'", codes::IMMUTABLE),
        ("persona = persona || ' '", codes::IMMUTABLE),
        ("identity_md = 'x'", codes::IDENTITY_FIXED),
        ("first_deployed_at = NULL", codes::LATCHED),
        ("name = 'other'", codes::FIXED),
        ("owner = 'other'", codes::FIXED),
        ("id = 'x'", codes::FIXED),
        ("seq = 99", codes::FIXED),
        ("rowid = 99", codes::FIXED),
        ("_rowid_ = 99", codes::FIXED),
        ("generation = generation + 1", codes::DATABASE_COLUMNS),
        (
            "created_at = '2026-01-01T00:00:00.000Z'",
            codes::DATABASE_COLUMNS,
        ),
        ("updated_at = NULL", codes::DATABASE_COLUMNS),
        ("deleted_at = '2026-01-01T00:00:00.000Z'", codes::ARCHIVE),
    ] {
        db.refused(&format!("UPDATE agent_source SET {set}"), code);
    }
    db.ok("UPDATE agent_source SET persona = persona, instructions = instructions, name = name, generation = generation");
    assert_eq!(db.get("research-pro").await.agent.generation, Generation(1));
}

#[tokio::test]
async fn r2_is_fixed_once_there_is_a_bucket() {
    let db = Database::new().await;
    let id = db.create("research-pro").await;
    db.ok(r#"UPDATE agent_source SET r2 = '{"jurisdiction":"eu"}'"#);
    let claim = db.claim(id).await;
    let bucket = ResourceWrite::new(ResourceKind::R2Bucket, "b", ResourceState::Unknown);
    db.store
        .commit(&claim, &[Mutation::Resource(bucket)])
        .await
        .unwrap();
    db.refused("UPDATE agent_source SET r2 = '{}'", codes::BUCKET_FIXED);
}

#[tokio::test]
async fn generation_moves_once_for_each_real_change() {
    let db = Database::new().await;
    db.insert("research-pro");
    for pragma in [
        "",
        "PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON;",
    ] {
        let before = db.get("research-pro").await.agent.generation.0;
        db.ok(&format!(
            "{pragma} UPDATE agent_source SET keep_alive = 1 - keep_alive, description = 'd'"
        ));
        assert_eq!(
            db.get("research-pro").await.agent.generation.0,
            before + 1,
            "{pragma}"
        );
        db.ok(&format!(
            "{pragma} UPDATE agent_source SET description = 'd', suspend = 0"
        ));
        db.ok(&format!(
            "{pragma} UPDATE agent_source SET deployment_error = 'e' || random()"
        ));
        assert_eq!(
            db.get("research-pro").await.agent.generation.0,
            before + 1,
            "{pragma}"
        );
    }
}

#[tokio::test]
async fn status_columns_are_not_given_at_insert() {
    let db = Database::new().await;
    for (column, value) in [
        ("id", "'01a20728-2a5e-761c-a4a0-d63fb48b0406'"),
        ("id", "'x'"),
        ("generation", "2"),
        ("observed_generation", "1"),
        ("deployment_status", "'deployed'"),
        ("deployment_error", "'x'"),
        ("worker_url", "'https://example.com'"),
        ("worker_name", "'w'"),
        ("r2_bucket", "'b'"),
        ("r2_token_id", "'t'"),
        ("auth_token_hash", "'h'"),
        ("has_anthropic_key", "1"),
        ("has_openai_key", "1"),
        ("identity_md", "'x'"),
        ("identity_sha256", "'x'"),
        ("first_deployed_at", "'2026-01-01T00:00:00.000Z'"),
        ("cloudflare_account", "'a'"),
        ("deleted_at", "'2026-01-01T00:00:00.000Z'"),
        ("deletion_requested_at", "'x'"),
        ("reconcile_requested_at", "'x'"),
        ("secret_ref_discarded_at", "'x'"),
        ("created_at", "'2026-01-01T00:00:00.000Z'"),
        ("updated_at", "'2026-01-01T00:00:00.000Z'"),
    ] {
        let insert = format!(
            "INSERT INTO agent_source (name, persona, instructions, model, {column}) VALUES ('agent-x', 'p', 'i', 'm/m', {value})"
        );
        db.refused(&insert, codes::STATUS_COLUMNS);
    }
}

#[tokio::test]
async fn a_request_for_a_pass_is_any_text_and_gets_its_time() {
    let db = Database::new().await;
    db.insert("research-pro");
    let id = db.get("research-pro").await.agent.id;
    let mut last = None;
    for text in ["'now'", "datetime('now')", "'now'", "'2999-01-01'", "1"] {
        db.ok("UPDATE agent_work SET next_due_at = NULL");
        db.ok(&format!(
            "UPDATE agent_source SET reconcile_requested_at = {text}"
        ));
        let snap = db.store.load(id).await.unwrap().unwrap();
        let at = snap.agent.reconcile_requested_at;
        assert!(at > last, "{text}");
        assert!(
            at.unwrap() <= snap.now + chrono::TimeDelta::milliseconds(10),
            "{text}"
        );
        assert!(snap.work.next_due_at.is_some_and(|due| due <= snap.now));
        assert_eq!(snap.agent.generation, Generation(1));
        last = at;
    }
}

#[tokio::test]
async fn the_registry_is_append_only_and_tells_of_lost_rows() {
    let db = Database::new().await;
    db.insert("kept");
    db.insert("lost");
    db.refused("DELETE FROM agent_registry", codes::REGISTRY);
    db.refused(
        "UPDATE agent_registry SET id = 'x' WHERE live_name = 'lost'",
        codes::REGISTRY,
    );
    db.refused(
        "UPDATE agent_registry SET live_name = 'other'",
        codes::REGISTRY,
    );
    assert_eq!(db.store.lost_rows().await.unwrap(), []);
    let id = db.get("lost").await.agent.id;
    db.ok("DROP TRIGGER delete_is_a_request; DELETE FROM agent_source WHERE name = 'lost'");
    let lost = db.store.lost_rows().await.unwrap();
    assert_eq!(lost, [(id.to_string(), Some("lost".to_owned()))]);
    assert_eq!(
        db.ok("SELECT id, name FROM lost_rows"),
        format!("{id}|lost")
    );
}

#[tokio::test]
async fn views_are_for_reading() {
    let db = Database::new().await;
    let (id, claim) = db.latched("research-pro").await;
    let failed = ResourceWrite {
        cleanup: Some(talon_core::mutation::Cleanup {
            result: talon_core::resource::CleanupResult::Failed,
            error: Some("not empty".to_owned()),
        }),
        ..ResourceWrite::new(ResourceKind::R2Bucket, "the-bucket", ResourceState::Present)
    };
    let event = talon_core::event::NewEvent {
        severity: talon_core::event::Severity::Warning,
        reason: talon_core::event::EventReason::CleanupFailed,
        object: "r2_bucket/the-bucket".to_owned(),
        message: "not empty".to_owned(),
    };
    let status = talon_core::mutation::StatusWrite {
        deployment_status: Some(talon_core::status::DeploymentStatus::Failed),
        deployment_error: Some(Some("why".to_owned())),
        ..Default::default()
    };
    let mutations = [
        Mutation::Resource(failed),
        Mutation::Event(event),
        Mutation::Status(status),
    ];
    db.store.commit(&claim, &mutations).await.unwrap();
    let agents = db.ok("SELECT name, status, sync, generation, error FROM agents");
    assert_eq!(agents, "research-pro|failed|out of date|1|why");
    assert_eq!(
        db.ok("SELECT name, reason, message FROM agents_stuck"),
        "research-pro|Failing|why"
    );
    assert_eq!(
        db.ok("SELECT agent, message, count FROM recent_events"),
        "research-pro|not empty|1"
    );
    assert_eq!(db.ok("SELECT * FROM cleanup"), "");
    db.ok("DELETE FROM agent_source");
    assert_eq!(
        db.ok("SELECT agent, kind, name, result, error FROM cleanup"),
        "research-pro|r2_bucket|the-bucket|failed|not empty"
    );
    db.store.commit(&claim, &[Mutation::Archive]).await.unwrap();
    assert_eq!(
        db.ok("SELECT agent, kind, name, error FROM leftovers"),
        "research-pro|r2_bucket|the-bucket|not empty"
    );
    assert_eq!(db.ok("SELECT count(*) FROM agents"), "0");
    assert!(db.sql("DELETE FROM agents").is_err());
    assert!(
        db.store
            .load(id)
            .await
            .unwrap()
            .unwrap()
            .agent
            .is_archived()
    );
}
