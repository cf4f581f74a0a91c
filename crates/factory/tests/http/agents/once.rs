//! A creation that is asked for twice.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use talon_store::access::{AccessStore, Attempt, Outcome};

use super::{AGENTS, spec};
use crate::world::{World, read};

#[tokio::test]
async fn a_creation_with_a_key_is_done_once() {
    let world = World::new().await;
    let ask = |key: &'static str, name: &str| {
        let body = json!({"name": name, "spec": spec()});
        read(
            world
                .ask(Method::POST, AGENTS)
                .header("idempotency-key", key)
                .json(&body),
        )
    };
    let (status, made) = ask("key-1", "research-pro").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        ask("key-1", "research-pro").await,
        (StatusCode::CREATED, made)
    );
    assert_eq!(
        ask("key-1", "another-one").await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(ask("key-2", "research-pro").await.0, StatusCode::CONFLICT);
    // A refusal is not remembered: it may come again with the same key.
    assert_eq!(ask("key-2", "research-pro").await.0, StatusCode::CONFLICT);
    assert_eq!(ask("key-3", "another-one").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_creation_whose_asker_hung_up_can_be_asked_for_again() {
    let world = World::new().await;
    let ask = || {
        world
            .ask(Method::POST, &format!("{AGENTS}?wait=ready&timeout=300s"))
            .header("idempotency-key", "key-1")
            .json(&json!({"name": "research-pro", "spec": spec()}))
    };
    let made = async {
        let path = format!("{AGENTS}/research-pro");
        while world.get(&path).await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    // Nothing deploys it: the first one waits, and is given up.
    tokio::select! {
        _ = ask().send() => panic!("it answered"),
        () = made => {}
    }
    let again = async {
        loop {
            match read(ask()).await {
                (StatusCode::CONFLICT, _) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let (status, agent) = tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .expect("what became of the first");
    assert_eq!(
        (status, &agent["name"]),
        (StatusCode::CREATED, &json!("research-pro"))
    );
}

/// What a server leaves that cannot tell whether it made the agent.
async fn left_open(world: &World, outcome: Outcome) {
    let attempt = Attempt {
        caller: "operator".to_owned(),
        key: "key-1".to_owned(),
        request: String::new(),
    };
    let store = &world.store;
    let left = store.attempted(&attempt, Some(&outcome)).await;
    left.expect("left open");
}

fn open() -> Outcome {
    Outcome {
        status: 0,
        agent: String::new(),
    }
}

fn ask(world: &World, query: &str) -> reqwest::RequestBuilder {
    world
        .ask(Method::POST, &format!("{AGENTS}{query}"))
        .header("idempotency-key", "key-1")
        .json(&json!({"name": "research-pro", "spec": spec()}))
}

#[tokio::test]
async fn an_agent_whose_making_was_not_confirmed_is_known_again() {
    let world = World::new().await;
    let (status, made) = read(ask(&world, "")).await;
    assert_eq!(status, StatusCode::CREATED);
    left_open(&world, open()).await;
    let (status, again) = read(ask(&world, "")).await;
    assert_eq!((status, &again["id"]), (StatusCode::CREATED, &made["id"]));

    // What somebody has changed since is no longer what was asked for.
    let (status, _) = read(
        world
            .ask(Method::PATCH, &format!("{AGENTS}/research-pro"))
            .header("content-type", "application/merge-patch+json")
            .body(r#"{"spec":{"keep_alive":true}}"#),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    left_open(&world, open()).await;
    assert_eq!(read(ask(&world, "")).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_replay_speaks_of_the_agent_that_was_made_and_of_no_other() {
    let world = World::new().await;
    assert_eq!(read(ask(&world, "")).await.0, StatusCode::CREATED);
    // As if the agent were gone, and another had its name by now.
    let gone = Outcome {
        status: 201,
        agent: "00000000-0000-0000-0000-000000000000".to_owned(),
    };
    left_open(&world, gone).await;
    assert_eq!(read(ask(&world, "")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn how_long_to_wait_is_no_part_of_a_creation() {
    let world = World::new().await;
    let (status, made) = read(ask(&world, "")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        read(ask(&world, "?wait=ready&timeout=1s")).await,
        (StatusCode::CREATED, made)
    );
    assert_eq!(
        read(ask(&world, "?dryRun=server")).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}
