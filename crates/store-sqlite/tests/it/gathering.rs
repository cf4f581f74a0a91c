//! Writes that share a commit do not share their fate.

use std::time::Duration;

use talon_core::AgentId;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_store::StoreError;
use talon_store::network::{PresenceStore, Registration, Submitted, TaskStore};

use crate::support::Database;

fn asked(n: usize) -> NewTask {
    NewTask {
        id: TaskId::parse(&format!("t{n}")).unwrap(),
        agent: "research-pro".to_owned(),
        session: TaskId::parse("s").unwrap(),
        text: "why".to_owned(),
        metadata: serde_json::Value::Null,
        asked_by: None,
        deadline_in: Duration::from_secs(600),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_takes_no_other_with_it() {
    let db = Database::new().await;
    let mut good = tokio::task::JoinSet::new();
    let mut bad = tokio::task::JoinSet::new();
    for n in 0..600 {
        let store = db.store.clone();
        good.spawn(async move { store.submit_task(&asked(n), 1000).await.unwrap() });
        if n % 20 == 0 {
            let store = db.store.clone();
            bad.spawn(async move {
                let registration = Registration {
                    connection_id: "c".to_owned(),
                    hub: "h".to_owned(),
                    token_sha256: String::new(),
                    runtime: None,
                };
                let nobody = "00000000-0000-4000-8000-000000000007"
                    .parse::<AgentId>()
                    .unwrap();
                store.agent_connected(nobody, &registration).await
            });
        }
    }
    for refused in bad.join_all().await {
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    }
    let made = good.join_all().await;
    assert!(made.iter().all(|m| matches!(m, Submitted::New(_))));
    let open = db.store.open_tasks("research-pro", 1000).await.unwrap();
    assert_eq!(open.len(), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_gives_up_interrupts_nobody() {
    let db = Database::new().await;
    for n in 0..60usize {
        let store = db.store.clone();
        let gives_up = tokio::spawn(async move { store.submit_task(&asked(n), 1000).await });
        let store = db.store.clone();
        let waits = tokio::spawn(async move { store.submit_task(&asked(1000 + n), 1000).await });
        tokio::time::sleep(Duration::from_micros(20 * n as u64)).await;
        gives_up.abort();
        let _ = gives_up.await;
        let made = waits.await.unwrap().unwrap();
        assert!(matches!(made, Submitted::New(_)));
    }
    let id = &asked(1000).id;
    let end = db.store.end_task(id, None, TaskState::Completed, "x");
    assert!(end.await.unwrap());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let db = Database::new().await;
    db.store.close().await;
    let refused = db.store.submit_task(&asked(0), 10).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
}
