//! Tasks: none is lost, none is answered twice.

use std::time::Duration;

use serde_json::json;
use talon_core::mutation::Mutation;
use talon_core::task::{NewTask, Task, TaskId, TaskState};

use super::support::{Bench, LONG, assert_code, name};
use crate::codes;
use crate::network::{AGENT_DELETED, Submitted};

const MANY: i64 = 1000;

fn id(text: &str) -> TaskId {
    TaskId::parse(text).expect("an id")
}

fn asked(task: &str, agent: &str) -> NewTask {
    NewTask {
        id: id(task),
        agent: agent.to_owned(),
        session: id("session-1"),
        text: "What is the capital of France?".to_owned(),
        metadata: json!({"source": "test", "n": 1.5}),
        asked_by: None,
        deadline_in: LONG,
    }
}

fn ids(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

async fn submit(bench: &Bench, task: &str, agent: &str) -> Task {
    match bench.submit_task(&asked(task, agent), MANY).await.unwrap() {
        Submitted::New(task) => task,
        other => panic!("expected a new task, got {other:?}"),
    }
}

async fn read(bench: &Bench, task: &str) -> Task {
    bench.task(&id(task)).await.unwrap().expect("a task")
}

pub(super) async fn are_stored_whole(bench: Bench) {
    let new = NewTask {
        asked_by: Some("other-agent".to_owned()),
        ..asked("t.1_a:b-C", "research-pro")
    };
    let Submitted::New(task) = bench.submit_task(&new, MANY).await.unwrap() else {
        panic!("not new");
    };
    assert_eq!(
        (&task.id, &task.agent, &task.session, &task.text),
        (&new.id, &new.agent, &new.session, &new.text)
    );
    assert_eq!(
        (&task.metadata, &task.asked_by),
        (&new.metadata, &new.asked_by)
    );
    assert_eq!((task.state, task.attempts), (TaskState::Submitted, 0));
    assert_eq!(
        (&task.answer, task.sent_at, task.finished_at),
        (&None, None, None)
    );
    let left = task.deadline_at - task.created_at;
    assert_eq!(left.to_std().unwrap(), LONG);
    assert_eq!(bench.task(&task.id).await.unwrap(), Some(task));
    assert_eq!(bench.task(&id("nobody")).await.unwrap(), None);
}

pub(super) async fn are_known_again(bench: Bench) {
    let first = submit(&bench, "t1", "research-pro").await;
    let again = NewTask {
        metadata: json!(null),
        deadline_in: Duration::ZERO,
        ..asked("t1", "research-pro")
    };
    assert_eq!(
        bench.submit_task(&again, MANY).await.unwrap(),
        Submitted::Known(first)
    );
    // Also when there is no room for a new one, and when it has ended.
    assert!(
        bench
            .end_task(&id("t1"), None, TaskState::Completed, "Paris")
            .await
            .unwrap()
    );
    match bench.submit_task(&again, 0).await.unwrap() {
        Submitted::Known(task) => assert_eq!(task.answer.as_deref(), Some("Paris")),
        other => panic!("{other:?}"),
    }
    for other in [
        NewTask {
            agent: "other".to_owned(),
            ..asked("t1", "")
        },
        NewTask {
            session: id("session-2"),
            ..asked("t1", "research-pro")
        },
        NewTask {
            text: "Something else".to_owned(),
            ..asked("t1", "research-pro")
        },
    ] {
        assert_eq!(
            bench.submit_task(&other, MANY).await.unwrap(),
            Submitted::Taken
        );
    }
}

pub(super) async fn are_limited_by_agent(bench: Bench) {
    for n in 0..3 {
        submit(&bench, &format!("a{n}"), "agent-a").await;
    }
    submit(&bench, "b0", "agent-b").await;
    let full = bench.submit_task(&asked("a3", "agent-a"), 3).await.unwrap();
    assert_eq!(full, Submitted::Full(3));
    assert_eq!(bench.task(&id("a3")).await.unwrap(), None);
    let other = bench.submit_task(&asked("b1", "agent-b"), 3).await.unwrap();
    assert!(matches!(other, Submitted::New(_)), "{other:?}");
    // What asks back is open; what ended is not.
    bench
        .task_progress(&id("a0"), TaskState::InputRequired, "which?")
        .await
        .unwrap();
    let full = bench.submit_task(&asked("a3", "agent-a"), 3).await.unwrap();
    assert_eq!(full, Submitted::Full(3));
    bench
        .end_task(&id("a0"), None, TaskState::Canceled, "")
        .await
        .unwrap();
    let room = bench.submit_task(&asked("a3", "agent-a"), 3).await.unwrap();
    assert!(matches!(room, Submitted::New(_)), "{room:?}");
}

/// How often each answer was given to callers who all begin at once.
async fn rush<T, Fut>(callers: usize, call: impl Fn(usize) -> Fut) -> Vec<T>
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(callers));
    let mut running = Vec::new();
    for n in 0..callers {
        let (start, call) = (start.clone(), call(n));
        running.push(tokio::spawn(async move {
            start.wait().await;
            call.await
        }));
    }
    let mut answers = Vec::new();
    for one in running {
        answers.push(one.await.unwrap());
    }
    answers
}

