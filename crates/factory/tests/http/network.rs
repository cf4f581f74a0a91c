//! Search, cards, who is online, and tasks.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::mutation::Mutation;
use talon_core::{AgentName, Generation, Owner};
use talon_store::conformance::support::spec;
use talon_store::{Claim, Store};

use crate::agent::Agent;
use crate::world::{World, read};

const TASKS: &str = "/api/v1/router/tasks";

#[tokio::test]
async fn a_search_gives_what_the_router_finds() {
    let world = World::new().await;
    let (status, found) = world
        .get("/api/v1/router/search?q=somebody%20who%20writes&limit=3")
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(found["items"][0]["name"], "writer");
    assert_eq!(found["items"][0]["best_skill_id"], "write");
}

#[tokio::test]
async fn a_card_is_shown_without_its_authentication() {
    let world = World::new().await;
    let id = world.agent("writer", "default").await;
    let path = "/api/v1/router/agents/writer";
    assert_eq!(world.get(path).await.0, StatusCode::NOT_FOUND);
    let name = AgentName::parse("writer").expect("a name");
    let card = talon_core::card::build(
        &name,
        &Owner::default(),
        &spec(),
        Generation(1),
        "canary-hash",
    );
    let epoch = world
        .store
        .load(id)
        .await
        .expect("loaded")
        .expect("there")
        .work
        .lease_epoch;
    let claim = Claim {
        agent_id: id,
        epoch,
    };
    world
        .store
        .commit(&claim, &[Mutation::Card(Box::new(card))])
        .await
        .expect("committed");
    let (status, card) = world.get(path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(card["url"], "ws-agent://writer");
    assert!(!card.to_string().contains("canary") && card.get("authentication").is_none());
}

#[tokio::test]
async fn a_task_is_answered_at_its_end_and_can_be_read_afterwards() {
    let world = World::new().await;
    world.agent("writer", "default").await;
    let mut agent = Agent::connect(&world.address, "writer", "writer-token").await;
    let (_, online) = world.get("/api/v1/router/online").await;
    assert_eq!(online["items"][0]["name"], "writer");
    let asked = json!({"agent": "writer", "text": "Hello", "session": "s-1", "metadata": {"a": 1}});
    let (answered, heard) =
        tokio::join!(world.post(TASKS, &asked), agent.answer("Hel", "Hello you"));
    assert_eq!(heard["message"]["parts"][0]["text"], "Hello");
    assert_eq!(heard["sessionId"], "s-1");
    let (status, task) = answered;
    assert_eq!(status, StatusCode::OK, "{task}");
    assert_eq!(
        (&task["state"], &task["answer"]),
        (&json!("completed"), &json!("Hello you"))
    );
    let path = format!("{TASKS}/{}", task["id"].as_str().expect("an id"));
    assert_eq!(world.get(&path).await, (StatusCode::OK, task.clone()));
    // It has ended: there is nothing to cancel.
    let (status, canceled) = world.post(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!(
        (status, &canceled["canceled"]),
        (StatusCode::OK, &json!(false))
    );
}

#[tokio::test]
async fn a_task_by_search_is_streamed_to_who_asks_for_a_stream() {
    let world = World::new().await;
    world.agent("writer", "default").await;
    let mut agent = Agent::connect(&world.address, "writer", "writer-token").await;
    let request = world
        .ask(Method::POST, TASKS)
        .header("accept", "text/event-stream")
        .json(&json!({"search": "somebody who writes", "text": "Hello", "id": "t-1"}));
    let (response, _) = tokio::join!(request.send(), agent.answer("Hel", "Hello you"));
    let response = response.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = events(&response.text().await.expect("a stream"));
    let last = events.last().expect("an event");
    assert_eq!(last.0, "done");
    assert_eq!(
        last.1,
        json!({"id": "t-1", "agent": "writer", "session": last.1["session"], "state": "completed", "text": "Hello you"})
    );
    assert!(
        events[..events.len() - 1]
            .iter()
            .all(|(name, _)| name == "status")
    );
}

fn events(text: &str) -> Vec<(String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|l| l.strip_prefix(name));
        line.map(|l| l.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|block| {
            let name = field(block, "event:")?;
            let data = serde_json::from_str(&field(block, "data:")?).expect("JSON");
            Some((name, data))
        })
        .collect()
}

#[tokio::test]
async fn a_task_that_cannot_be_given_is_refused_with_everything_that_is_wrong() {
    let world = World::new().await;
    world.agent("writer", "default").await;
    let wrong = json!({"agent": "writer", "search": "x", "text": "t", "id": "no id", "metadata": [], "timeout_seconds": 0});
    let (status, problem) = world.post(TASKS, &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| &e["pointer"])
        .collect();
    assert_eq!(pointers, ["/agent", "/id", "/metadata", "/timeout_seconds"]);
    for nobody in [
        json!({"agent": "nobody", "text": "t"}),
        json!({"search": "nothing", "text": "t"}),
    ] {
        assert_eq!(world.post(TASKS, &nobody).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        world.get(&format!("{TASKS}/none")).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_task_for_an_agent_that_never_ran_is_refused_at_once() {
    let world = World::new().await;
    let name = AgentName::parse("newcomer").expect("a name");
    let store: &dyn Store = &*world.store;
    store
        .apply(&name, &Owner::default(), &spec(), Default::default())
        .await
        .expect("applied");
    let asked = json!({"agent": "newcomer", "text": "Hello", "timeout_seconds": 60});
    let (status, problem) = world.post(TASKS, &asked).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let said = problem.to_string();
    assert!(
        said.contains("pending") && said.contains("talon why newcomer"),
        "{said}"
    );
}

#[tokio::test]
async fn the_server_ends_streams_and_waits_when_it_stops() {
    let world = World::new().await;
    world.agent("writer", "default").await;
    let request = world
        .ask(Method::POST, TASKS)
        .json(&json!({"agent": "writer", "text": "t", "id": "t-9"}));
    let waiting = tokio::spawn(read(request));
    while world.get(&format!("{TASKS}/t-9")).await.0 != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    world.stop().await;
    let (status, problem) = waiting.await.expect("an answer");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["retryable"], true);
}
