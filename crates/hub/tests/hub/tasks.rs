//! Tasks: from whoever asks to the agent and back.

use std::time::Duration;

use serde_json::json;
use talon_core::deliver::{Deliver, DeliverError, TaskUpdate};
use talon_core::task::{TaskId, TaskState};
use talon_hub::HubConfig;

use crate::client::Client;
use crate::tokens::trade;
use crate::world::{World, config, end, next, task, until};

fn status(text: &str) -> Option<TaskUpdate> {
    Some(TaskUpdate::Status {
        state: TaskState::Working,
        text: text.to_owned(),
    })
}

fn done(state: TaskState, text: &str) -> Option<TaskUpdate> {
    let text = text.to_owned();
    Some(TaskUpdate::Done { state, text })
}

#[tokio::test]
async fn a_task_is_sent_streamed_and_answered() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    let frame = agent.notification("task.execute").await;
    assert_eq!(
        frame,
        json!({"jsonrpc": "2.0", "id": 1, "method": "task.execute", "params": {
            "id": "t1", "sessionId": "session",
            "message": {"role": "user", "parts": [{"type": "text", "text": "text of t1"}]},
            "metadata": {"skill_id": "s"},
        }})
    );
    agent
        .send(json!({"jsonrpc": "2.0", "id": 1, "result": {"accepted": true}}))
        .await;
    assert_eq!(agent.status("t1", "working", "Hel").await, true);
    assert_eq!(next(&mut stream).await, status("Hel"));
    let stored = hub
        .hub
        .task(&TaskId::parse("t1").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stored.state, stored.attempts), (TaskState::Working, 1));
    agent.status("t1", "working", "lo").await;
    assert_eq!(next(&mut stream).await, status("lo"));
    let artifact = agent
        .call("task.artifact", json!({"task_id": "t1", "artifact": {}}))
        .await;
    assert_eq!(artifact["result"]["accepted"], true);
    assert_eq!(agent.complete("t1", "completed", "Hello").await, true);
    assert_eq!(next(&mut stream).await, done(TaskState::Completed, "Hello"));
    assert_eq!(next(&mut stream).await, None);
    let stored = hub
        .hub
        .task(&TaskId::parse("t1").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.state, stored.answer.as_deref()),
        (TaskState::Completed, Some("Hello"))
    );
}

#[tokio::test]
async fn handing_in_twice_is_one_task_and_answering_twice_one_answer() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut first = hub.deliver(task("t1", "research-pro")).await;
    let mut second = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    assert_eq!(agent.complete("t1", "completed", "one").await, true);
    assert_eq!(agent.complete("t1", "completed", "two").await, false);
    assert_eq!(agent.status("t1", "working", "three").await, false);
    let answer = (TaskState::Completed, "one".to_owned());
    assert_eq!(end(&mut first).await, answer);
    assert_eq!(end(&mut second).await, answer);
    let mut third = hub.deliver(task("t1", "research-pro")).await;
    assert_eq!(end(&mut third).await, answer);
    assert!(
        agent.quiet(Duration::from_millis(50)).await.is_empty(),
        "sent once"
    );
    let mut other = task("t1", "research-pro");
    other.text = "something else".to_owned();
    let taken = hub.hub.deliver(other).await.err().unwrap();
    assert_eq!(taken, DeliverError::IdTaken(TaskId::parse("t1").unwrap()));
}