pub(super) async fn handed_in_at_once_are_one(bench: Bench) {
    for round in 0..5 {
        let task = format!("t{round}");
        let answers = rush(8, |_| {
            let (bench, new) = (bench.clone(), asked(&task, "research-pro"));
            async move { bench.submit_task(&new, MANY).await.unwrap() }
        })
        .await;
        let new = answers
            .iter()
            .filter(|a| matches!(a, Submitted::New(_)))
            .count();
        let known = answers
            .iter()
            .filter(|a| matches!(a, Submitted::Known(_)))
            .count();
        assert_eq!((new, known), (1, 7), "{answers:?}");
    }
}

pub(super) async fn one_id_for_two_agents_is_one_task(bench: Bench) {
    for round in 0..5 {
        let task = format!("t{round}");
        let answers = rush(8, |n| {
            let (bench, new) = (bench.clone(), asked(&task, &format!("agent-{}", n % 2)));
            async move { bench.submit_task(&new, MANY).await.unwrap() }
        })
        .await;
        let count = |wanted: fn(&Submitted) -> bool| answers.iter().filter(|a| wanted(a)).count();
        assert_eq!(
            (
                count(|a| matches!(a, Submitted::New(_))),
                count(|a| matches!(a, Submitted::Known(_))),
                count(|a| matches!(a, Submitted::Taken)),
            ),
            (1, 3, 4),
            "{answers:?}"
        );
    }
}

pub(super) async fn the_limit_holds_in_a_rush(bench: Bench) {
    let answers = rush(16, |n| {
        let (bench, new) = (bench.clone(), asked(&format!("t{n}"), "research-pro"));
        async move { bench.submit_task(&new, 5).await.unwrap() }
    })
    .await;
    let new = answers
        .iter()
        .filter(|a| matches!(a, Submitted::New(_)))
        .count();
    let full = answers.iter().filter(|a| **a == Submitted::Full(5)).count();
    assert_eq!((new, full), (5, 11));
    assert_eq!(
        bench.open_tasks("research-pro", MANY).await.unwrap().len(),
        5
    );
}

