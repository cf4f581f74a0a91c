//! Who gets a task.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use talon_core::deliver::{Deliver, DeliverError, TaskStream, TaskUpdate};
use talon_core::search::{AgentSearch, Asker, FoundAgent, SearchError};
use talon_core::task::{NewTask, Task, TaskId, TaskState};
use talon_router::{DEFAULT_DEADLINE, NamesOnly, RouteError, TaskFor, TaskRequest, TaskRouter};

use crate::world::{World, person, public, skill};

/// A Hub that takes every task and answers it with its text.
#[derive(Default)]
struct Desk {
    taken: Mutex<HashMap<TaskId, NewTask>>,
    busy: Mutex<HashSet<String>>,
    deleting: Mutex<HashSet<String>>,
}

struct Echo(Option<String>);

#[async_trait]
impl TaskStream for Echo {
    async fn next(&mut self) -> Option<TaskUpdate> {
        let text = self.0.take()?;
        Some(TaskUpdate::Done {
            state: TaskState::Completed,
            text,
        })
    }
}

#[async_trait]
impl Deliver for Desk {
    async fn deliver(&self, task: NewTask) -> Result<Box<dyn TaskStream>, DeliverError> {
        if self.deleting.lock().unwrap().contains(&task.agent) {
            return Err(DeliverError::Deleting(task.agent));
        }
        if self.busy.lock().unwrap().contains(&task.agent) {
            return Err(DeliverError::Busy(task.agent));
        }
        let text = task.text.clone();
        self.taken.lock().unwrap().insert(task.id.clone(), task);
        Ok(Box::new(Echo(Some(text))))
    }