#[tokio::test]
async fn failures_refusals_and_questions() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut failed = hub.deliver(task("failed", "research-pro")).await;
    agent.task().await;
    agent.complete("failed", "failed", "no key").await;
    assert_eq!(
        end(&mut failed).await,
        (TaskState::Failed, "no key".to_owned())
    );

    let mut refused = hub.deliver(task("refused", "research-pro")).await;
    let request = agent.notification("task.execute").await["id"].clone();
    let error = json!({"code": -32602, "message": "no such skill"});
    agent
        .send(json!({"jsonrpc": "2.0", "id": request, "error": error}))
        .await;
    let text = "the agent refused the task: no such skill".to_owned();
    assert_eq!(end(&mut refused).await, (TaskState::Failed, text));

    let mut asks = hub.deliver(task("asks", "research-pro")).await;
    agent.task().await;
    assert_eq!(
        agent.complete("asks", "input-required", "which one?").await,
        true
    );
    let question = TaskUpdate::Status {
        state: TaskState::InputRequired,
        text: "which one?".to_owned(),
    };
    assert_eq!(next(&mut asks).await, Some(question));
    let stored = hub
        .hub
        .task(&TaskId::parse("asks").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.state, stored.answer.as_deref()),
        (TaskState::InputRequired, Some("which one?"))
    );
    // Ends may come as a status, and a state may be missing or unknown.
    agent.status("asks", "completed", "never mind").await;
    assert_eq!(
        end(&mut asks).await,
        (TaskState::Completed, "never mind".to_owned())
    );
    let mut odd = hub.deliver(task("odd", "research-pro")).await;
    agent.task().await;
    agent
        .call(
            "task.complete",
            json!({"task_id": "odd", "message": "bare"}),
        )
        .await;
    assert_eq!(
        end(&mut odd).await,
        (TaskState::Completed, "bare".to_owned())
    );
}

#[tokio::test]
async fn an_agent_answers_its_own_tasks_only() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    world.agent("other", "acme").await;
    let hub = world.hub(config()).await;
    let (mut agent, mut other) = (hub.agent("research-pro").await, hub.agent("other").await);
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    assert_eq!(other.status("t1", "working", "forged").await, false);
    assert_eq!(other.complete("t1", "completed", "forged").await, false);
    agent.complete("t1", "completed", "true").await;
    assert_eq!(next(&mut stream).await, done(TaskState::Completed, "true"));
}

#[tokio::test]
async fn a_cut_in_mid_task_loses_nothing() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    agent.status("t1", "working", "a").await;
    drop(agent); // without a word
    hub.online("research-pro", false).await;
    let mut agent = hub.agent("research-pro").await;
    // It may answer before the task is sent again.
    assert_eq!(agent.complete("t1", "completed", "ab").await, true);
    assert_eq!(
        end(&mut stream).await,
        (TaskState::Completed, "ab".to_owned())
    );
    let mut stream = hub.deliver(task("t2", "research-pro")).await;
    until("it is sent", || async {
        hub.hub
            .task(&TaskId::parse("t2").unwrap())
            .await
            .unwrap()
            .unwrap()
            .attempts
            == 1
    })
    .await;
    drop(agent);
    hub.online("research-pro", false).await;
    let mut agent = hub.agent("research-pro").await;
    assert_eq!(agent.task().await, "t2");
    agent.complete("t2", "completed", "c").await;
    assert_eq!(end(&mut stream).await.1, "c");
    let stored = hub
        .hub
        .task(&TaskId::parse("t2").unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.attempts, 2);
}

#[tokio::test]
async fn cancelling_ends_a_task_whatever_the_agent_says() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    let id = TaskId::parse("t1").unwrap();
    assert!(hub.hub.cancel(&id).await.unwrap());
    assert_eq!(end(&mut stream).await.0, TaskState::Canceled);
    let stop = agent.notification("task.cancel").await;
    assert_eq!(stop["params"], json!({"id": "t1", "task_id": "t1"}));
    assert_eq!(agent.complete("t1", "completed", "late").await, false);
    assert!(!hub.hub.cancel(&id).await.unwrap());
    assert!(
        !hub.hub
            .cancel(&TaskId::parse("unknown").unwrap())
            .await
            .unwrap()
    );
    let stored = hub.hub.task(&id).await.unwrap().unwrap();
    assert_eq!(stored.state, TaskState::Canceled);
}

#[tokio::test]
async fn a_task_fails_at_its_deadline() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut long = hub.deliver(task("long", "research-pro")).await;
    let mut short = task("short", "research-pro");
    short.deadline_in = Duration::from_millis(700);
    let start = tokio::time::Instant::now();
    let mut short = hub.deliver(short).await;
    let text = "no answer before the deadline".to_owned();
    assert_eq!(end(&mut short).await, (TaskState::Failed, text));
    assert!(start.elapsed() >= Duration::from_millis(700));
    let stop = agent.notification("task.cancel").await;
    assert_eq!(stop["params"]["id"], "short");
    agent.complete("long", "completed", "fine").await;
    assert_eq!(end(&mut long).await.1, "fine");
}