pub(super) async fn progress(bench: Bench) {
    submit(&bench, "t1", "research-pro").await;
    let t1 = id("t1");
    assert!(bench.task_sent(&t1).await.unwrap());
    assert!(
        bench
            .task_progress(&t1, TaskState::Working, "a piece")
            .await
            .unwrap()
    );
    let task = read(&bench, "t1").await;
    assert_eq!((task.state, task.attempts), (TaskState::Working, 1));
    assert_eq!(task.answer, None, "pieces are not kept");
    assert!(task.sent_at.is_some_and(|at| at >= task.created_at));
    assert!(
        bench
            .task_progress(&t1, TaskState::InputRequired, "Which France?")
            .await
            .unwrap()
    );
    assert_eq!(
        read(&bench, "t1").await.answer.as_deref(),
        Some("Which France?")
    );
    assert!(
        bench
            .task_progress(&t1, TaskState::InputRequired, "Which one?")
            .await
            .unwrap()
    );
    assert_eq!(
        read(&bench, "t1").await.answer.as_deref(),
        Some("Which one?")
    );
    for _ in 0..2 {
        assert!(
            bench
                .task_progress(&t1, TaskState::Working, "")
                .await
                .unwrap()
        );
    }
    let task = read(&bench, "t1").await;
    assert_eq!((task.state, task.answer), (TaskState::Working, None));
    assert!(bench.task_sent(&t1).await.unwrap());
    assert_eq!(read(&bench, "t1").await.attempts, 2);
    for state in [TaskState::Submitted, TaskState::Completed] {
        assert_code(bench.task_progress(&t1, state, "").await, codes::INVALID);
    }
    assert_code(
        bench.end_task(&t1, None, TaskState::Working, "").await,
        codes::INVALID,
    );
    let nobody = id("nobody");
    assert!(!bench.task_sent(&nobody).await.unwrap());
    assert!(
        !bench
            .task_progress(&nobody, TaskState::Working, "")
            .await
            .unwrap()
    );
}

pub(super) async fn the_first_end_stands(bench: Bench) {
    submit(&bench, "t1", "research-pro").await;
    let t1 = id("t1");
    assert!(
        !bench
            .end_task(&t1, Some("other"), TaskState::Completed, "Lyon")
            .await
            .unwrap(),
        "another agent's task"
    );
    assert!(
        bench
            .end_task(&t1, Some("research-pro"), TaskState::Completed, "Paris")
            .await
            .unwrap()
    );
    let ended = read(&bench, "t1").await;
    assert_eq!(
        (ended.state, ended.answer.as_deref()),
        (TaskState::Completed, Some("Paris"))
    );
    assert!(ended.finished_at.is_some_and(|at| at >= ended.created_at));
    for (agent, state) in [
        (Some("research-pro"), TaskState::Completed),
        (None, TaskState::Canceled),
        (None, TaskState::Failed),
    ] {
        assert!(!bench.end_task(&t1, agent, state, "late").await.unwrap());
    }
    assert!(!bench.task_sent(&t1).await.unwrap());
    assert!(
        !bench
            .task_progress(&t1, TaskState::Working, "")
            .await
            .unwrap()
    );
    assert!(
        !bench
            .end_task(&id("nobody"), None, TaskState::Failed, "")
            .await
            .unwrap()
    );
    assert_eq!(read(&bench, "t1").await, ended);
}

pub(super) async fn racing_ends_are_one(bench: Bench) {
    for round in 0..5 {
        let task = submit(&bench, &format!("t{round}"), "research-pro").await;
        let answers = rush(8, |n| {
            let (bench, task) = (bench.clone(), task.id.clone());
            async move {
                let text = n.to_string();
                let end = bench.end_task(&task, None, TaskState::Completed, &text);
                (text.clone(), end.await.unwrap())
            }
        })
        .await;
        let won: Vec<_> = answers.iter().filter(|(_, end)| *end).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert_eq!(
            read(&bench, task.id.as_str()).await.answer.as_deref(),
            Some(won[0].0.as_str())
        );
    }
}

pub(super) async fn open_ones_are_listed(bench: Bench) {
    for (task, agent) in [("t3", "b.agent"), ("t1", "a-agent"), ("t2", "b.agent")] {
        submit(&bench, task, agent).await;
    }
    submit(&bench, "t4", "Z").await;
    assert_eq!(
        ids(&bench.open_tasks("b.agent", MANY).await.unwrap()),
        ["t3", "t2"],
        "oldest first"
    );
    assert_eq!(ids(&bench.open_tasks("b.agent", 1).await.unwrap()), ["t3"]);
    assert!(bench.open_tasks("nobody", MANY).await.unwrap().is_empty());
    assert_eq!(
        bench.agents_with_open_tasks().await.unwrap(),
        ["Z", "a-agent", "b.agent"]
    );
    for task in ["t1", "t3"] {
        bench
            .end_task(&id(task), None, TaskState::Failed, "")
            .await
            .unwrap();
    }
    assert_eq!(
        bench.agents_with_open_tasks().await.unwrap(),
        ["Z", "b.agent"]
    );
    assert_eq!(
        ids(&bench.open_tasks("b.agent", MANY).await.unwrap()),
        ["t2"]
    );
    assert_eq!(
        ids(&bench.recent_tasks("b.agent", MANY).await.unwrap()),
        ["t2", "t3"],
        "newest first, ended ones too"
    );
    assert_eq!(
        ids(&bench.recent_tasks("b.agent", 1).await.unwrap()),
        ["t2"]
    );
}

