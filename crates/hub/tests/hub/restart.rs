//! The Hub goes, the database goes: the tasks stay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use talon_core::deliver::{Deliver, DeliverError};
use talon_core::task::{TaskId, TaskState};
use talon_hub::HubConfig;
use talon_store_sqlite::SqliteStore;

use crate::world::{World, config, end, next, task, until};

#[tokio::test]
async fn a_polite_stop_tells_everybody() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stranger = hub.client().await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    let handle = hub.hub.clone();
    let stopping = tokio::spawn(async move { hub.stop().await });
    assert_eq!(agent.closed().await, 1012);
    assert_eq!(stranger.closed().await, 1012);
    assert_eq!(next(&mut stream).await, None, "no end: the task goes on");
    stopping.await.unwrap();
    assert_eq!(handle.stats().connections, 0);
    let refused = handle
        .deliver(task("t2", "research-pro"))
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, DeliverError::Unavailable(_)));
    assert!(!world.store.presence(id).await.unwrap().unwrap().connected);

    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    assert_eq!(agent.task().await, "t1");
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.complete("t1", "completed", "still here").await;
    assert_eq!(end(&mut stream).await.1, "still here");
}

#[tokio::test]
async fn a_killed_hub_loses_nothing() {
    killed(World::new()).await;
}

#[tokio::test]
async fn a_killed_hub_loses_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("hub.db").display());
    SqliteStore::migrate(&url).await.unwrap();
    let store = SqliteStore::open(&url).await.unwrap();
    killed(World::on(Arc::new(store), Arc::default())).await;
}

async fn killed(world: World) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.agent(&format!("agent-{n}"), "acme").await);
    }
    // A runtime that is dropped in the middle of everything, as a process is.
    let first = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (world, agents) = first
        .spawn(async move {
            let hub = world.hub(config()).await;
            let mut agents = Vec::new();
            for n in 0..5 {
                agents.push(hub.agent(&format!("agent-{n}")).await);
            }
            for n in 0..50 {
                drop(
                    hub.deliver(task(&format!("t{n}"), &format!("agent-{}", n % 5)))
                        .await,
                );
            }
            for (n, agent) in agents.iter_mut().enumerate() {
                let id = agent.task().await;
                agent
                    .complete(&id, "completed", &format!("first {n}"))
                    .await;
            }
            std::mem::forget(hub); // nothing of it is tidied up
            (world, agents)
        })
        .await
        .unwrap();
    first.shutdown_background();
    drop(agents);

    let hub = world.hub(config()).await;
    for (n, id) in ids.iter().enumerate() {
        let mut agent = hub.agent(&format!("agent-{n}")).await;
        for _ in 0..9 {
            let task = agent.task().await;
            assert_eq!(agent.complete(&task, "completed", "second").await, true);
        }
        assert!(
            agent.quiet(Duration::from_millis(20)).await.is_empty(),
            "no ended task is sent again"
        );
        assert!(world.store.presence(*id).await.unwrap().unwrap().connected);
    }
    for n in 0..50 {
        let stored = hub
            .hub
            .task(&TaskId::parse(&format!("t{n}")).unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored.state, TaskState::Completed, "t{n}");
        let expected = if n < 5 {
            format!("first {n}")
        } else {
            "second".to_owned()
        };
        assert_eq!(stored.answer, Some(expected), "t{n}");
    }
}

#[tokio::test]
async fn agents_that_do_not_come_back_are_woken_after_a_restart() {
    let world = World::new();
    world.agent("sleepy", "acme").await;
    let wake_grace = Duration::from_secs(3_600);
    let hub = world
        .hub(HubConfig {
            wake_grace,
            ..config()
        })
        .await;
    let mut agent = hub.agent("sleepy").await;
    drop(hub.deliver(task("t1", "sleepy")).await);
    agent.task().await;
    hub.stop().await;
    assert!(world.calls.0.lock().unwrap().is_empty());
    let _hub = world.hub(config()).await;
    until("it is woken", || async {
        !world.calls.0.lock().unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_answer_waits_for_a_database_that_does_not_answer() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    world.faulty.down(true);
    let answer = json!({"id": "a", "method": "task.complete", "params": {"task_id": "t1", "message": "kept"}});
    agent.send(answer).await;
    assert!(
        agent.quiet(Duration::from_millis(300)).await.is_empty(),
        "no word before it is stored"
    );
    world.faulty.down(false);
    let reply = agent.frame(|f| f["id"] == "a").await;
    assert_eq!(reply["result"]["accepted"], true);
    assert_eq!(end(&mut stream).await.1, "kept");
}

#[tokio::test]
async fn when_the_database_stays_away_the_agent_gives_its_answer_again() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let database_patience = Duration::from_millis(200);
    let hub = world
        .hub(HubConfig {
            database_patience,
            ..config()
        })
        .await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    world.faulty.down(true);
    agent.send(json!({"id": "a", "method": "task.complete", "params": {"task_id": "t1", "message": "kept"}})).await;
    assert_eq!(agent.closed().await, 1011);
    world.faulty.down(false);
    hub.online("research-pro", false).await;
    let mut agent = hub.agent("research-pro").await;
    assert_eq!(agent.task().await, "t1");
    agent.complete("t1", "completed", "kept").await;
    assert_eq!(end(&mut stream).await.1, "kept");
}

#[tokio::test]
async fn tasks_that_could_not_be_sent_are_sent_when_the_database_is_back() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world
        .hub(HubConfig {
            window: 1,
            ..config()
        })
        .await;
    let mut agent = hub.agent("research-pro").await;
    let _one = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    let mut two = hub.deliver(task("t2", "research-pro")).await;
    agent.complete("t1", "completed", "1").await;
    assert_eq!(agent.task().await, "t2");
    let mut three = hub.deliver(task("t3", "research-pro")).await;
    world.faulty.down(true);
    agent.send(json!({"id": "a", "method": "task.complete", "params": {"task_id": "t2", "message": "2"}})).await;
    tokio::time::sleep(Duration::from_millis(100)).await; // a database away for a moment
    world.faulty.down(false);
    assert_eq!(end(&mut two).await.1, "2");
    assert_eq!(agent.task().await, "t3");
    agent.complete("t3", "completed", "3").await;
    assert_eq!(end(&mut three).await.1, "3");
}
