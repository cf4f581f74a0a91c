//! The audit log binds whoever writes by SQL.

use crate::support::Database;

#[tokio::test]
async fn an_entry_is_not_written_over_by_another_of_its_id() {
    let db = Database::new().await;
    db.insert("agent-one");
    for statement in [
        "INSERT OR REPLACE INTO audit_log (id, at, actor, action, object)
         SELECT id, at, 'somebody', action, object FROM audit_log LIMIT 1",
        "REPLACE INTO audit_log (id, at, actor, action, object)
         SELECT id, at, 'somebody', action, object FROM audit_log LIMIT 1",
    ] {
        let said = db.sql(statement).expect_err(statement);
        assert!(said.contains("TALON-OC017"), "{said}");
    }
    // What the log is for goes on, also after somebody gave an entry an id that the database itself never gives.
    db.sql(
        "INSERT INTO audit_log (id, at, actor, action, object) VALUES (-1, '2020', 'x', 'y', 'z')",
    )
    .expect("an entry");
    db.insert("agent-two");
    db.insert("agent-three");
    db.store.close().await;
}
