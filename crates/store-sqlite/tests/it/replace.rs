//! REPLACE deletes rows without firing a delete trigger. It must not get away with a living agent, in any form.

use talon_core::mutation::{Mutation, StatusWrite};
use talon_store::{Store, codes};

use crate::support::Database;

/// Two agents, both with Cloudflare names of their own.
async fn two() -> Database {
    let db = Database::new().await;
    db.create("agent-one").await;
    db.create("agent-two").await;
    let lease = std::time::Duration::from_secs(600);
    for claim in db.store.claim_due("test", lease, 10).await.unwrap() {
        let unique = claim.agent_id.to_string();
        let names = Mutation::Names {
            worker: format!("w-{unique}"),
            bucket: format!("b-{unique}"),
            account: "a".to_owned(),
        };
        let token = Mutation::Status(StatusWrite {
            r2_token_id: Some(Some(format!("t-{unique}"))),
            ..Default::default()
        });
        db.store.commit(&claim, &[names, token]).await.unwrap();
    }
    db
}

const PRAGMAS: [&str; 4] = [
    "",
    "PRAGMA recursive_triggers = ON;",
    "PRAGMA foreign_keys = ON;",
    "PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON;",
];

const ROW: &str = "'p', 'i', 'm/m'";

#[tokio::test]
async fn insert_or_replace_is_refused() {
    let db = two().await;
    for pragma in PRAGMAS {
        for verb in ["REPLACE", "INSERT OR REPLACE"] {
            let named = format!(
                "{pragma} {verb} INTO agent_source (name, persona, instructions, model) VALUES ('agent-one', {ROW})"
            );
            // With recursive triggers the delete trigger answers first; either way the agent stays.
            refused_somehow(&db, &named);
            let by_seq = format!(
                "{pragma} {verb} INTO agent_source (seq, name, persona, instructions, model)
                 SELECT seq, 'agent-new', {ROW} FROM agent_source WHERE name = 'agent-one'"
            );
            refused_somehow(&db, &by_seq);
            let by_id = format!(
                "{pragma} {verb} INTO agent_source (id, name, persona, instructions, model)
                 SELECT id, 'agent-new', {ROW} FROM agent_source WHERE name = 'agent-one'"
            );
            db.refused(&by_id, codes::STATUS_COLUMNS);
            for column in ["worker_name", "r2_bucket", "r2_token_id"] {
                let by_name = format!(
                    "{pragma} {verb} INTO agent_source (name, persona, instructions, model, {column})
                     SELECT 'agent-new', {ROW}, {column} FROM agent_source WHERE name = 'agent-one'"
                );
                db.refused(&by_name, codes::STATUS_COLUMNS);
            }
        }
    }
    assert_eq!(db.store.lost_rows().await.unwrap(), []);
}

#[tokio::test]
async fn insert_or_replace_says_what_to_do() {
    let db = two().await;
    let replace = format!(
        "REPLACE INTO agent_source (name, persona, instructions, model) VALUES ('agent-one', {ROW})"
    );
    db.refused(&replace, codes::NO_REPLACE);
    assert!(
        db.sql(&replace)
            .unwrap_err()
            .contains("ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE")
    );
}

#[tokio::test]
async fn update_or_replace_is_refused() {
    let db = two().await;
    for pragma in PRAGMAS {
        for (set, code) in [
            ("name = 'agent-two'", codes::FIXED),
            (
                "seq = (SELECT seq FROM agent_source WHERE name = 'agent-two')",
                codes::FIXED,
            ),
            (
                "rowid = (SELECT seq FROM agent_source WHERE name = 'agent-two')",
                codes::FIXED,
            ),
            (
                "id = (SELECT id FROM agent_source WHERE name = 'agent-two')",
                codes::FIXED,
            ),
            (
                "worker_name = (SELECT worker_name FROM agent_source WHERE name = 'agent-two')",
                codes::TAKEN,
            ),
            (
                "r2_bucket = (SELECT r2_bucket FROM agent_source WHERE name = 'agent-two')",
                codes::TAKEN,
            ),
            (
                "r2_token_id = (SELECT r2_token_id FROM agent_source WHERE name = 'agent-two')",
                codes::TAKEN,
            ),
            ("r2_token_id = 'same', keep_alive = 1", codes::TAKEN),
        ] {
            let which = if set.starts_with("r2_token_id = 'same'") {
                ""
            } else {
                "WHERE name = 'agent-one'"
            };
            for verb in [
                "UPDATE OR REPLACE",
                "UPDATE OR IGNORE",
                "UPDATE OR FAIL",
                "UPDATE",
            ] {
                // OR FAIL keeps what was changed before the failure; in a transaction of its own that is nothing but
                // for the statement that changes both rows.
                if verb == "UPDATE OR FAIL" && which.is_empty() {
                    continue;
                }
                db.refused(
                    &format!("{pragma} {verb} agent_source SET {set} {which}"),
                    code,
                );
            }
        }
    }
    assert_eq!(db.store.lost_rows().await.unwrap(), []);
}

/// The statement may be refused in more than one way, but never pass, and never take the agent away.
#[track_caller]
fn refused_somehow(db: &Database, statement: &str) {
    let identity = "SELECT seq, id, name, persona, worker_name, r2_bucket, r2_token_id FROM agent_source ORDER BY seq";
    let before = db.ok(identity);
    let result = db.sql(statement);
    assert!(result.is_err(), "{statement} passed");
    assert_eq!(db.ok(identity), before, "{statement}");
}