#[tokio::test]
async fn tasks_wait_their_turn_and_nobody_gets_too_many() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let (window, max_open_tasks) = (3, 10);
    let hub = world
        .hub(HubConfig {
            window,
            max_open_tasks,
            ..config()
        })
        .await;
    let mut agent = hub.agent("research-pro").await;
    let mut streams = Vec::new();
    for n in 0..10 {
        streams.push(hub.deliver(task(&format!("t{n}"), "research-pro")).await);
    }
    let busy = hub
        .hub
        .deliver(task("one-more", "research-pro"))
        .await
        .err()
        .unwrap();
    assert_eq!(busy, DeliverError::Busy("research-pro".to_owned()));
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(agent.task().await);
    }
    assert_eq!(sent, ["t0", "t1", "t2"]);
    assert!(
        agent.quiet(Duration::from_millis(100)).await.is_empty(),
        "three at a time"
    );
    // A task that is cancelled while it waits is never sent; one that was sent makes room.
    assert!(hub.hub.cancel(&TaskId::parse("t4").unwrap()).await.unwrap());
    assert!(hub.hub.cancel(&TaskId::parse("t1").unwrap()).await.unwrap());
    for answer in ["t0", "t2", "t3", "t5", "t6", "t7"] {
        agent.complete(answer, "completed", answer).await;
    }
    let mut rest = Vec::new();
    for _ in 0..6 {
        rest.push(agent.task().await);
    }
    assert_eq!(rest, ["t3", "t5", "t6", "t7", "t8", "t9"]);
    agent.complete("t8", "completed", "t8").await;
    agent.complete("t9", "completed", "t9").await;
    for (n, stream) in streams.iter_mut().enumerate() {
        let (state, text) = end(stream).await;
        if n == 1 || n == 4 {
            assert_eq!(state, TaskState::Canceled);
        } else {
            assert_eq!((state, text), (TaskState::Completed, format!("t{n}")));
        }
    }
}

#[tokio::test]
async fn large_tasks_and_many_at_once_all_arrive() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut streams = Vec::new();
    for n in 0..60 {
        let mut task = task(&format!("t{n}"), "research-pro");
        task.text = "x".repeat(if n % 3 == 0 { 200_000 } else { 10 });
        streams.push(hub.deliver(task).await);
    }
    for _ in 0..60 {
        let id = agent.task().await;
        assert_eq!(agent.complete(&id, "completed", &id).await, true);
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(end(stream).await.1, format!("t{n}"));
    }
}

#[tokio::test]
async fn what_is_no_task_is_refused() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    world.agent("leaving", "acme").await;
    let hub = world.hub(config()).await;
    let refusal = async |task| hub.hub.deliver(task).await.err().unwrap();
    assert_eq!(
        refusal(task("t", "nobody")).await,
        DeliverError::NoSuchAgent("nobody".to_owned())
    );
    let mut open = hub.deliver(task("open", "leaving")).await;
    world.delete("leaving").await;
    assert_eq!(
        refusal(task("t", "leaving")).await,
        DeliverError::Deleting("leaving".to_owned())
    );
    assert_eq!(
        end(&mut open).await,
        (TaskState::Failed, "the agent is being deleted".to_owned())
    );
    let mut again = hub.deliver(task("open", "leaving")).await;
    assert_eq!(
        end(&mut again).await.0,
        TaskState::Failed,
        "a known task is known for ever"
    );

    let invalid = |e: DeliverError| assert!(matches!(e, DeliverError::Invalid(_)), "{e:?}");
    let mut long = task("t", "research-pro");
    long.text = "x".repeat(256 * 1024 + 1);
    invalid(refusal(long).await);
    let mut escaped = task("t", "research-pro");
    escaped.text = "\u{1}".repeat(256 * 1024); // fits as text, not as JSON
    invalid(refusal(escaped).await);
    let mut nul = task("t", "research-pro");
    nul.text = "a\0b".to_owned();
    invalid(refusal(nul).await);
    let mut metadata = task("t", "research-pro");
    metadata.metadata = json!([1]);
    invalid(refusal(metadata.clone()).await);
    metadata.metadata = json!({"a": "x".repeat(17_000)});
    invalid(refusal(metadata).await);
    let mut never = task("t", "research-pro");
    never.deadline_in = Duration::from_secs(1_000_000);
    invalid(refusal(never).await);
    world.faulty.down(true);
    assert!(matches!(
        refusal(task("t", "research-pro")).await,
        DeliverError::Unavailable(_)
    ));
    world.faulty.down(false);
    assert!(!hub.hub.is_online("research-pro").await.unwrap());
}

