//! DELETE is a request.

use talon_core::Generation;
use talon_core::task::{NewTask, TaskId};
use talon_store::network::{AGENT_DELETED, TaskStore};
use talon_store::{Store, codes};

use crate::support::Database;

#[tokio::test]
async fn delete_becomes_a_request() {
    let db = Database::new().await;
    db.insert("agent-one");
    db.insert("agent-two");
    let deleted = "DELETE FROM agent_source WHERE name = 'agent-one'; SELECT changes()";
    assert_eq!(db.ok(deleted), "0", "the client sees that no row went");
    let one = db.get("agent-one").await;
    let at = one.agent.deletion_requested_at;
    assert!(at.is_some_and(|at| at <= one.now));
    assert_eq!(one.agent.generation, Generation(2));
    assert!(one.work.next_due_at.is_some_and(|due| due <= one.now));
    assert_eq!(db.get("agent-two").await.agent.deletion_requested_at, None);
    db.ok(deleted);
    let again = db.get("agent-one").await.agent;
    assert_eq!(
        (again.deletion_requested_at, again.generation),
        (at, Generation(2))
    );
}

#[tokio::test]
async fn delete_ends_what_is_asked_of_the_agent() {
    let db = Database::new().await;
    db.insert("agent-one");
    let task = NewTask {
        id: TaskId::parse("t1").unwrap(),
        agent: "agent-one".to_owned(),
        session: TaskId::parse("s").unwrap(),
        text: "why".to_owned(),
        metadata: serde_json::Value::Null,
        asked_by: None,
        deadline_in: std::time::Duration::from_secs(600),
    };
    db.store.submit_task(&task, 1).await.unwrap();
    db.ok("DELETE FROM agent_source");
    let ended = db.store.task(&task.id).await.unwrap().unwrap();
    assert_eq!(ended.answer.as_deref(), Some(AGENT_DELETED));
}

#[tokio::test]
async fn delete_of_everything_is_as_many_requests() {
    for pragma in [
        "",
        "PRAGMA recursive_triggers = ON;",
        "PRAGMA foreign_keys = ON;",
    ] {
        let db = Database::new().await;
        for i in 0..40 {
            db.insert(&format!("agent-{i}"));
        }
        db.ok(&format!("{pragma} DELETE FROM agent_source"));
        let kept = "SELECT count(*), count(deletion_requested_at), max(generation), min(generation) FROM agent_source";
        assert_eq!(db.ok(kept), "40|40|2|2", "{pragma}");
        let facts = db
            .store
            .brake_facts(std::time::Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(facts.recent_deletions, 40);
    }
}

#[tokio::test]
async fn a_request_stands() {
    let db = Database::new().await;
    db.insert("agent-one");
    // Any text asks for deletion; the time is the database's.
    db.ok("UPDATE agent_source SET deletion_requested_at = '1999-01-01'");
    let agent = db.get("agent-one").await.agent;
    assert_eq!(agent.generation, Generation(2));
    assert!(agent.deletion_requested_at.unwrap() >= agent.created_at);
    for set in [
        "deletion_requested_at = NULL",
        "deletion_requested_at = '2026-01-01T00:00:00.000Z'",
    ] {
        db.refused(
            &format!("UPDATE agent_source SET {set}"),
            codes::DELETION_STANDS,
        );
    }
    for set in [
        "model = 'a/b'",
        "suspend = 1",
        "skills = '[{}]'",
        "display_name = 'x'",
        "deletion_policy = 'keep_bucket'",
        "deletion_protected = 1",
        "api_key_refs = '{\"a\":\"env:A\"}'",
    ] {
        db.refused(&format!("UPDATE agent_source SET {set}"), codes::DELETING);
    }
    db.ok("UPDATE agent_source SET model = model, deployment_error = 'status columns still move'");
}

#[tokio::test]
async fn protection_refuses() {
    let db = Database::new().await;
    db.insert("agent-one");
    db.insert("agent-two");
    db.ok("UPDATE agent_source SET deletion_protected = 1 WHERE name = 'agent-two'");
    db.refused("DELETE FROM agent_source", codes::PROTECTED);
    db.refused(
        "UPDATE agent_source SET deletion_requested_at = 'now' WHERE name = 'agent-two'",
        codes::PROTECTED,
    );
    db.ok("UPDATE agent_source SET deletion_protected = 0; DELETE FROM agent_source");
    assert!(db.get("agent-two").await.agent.is_deleting());
}