pub(super) async fn deadlines_end_them(bench: Bench) {
    assert_eq!(bench.next_task_deadline().await.unwrap(), None);
    let short = NewTask {
        deadline_in: Duration::ZERO,
        ..asked("short", "research-pro")
    };
    let ended = NewTask {
        id: id("ended"),
        ..short.clone()
    };
    for task in [&ended, &short, &asked("long", "research-pro")] {
        bench.submit_task(task, MANY).await.unwrap();
    }
    bench
        .end_task(&id("ended"), None, TaskState::Completed, "in time")
        .await
        .unwrap();
    assert_eq!(
        bench.next_task_deadline().await.unwrap(),
        Some(Duration::ZERO)
    );
    let answers = rush(4, |_| {
        let bench = bench.clone();
        async move { bench.expire_tasks("nobody answered").await.unwrap() }
    })
    .await;
    let expired: Vec<Task> = answers.into_iter().flatten().collect();
    assert_eq!(ids(&expired), ["short"], "told to one caller");
    assert_eq!(expired[0].state, TaskState::Failed);
    assert_eq!(expired[0].answer.as_deref(), Some("nobody answered"));
    assert!(expired[0].finished_at.is_some());
    assert_eq!(read(&bench, "short").await, expired[0]);
    assert_eq!(
        read(&bench, "ended").await.answer.as_deref(),
        Some("in time")
    );
    let next = bench.next_task_deadline().await.unwrap().expect("one");
    assert!(next > LONG / 2 && next <= LONG, "{next:?}");
    assert!(bench.expire_tasks("").await.unwrap().is_empty());
}

