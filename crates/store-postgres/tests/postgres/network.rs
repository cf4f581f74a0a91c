//! Two Hubs on one database, and what each role may see of what they keep.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_store::network::{CredentialStore, PresenceStore, Registration, Submitted, TaskStore};
use talon_store::{Store, StoreError};
use talon_store_postgres::PostgresStore;

use crate::harness::{Role, TestPostgres};
use crate::support::{claim, create, name, run, snap};

fn asked(task: &str) -> NewTask {
    NewTask {
        id: TaskId::parse(task).unwrap(),
        agent: "research-pro".to_owned(),
        session: TaskId::parse("s").unwrap(),
        text: "why".to_owned(),
        metadata: serde_json::Value::Null,
        asked_by: None,
        deadline_in: Duration::from_secs(600),
    }
}

fn registration(connection: &str) -> Registration {
    Registration {
        connection_id: connection.to_owned(),
        hub: "hub-1".to_owned(),
        token_sha256: "hash-of-a-token".to_owned(),
        runtime: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_make_one_task_and_one_end_of_it() {
    let database = TestPostgres::shared().await.database().await;
    let stores = [
        Arc::new(database.store().await),
        Arc::new(database.store().await),
    ];
    for round in 0..20 {
        let task = asked(&format!("t{round}"));
        let mut submits = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (store, task) = (stores[n % 2].clone(), task.clone());
            submits.spawn(async move { store.submit_task(&task, 3).await.unwrap() });
        }
        let answers = submits.join_all().await;
        let new = |a: &&Submitted| matches!(a, Submitted::New(_));
        let known = |a: &&Submitted| matches!(a, Submitted::Known(_));
        assert_eq!(
            (
                answers.iter().filter(new).count(),
                answers.iter().filter(known).count()
            ),
            (1, 5),
            "{answers:?}"
        );
        let mut ends = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (store, id) = (stores[n % 2].clone(), task.id.clone());
            ends.spawn(async move {
                let text = n.to_string();
                let end = store.end_task(&id, None, TaskState::Completed, &text);
                end.await.unwrap().then_some(text)
            });
        }
        let won: Vec<String> = ends.join_all().await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "{won:?}");
        let stored = stores[0].task(&task.id).await.unwrap().unwrap();
        assert_eq!(stored.answer.as_ref(), Some(&won[0]));
    }
    // And never more open ones than allowed, whichever Hub takes them.
    let mut submits = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (store, task) = (stores[n % 2].clone(), asked(&format!("more-{n}")));
        submits.spawn(async move { store.submit_task(&task, 3).await.unwrap() });
    }
    let answers = submits.join_all().await;
    let new = answers.iter().filter(|a| matches!(a, Submitted::New(_)));
    assert_eq!(new.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdue_task_is_told_to_one_hub() {
    let database = TestPostgres::shared().await.database().await;
    let stores = [
        Arc::new(database.store().await),
        Arc::new(database.store().await),
    ];
    for n in 0..40 {
        let task = NewTask {
            deadline_in: Duration::ZERO,
            ..asked(&format!("t{n}"))
        };
        stores[0].submit_task(&task, 100).await.unwrap();
    }
    let mut hubs = tokio::task::JoinSet::new();
    for n in 0..6 {
        let store = stores[n % 2].clone();
        hubs.spawn(async move { store.expire_tasks("too late").await.unwrap() });
    }
    let mut told: Vec<_> = hubs.join_all().await.into_iter().flatten().collect();
    told.extend(stores[0].expire_tasks("too late").await.unwrap());
    assert_eq!(told.len(), 40);
    told.sort_by(|a, b| a.id.cmp(&b.id));
    told.dedup_by(|a, b| a.id == b.id);
    assert_eq!(told.len(), 40);
}

#[tokio::test]
async fn a_registration_wakes_the_controllers_of_other_replicas() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let other = database.store().await;
    let id = create(&store, "research-pro").await;
    let brief = Duration::from_millis(300);
    let patience = Duration::from_secs(60);
    for step in 0..3 {
        while {
            let start = std::time::Instant::now();
            other.wait(brief).await.unwrap();
            start.elapsed() < brief
        } {}
        match step {
            0 => store
                .agent_connected(id, &registration("c1"))
                .await
                .unwrap(),
            1 => assert!(store.agent_disconnected(id, "c1").await.unwrap()),
            _ => {
                store
                    .agent_connected(id, &registration("c2"))
                    .await
                    .unwrap();
                assert_eq!(store.hub_started("hub-1").await.unwrap(), 1);
            }
        }
        let start = std::time::Instant::now();
        other.wait(patience).await.unwrap();
        assert!(start.elapsed() < patience / 2, "step {step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_waits_for_nobody_but_the_agent_that_is_locked() {
    let database = TestPostgres::shared().await.database().await;
    let store = Arc::new(database.store().await);
    let mut ids = Vec::new();
    for n in 0..10 {
        let id = create(&store, &format!("agent-{n}")).await;
        store
            .agent_connected(id, &registration(&format!("c{n}")))
            .await
            .unwrap();
        ids.push(id);
    }
    let mut admin = database.connect(Role::Admin).await;
    let mut transaction = admin.begin().await.unwrap();
    run(
        &mut transaction,
        "UPDATE agent_source SET suspend = true WHERE name = 'agent-3'",
    )
    .await
    .unwrap();
    let started = {
        let store = store.clone();
        tokio::spawn(async move { store.hub_started("hub-1").await })
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(4);
    while store.online().await.unwrap().len() > 1 {
        assert!(std::time::Instant::now() < deadline, "nine are free");
        tokio::task::yield_now().await;
    }
    // A sign of life of the old process, in between, waits for nobody either.
    store
        .agents_seen(&[(ids[3], "c3".to_owned())])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(started.await.unwrap().unwrap(), 10);
    assert!(store.online().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_controllers_and_hubs_do_not_deadlock() {
    let database = TestPostgres::shared().await.database().await;
    let store = Arc::new(database.store().await);
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(create(&store, &format!("agent-{n}")).await);
    }
    let mut all = tokio::task::JoinSet::new();
    for hub in 0..2 {
        let (store, ids) = (store.clone(), ids.clone());
        all.spawn(async move {
            for round in 0..25 {
                let connection = format!("c-{hub}-{round}");
                for id in &ids {
                    store
                        .agent_connected(*id, &registration(&connection))
                        .await
                        .unwrap();
                }
                let seen: Vec<_> = ids.iter().map(|id| (*id, connection.clone())).collect();
                store.agents_seen(&seen).await.unwrap();
                if round % 5 == 0 {
                    store.hub_started("hub-1").await.unwrap();
                }
                for id in ids.iter().rev() {
                    store.agent_disconnected(*id, &connection).await.unwrap();
                }
            }
        });
    }
    for c in 0..2 {
        let store = store.clone();
        all.spawn(async move {
            for _ in 0..20 {
                let held = store
                    .claim_due(&format!("controller-{c}"), Duration::from_secs(60), 3)
                    .await
                    .unwrap();
                for held in held {
                    let loaded = store.load(held.agent_id).await.unwrap().unwrap();
                    store
                        .finish(&held, &crate::races::quiet(&loaded))
                        .await
                        .unwrap();
                }
            }
        });
    }
    let mut writer = database.connect(Role::Writer).await;
    all.spawn(async move {
        for round in 0..20 {
            let n = round % 6;
            let sql = format!(
                "UPDATE agent_source SET display_name = '{round}' WHERE name = 'agent-{n}'"
            );
            run(&mut writer, &sql).await.unwrap();
        }
        run(&mut writer, "DELETE FROM agent_source").await.unwrap();
    });
    all.join_all().await;
}

#[tokio::test]
async fn the_controllers_role_is_all_that_a_hub_needs() {
    let database = TestPostgres::shared().await.database().await;
    let id = create(&database.store().await, "research-pro").await;
    let hub = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    hub.agent_connected(id, &registration("c1")).await.unwrap();
    hub.agents_seen(&[(id, "c1".to_owned())]).await.unwrap();
    assert_eq!(
        hub.online().await.unwrap()[0].1.token_sha256,
        "hash-of-a-token"
    );
    hub.hub_agent("research-pro").await.unwrap().unwrap();
    let task = asked("t1");
    hub.submit_task(&task, 3).await.unwrap();
    assert!(hub.task_sent(&task.id).await.unwrap());
    assert!(
        hub.end_task(&task.id, None, TaskState::Completed, "because")
            .await
            .unwrap()
    );
    assert_eq!(hub.prune_tasks(Duration::ZERO).await.unwrap(), 1);
    let key = hub.create_api_key("ann", "", "hash", None).await.unwrap();
    assert!(hub.revoke_api_key(&key.id).await.unwrap());
    let held = claim(&hub, id).await;
    let loaded = snap(&hub, id).await;
    assert!(hub.agent_disconnected(id, "c1").await.unwrap());
    hub.finish(&held, &crate::races::quiet(&loaded))
        .await
        .unwrap();
    assert!(snap(&hub, id).await.work.next_due_at.is_some());
    assert_eq!(hub.hub_started("hub-1").await.unwrap(), 0);
}

#[tokio::test]
async fn a_writer_sees_who_is_connected_without_the_hash_of_the_token() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let id = create(&store, "research-pro").await;
    store
        .agent_connected(id, &registration("c1"))
        .await
        .unwrap();
    store.submit_task(&asked("t1"), 3).await.unwrap();
    let writer = PostgresStore::open(&database.url(Role::Writer))
        .await
        .unwrap();
    let seen = writer.get("research-pro", false).await.unwrap().unwrap();
    let presence = seen.presence.expect("connected");
    assert!(presence.connected);
    assert_eq!(presence.token_sha256, "");
    assert_eq!(
        writer.online().await.unwrap(),
        [("research-pro".to_owned(), presence.clone())]
    );
    assert_eq!(writer.presence(id).await.unwrap(), Some(presence));
    assert_eq!(
        writer.recent_tasks("research-pro", 5).await.unwrap().len(),
        1
    );
    assert!(writer.api_keys(None).await.unwrap().is_empty());
    let refused = writer.agent_disconnected(id, "c1").await;
    assert!(
        matches!(&refused, Err(StoreError::Rejected { message, .. }) if message.contains("role")),
        "{refused:?}"
    );
    writer
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
}