    async fn cancel(&self, _: &TaskId) -> Result<bool, DeliverError> {
        Ok(false)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, DeliverError> {
        let taken = self.taken.lock().unwrap();
        Ok(taken.get(id).map(|task| Task {
            id: task.id.clone(),
            agent: task.agent.clone(),
            session: task.session.clone(),
            text: task.text.clone(),
            metadata: task.metadata.clone(),
            asked_by: task.asked_by.clone(),
            state: TaskState::Working,
            attempts: 1,
            answer: None,
            created_at: chrono::Utc::now(),
            sent_at: None,
            finished_at: None,
            deadline_at: chrono::Utc::now(),
        }))
    }

    async fn is_online(&self, _: &str) -> Result<bool, DeliverError> {
        Ok(true)
    }
}

impl Desk {
    fn taken(&self, id: &TaskId) -> NewTask {
        self.taken.lock().unwrap()[id].clone()
    }
}

fn ask(text: &str) -> TaskRequest {
    TaskRequest {
        text: text.to_owned(),
        session: None,
        id: None,
        metadata: Value::Null,
        deadline: None,
    }
}

fn by_name(name: &str) -> TaskFor {
    TaskFor::Name(name.to_owned())
}

fn by_search(query: &str) -> TaskFor {
    TaskFor::Search(query.to_owned())
}

/// A translator, a cook whom it would call for nothing else, and a private one.
async fn stage() -> (World, Arc<Desk>, TaskRouter) {
    let world = World::new();
    let translate = skill(
        "de-en",
        "Translation",
        "Translate letters from German to English.",
    );
    world
        .agent("translator", &public(vec![translate.clone()]))
        .await;
    world
        .agent("translator-two", &public(vec![translate.clone()]))
        .await;
    let cook = skill(
        "recipes",
        "Recipes",
        "Suggest dinners from what is in the fridge.",
    );
    world.agent("cook", &public(vec![cook])).await;
    let private = talon_core::AgentSpec {
        visibility: Default::default(),
        ..public(vec![translate])
    };
    world.agent("our-translator", &private).await;
    let desk = Arc::new(Desk::default());
    let router = TaskRouter::new(Arc::new(world.router()), desk.clone());
    (world, desk, router)
}

#[tokio::test]
async fn a_task_by_name_is_handed_over_as_it_was_asked() {
    let (_world, desk, router) = stage().await;
    let request = TaskRequest {
        session: Some(TaskId::parse("s1").unwrap()),
        id: Some(TaskId::parse("t1").unwrap()),
        metadata: json!({"a": 1}),
        deadline: Some(Duration::from_secs(7)),
        ..ask("hello")
    };
    let asker = Asker {
        agent: Some("translator".to_owned()),
        owner: "ann".to_owned(),
    };
    let mut routed = router
        .route(&asker, &by_name("cook"), request)
        .await
        .unwrap();
    assert_eq!(
        (
            routed.agent.as_str(),
            routed.task.as_str(),
            routed.session.as_str()
        ),
        ("cook", "t1", "s1")
    );
    let task = desk.taken(&routed.task);
    assert_eq!(task.asked_by.as_deref(), Some("translator"));
    assert_eq!(task.metadata, json!({"a": 1}));
    assert_eq!(task.deadline_in, Duration::from_secs(7));
    let done = TaskUpdate::Done {
        state: TaskState::Completed,
        text: "hello".to_owned(),
    };
    assert_eq!(routed.stream.next().await, Some(done));
    assert_eq!(routed.stream.next().await, None);
}

#[tokio::test]
async fn without_more_a_task_is_a_new_conversation_with_a_deadline() {
    let (_world, desk, router) = stage().await;
    let one = router
        .route(&person("bob"), &by_name("cook"), ask("hello"))
        .await
        .unwrap();
    let two = router
        .route(&person("bob"), &by_name("cook"), ask("hello"))
        .await
        .unwrap();
    assert_ne!(one.task, two.task);
    assert_eq!(one.session, one.task);
    let task = desk.taken(&one.task);
    assert_eq!((task.asked_by, task.deadline_in), (None, DEFAULT_DEADLINE));
}

#[tokio::test]
async fn who_may_not_be_seen_is_answered_for_as_nobody() {
    let (_world, _desk, router) = stage().await;
    for name in ["nobody", "our-translator", "", "a\0b"] {
        let refused = router
            .route(&person("bob"), &by_name(name), ask("hello"))
            .await;
        assert_eq!(
            refused.unwrap_err(),
            RouteError::NoSuchAgent(name.to_owned())
        );
    }
    let ours = router
        .route(&person("ann"), &by_name("our-translator"), ask("hello"))
        .await;
    assert_eq!(ours.unwrap().agent, "our-translator");
    let itself = Asker {
        agent: Some("cook".to_owned()),
        owner: "ann".to_owned(),
    };
    let refused = router.route(&itself, &by_name("cook"), ask("hello")).await;
    assert!(matches!(refused, Err(RouteError::Invalid(_))));
}

#[tokio::test]
async fn a_search_gives_the_task_to_the_best_with_the_skill_that_was_found() {
    let (_world, desk, router) = stage().await;
    let routed = router
        .route(
            &person("bob"),
            &by_search("dinner from the fridge"),
            ask("eggs and bread"),
        )
        .await
        .unwrap();
    assert_eq!(routed.agent, "cook");
    assert_eq!(
        desk.taken(&routed.task).metadata,
        json!({"skill_id": "recipes"})
    );
    let given = TaskRequest {
        metadata: json!({"skill_id": "mine"}),
        ..ask("eggs")
    };
    let routed = router
        .route(&person("bob"), &by_search("dinner from the fridge"), given)
        .await
        .unwrap();
    assert_eq!(
        desk.taken(&routed.task).metadata,
        json!({"skill_id": "mine"})
    );
}

#[tokio::test]
async fn nobody_who_fits_is_said_and_nobody_gets_the_task() {
    let (_world, desk, router) = stage().await;
    for query in [
        "volcano eruption",
        "the colour of a letter that nobody ever wrote to any volcano anywhere at all",
    ] {
        let refused = router
            .route(&person("bob"), &by_search(query), ask("hello"))
            .await;
        assert_eq!(refused.unwrap_err(), RouteError::NobodyFound);
    }
    let refused = router
        .route(&person("bob"), &by_search(" "), ask("hello"))
        .await;
    assert!(matches!(refused, Err(RouteError::Invalid(_))));
    assert!(desk.taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_has_too_much_to_do_or_just_goes_is_stood_in_for_by_an_equal_and_by_nobody_else() {
    let (_world, desk, router) = stage().await;
    let german = by_search("translate a German letter");
    let first = router
        .route(&person("bob"), &german, ask("a"))
        .await
        .unwrap()
        .agent;
    desk.busy.lock().unwrap().insert(first.clone());
    let second = router
        .route(&person("bob"), &german, ask("b"))
        .await
        .unwrap()
        .agent;
    assert_ne!(first, second);
    assert!(second.starts_with("translator"));
    desk.busy.lock().unwrap().insert(second.clone());
    let refused = router.route(&person("bob"), &german, ask("c")).await;
    assert!(matches!(refused, Err(RouteError::Busy(_))));
    desk.busy.lock().unwrap().clear();
    desk.deleting
        .lock()
        .unwrap()
        .extend([first, second.clone()]);
    let refused = router.route(&person("bob"), &german, ask("d")).await;
    assert_eq!(refused.unwrap_err(), RouteError::NobodyFound);
    let refused = router
        .route(&person("bob"), &by_name(&second), ask("d"))
        .await;
    assert_eq!(refused.unwrap_err(), RouteError::Deleting(second));
}

#[tokio::test]
async fn asking_again_with_the_same_id_stays_with_the_agent() {
    let (_world, desk, router) = stage().await;
    let german = by_search("translate a German letter");
    let request = TaskRequest {
        id: Some(TaskId::parse("t1").unwrap()),
        ..ask("a")
    };
    let first = router
        .route(&person("bob"), &german, request.clone())
        .await
        .unwrap()
        .agent;
    desk.busy.lock().unwrap().insert(first.clone());
    let again = router.route(&person("bob"), &german, request.clone()).await;
    assert_eq!(again.unwrap_err(), RouteError::Busy(first.clone()));
    desk.busy.lock().unwrap().clear();
    let again = router
        .route(&person("bob"), &german, request.clone())
        .await
        .unwrap();
    assert_eq!(again.agent, first);
    let other = TaskRequest {
        text: "b".to_owned(),
        ..request
    };
    let refused = router.route(&person("bob"), &german, other).await;
    assert!(matches!(refused, Err(RouteError::IdTaken(_))));
}

#[tokio::test]
async fn a_task_without_text_or_with_odd_metadata_goes_nowhere() {
    let (_world, _desk, router) = stage().await;
    let odd = TaskRequest {
        metadata: json!([1]),
        ..ask("hello")
    };
    for request in [ask(" \n"), odd] {
        let refused = router
            .route(&person("bob"), &by_name("cook"), request)
            .await;
        assert!(matches!(refused, Err(RouteError::Invalid(_))));
    }
}

/// A search that is down.
struct Down;

#[async_trait]
impl AgentSearch for Down {
    async fn search(&self, _: &Asker, _: &str, _: usize) -> Result<Vec<FoundAgent>, SearchError> {
        Err(SearchError::Unavailable("no database".to_owned()))
    }
    async fn is_visible(&self, _: &Asker, _: &str) -> Result<bool, SearchError> {
        Err(SearchError::Unavailable("no database".to_owned()))
    }
}

#[tokio::test]
async fn a_search_that_is_down_is_no_verdict() {
    let router = TaskRouter::new(Arc::new(Down), Arc::new(Desk::default()));
    for to in [by_name("cook"), by_search("dinner")] {
        let refused = router.route(&person("bob"), &to, ask("hello")).await;
        assert!(matches!(refused, Err(RouteError::Unavailable(_))));
    }
}

#[tokio::test]
async fn beside_a_router_elsewhere_tasks_are_given_by_name() {
    let (world, desk, _) = stage().await;
    let router = TaskRouter::new(Arc::new(NamesOnly(Arc::new(world.router()))), desk);
    let given = router
        .route(&person("bob"), &by_name("cook"), ask("hello"))
        .await;
    assert_eq!(given.unwrap().agent, "cook");
    let refused = router
        .route(&person("bob"), &by_name("nobody"), ask("hello"))
        .await;
    assert!(matches!(refused, Err(RouteError::NoSuchAgent(_))));
    let refused = router
        .route(&person("bob"), &by_search("dinner"), ask("hello"))
        .await;
    assert_eq!(refused.unwrap_err(), RouteError::NotHere);
}