pub(super) async fn old_ones_are_pruned(bench: Bench) {
    for task in ["done", "open"] {
        submit(&bench, task, "research-pro").await;
    }
    bench
        .end_task(&id("done"), None, TaskState::Completed, "x")
        .await
        .unwrap();
    assert_eq!(bench.prune_tasks(LONG).await.unwrap(), 0);
    let ended = bench.task(&id("done")).await.unwrap().unwrap().finished_at;
    let later = bench.create("clock").await;
    bench.tick(later).await;
    assert!(bench.snap(later).await.now > ended.unwrap());
    assert_eq!(bench.prune_tasks(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(bench.task(&id("done")).await.unwrap(), None);
    assert_eq!(
        ids(&bench.recent_tasks("research-pro", MANY).await.unwrap()),
        ["open"]
    );
    // The id is free again.
    submit(&bench, "done", "research-pro").await;
}

pub(super) async fn texts_come_back_as_they_were(bench: Bench) {
    let large = "ä\u{1F980}\r\n\t\"'\\ ".repeat(50_000);
    assert!(large.len() > 512 * 1024);
    let new = NewTask {
        text: large.clone(),
        metadata: json!({"nul": "a\u{0}b", "deep": {"z": [1, null, {"a": large}]}, "big": u64::MAX}),
        ..asked("t1", "research-pro")
    };
    bench.submit_task(&new, MANY).await.unwrap();
    bench
        .end_task(&new.id, None, TaskState::Completed, &large)
        .await
        .unwrap();
    let task = read(&bench, "t1").await;
    assert!(task.text == large && task.answer.as_ref() == Some(&large));
    assert!(task.metadata == new.metadata);
    // PostgreSQL keeps no NUL: refused in what is asked, replaced in what is answered, which must not be lost.
    let nul = NewTask {
        text: "a\0b".to_owned(),
        ..asked("t2", "research-pro")
    };
    assert_code(bench.submit_task(&nul, MANY).await, codes::INVALID);
    submit(&bench, "t2", "research-pro").await;
    assert!(
        bench
            .task_progress(&id("t2"), TaskState::InputRequired, "\0?")
            .await
            .unwrap()
    );
    assert_eq!(
        read(&bench, "t2").await.answer.as_deref(),
        Some("\u{fffd}?")
    );
    assert!(
        bench
            .end_task(&id("t2"), None, TaskState::Failed, "a\0b")
            .await
            .unwrap()
    );
    assert_eq!(
        read(&bench, "t2").await.answer.as_deref(),
        Some("a\u{fffd}b")
    );
}

pub(super) async fn a_deletion_ends_them(bench: Bench) {
    let agent = bench.create("research-pro").await;
    bench.create("other").await;
    for (task, agent) in [
        ("waiting", "research-pro"),
        ("working", "research-pro"),
        ("done", "research-pro"),
        ("another", "other"),
    ] {
        submit(&bench, task, agent).await;
    }
    let working = id("working");
    bench.task_sent(&working).await.unwrap();
    bench
        .task_progress(&working, TaskState::InputRequired, "which?")
        .await
        .unwrap();
    bench
        .end_task(&id("done"), None, TaskState::Completed, "Paris")
        .await
        .unwrap();
    assert!(bench.deleting_agents().await.unwrap().is_empty());

    let n = name("research-pro");
    bench.request_deletion(&n, false).await.unwrap();
    for task in ["waiting", "working"] {
        let task = read(&bench, task).await;
        assert_eq!(
            (task.state, task.answer.as_deref()),
            (TaskState::Failed, Some(AGENT_DELETED))
        );
        assert!(task.finished_at.is_some_and(|at| at >= task.created_at));
    }
    assert_eq!(read(&bench, "done").await.answer.as_deref(), Some("Paris"));
    assert_eq!(read(&bench, "another").await.state, TaskState::Submitted);
    assert_eq!(bench.deleting_agents().await.unwrap(), ["research-pro"]);

    // Nothing new is taken, what is known is still told, and a late answer counts no more.
    let new = asked("new", "research-pro");
    assert_eq!(
        bench.submit_task(&new, MANY).await.unwrap(),
        Submitted::Deleting
    );
    assert_eq!(bench.task(&new.id).await.unwrap(), None);
    let known = bench
        .submit_task(&asked("waiting", "research-pro"), MANY)
        .await
        .unwrap();
    assert_eq!(known, Submitted::Known(read(&bench, "waiting").await));
    assert!(
        !bench
            .end_task(&working, None, TaskState::Completed, "late")
            .await
            .unwrap()
    );

    // The next of its name begins with nothing, and is asked as any other.
    let claim = bench.claim(agent).await;
    bench.write(&claim, Mutation::Archive).await;
    assert!(bench.deleting_agents().await.unwrap().is_empty());
    bench.create("research-pro").await;
    assert!(
        bench
            .open_tasks("research-pro", MANY)
            .await
            .unwrap()
            .is_empty()
    );
    submit(&bench, "new", "research-pro").await;
}

pub(super) async fn a_deletion_races_with_new_ones(bench: Bench) {
    for round in 0..5 {
        let agent = format!("agent-{round}");
        let id = bench.create(&agent).await;
        rush(8, |n| {
            let (bench, agent) = (bench.clone(), agent.clone());
            let new = asked(&format!("t{round}-{n}"), &agent);
            async move {
                if n == 4 {
                    bench.request_deletion(&name(&agent), false).await.unwrap();
                } else {
                    let taken = bench.submit_task(&new, MANY).await.unwrap();
                    assert!(
                        matches!(taken, Submitted::New(_) | Submitted::Deleting),
                        "{taken:?}"
                    );
                }
            }
        })
        .await;
        let claim = bench.claim(id).await;
        bench.write(&claim, Mutation::Archive).await;
        let open = bench.open_tasks(&agent, MANY).await.unwrap();
        assert!(open.is_empty(), "left to the next of its name: {open:?}");
    }
}
