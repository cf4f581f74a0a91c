//! Requests that wait for an agent.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::mutation::Mutation;

use super::{AGENTS, controller, deployed, spec};
use crate::world::World;

#[tokio::test]
async fn a_request_can_wait_for_an_agent() {
    let world = World::new().await;
    let waiting = world
        .ask(Method::POST, &format!("{AGENTS}?wait=ready&timeout=50s"))
        .json(&json!({"name": "research-pro", "spec": spec()}));
    let waiting = tokio::spawn(waiting.send());
    while world.get(&format!("{AGENTS}/research-pro")).await.0 != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let ready = talon_core::condition::Condition {
        kind: talon_core::condition::ConditionType::Ready,
        status: talon_core::condition::Truth::True,
        reason: talon_core::condition::Reason::Deployed,
        message: "generation 1".to_owned(),
        observed_generation: talon_core::Generation(1),
    };
    let mut mutations = deployed(1);
    mutations.push(Mutation::Condition(ready));
    controller(&world, "research-pro", mutations).await;
    let response = waiting.await.expect("joined").expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["talon-wait"], "reached");
    let agent: Value = response.json().await.expect("JSON");
    assert_eq!(agent["deployment_status"], "deployed");
    let request = world.ask(
        Method::GET,
        &format!("{AGENTS}/research-pro?wait=connected&timeout=0s"),
    );
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["talon-wait"], "timeout");
    let (status, _) = world
        .get(&format!("{AGENTS}/research-pro?wait=ready&timeout=1h"))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
