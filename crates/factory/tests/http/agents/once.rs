//! A creation that is asked for twice.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

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