#[tokio::test]
async fn a_sleeping_agent_is_woken_until_it_comes() {
    let world = World::new();
    world.agent("sleepy", "acme").await;
    let hub = world.hub(config()).await;
    let mut stream = hub.deliver(task("t1", "sleepy")).await;
    let calls = || async { world.calls.0.lock().unwrap().len() };
    until("a second call after the first one failed", || async {
        calls().await >= 2
    })
    .await;
    let mut agent = hub.agent("sleepy").await;
    assert_eq!(agent.task().await, "t1");
    agent.complete("t1", "completed", "awake").await;
    assert_eq!(end(&mut stream).await.1, "awake");
    agent.socket.close(None).await.unwrap();
    hub.online("sleepy", false).await;
    let before = calls().await;
    tokio::time::sleep(Duration::from_millis(300)).await; // nothing to do: nobody is woken
    assert_eq!(calls().await, before);
    let _stream = hub.deliver(task("t2", "sleepy")).await;
    until("it is woken again", || async { calls().await > before }).await;
}

#[tokio::test]
async fn agents_that_people_run_themselves_get_tasks_too() {
    let world = World::new();
    let hub = world.hub(config()).await;
    let (key, _) = world.api_key("acme").await;
    let token = trade(&hub.address, &key).await;
    let agent = Client::registered(&hub.url, "mine", &token).await;
    drop(agent);
    hub.online("mine", false).await;
    let mut stream = hub.deliver(task("t1", "mine")).await;
    let mut agent = Client::registered(&hub.url, "mine", &token).await;
    assert_eq!(agent.task().await, "t1");
    agent.complete("t1", "completed", "hi").await;
    assert_eq!(end(&mut stream).await.1, "hi");
    assert!(world.calls.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_deletion_is_heard_by_followers_and_ends_the_connection() {
    let world = World::new();
    world.agent("leaving", "acme").await;
    world.agent("staying", "acme").await;
    let follow_recheck = Duration::from_secs(3600); // it is told, not found by and by
    let hub = world
        .hub(HubConfig {
            follow_recheck,
            ..config()
        })
        .await;
    let (mut leaving, mut staying) = (hub.agent("leaving").await, hub.agent("staying").await);
    let mut working = hub.deliver(task("working", "leaving")).await;
    assert_eq!(leaving.task().await, "working");
    assert_eq!(leaving.status("working", "working", "Hel").await, true);
    assert_eq!(next(&mut working).await, status("Hel"));
    let mut other = hub.deliver(task("other", "staying")).await;
    staying.task().await;

    world.delete("leaving").await;
    let gone = "the agent is being deleted";
    assert_eq!(next(&mut working).await, done(TaskState::Failed, gone));
    let stop = leaving.notification("task.cancel").await;
    assert_eq!(stop["params"]["task_id"], "working");
    assert_eq!(leaving.closed().await, 1008);
    let mut again = hub.client().await;
    let refused = again.register("leaving", "leaving-token").await;
    assert_eq!(refused, json!({"registered": false, "error": gone}));

    assert_eq!(staying.complete("other", "completed", "fine").await, true);
    assert_eq!(end(&mut other).await.1, "fine");
}
