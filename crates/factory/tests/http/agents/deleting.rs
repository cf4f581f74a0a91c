//! Deleting agents.

use reqwest::{Method, StatusCode};
use serde_json::json;
use talon_core::mutation::Mutation;

use super::{AGENTS, controller, create, spec, with};
use crate::world::{World, read};

#[tokio::test]
async fn a_deletion_is_asked_for_and_followed() {
    let world = World::new().await;
    create(
        &world,
        "research-pro",
        with(json!({"deletion_protected": true})),
    )
    .await;
    let path = format!("{AGENTS}/research-pro");
    let (status, problem) = read(world.ask(Method::DELETE, &path)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let merge = "application/merge-patch+json";
    let unprotect = json!({"spec": {"deletion_protected": false}}).to_string();
    let request = world
        .ask(Method::PATCH, &path)
        .header("content-type", merge)
        .body(unprotect);
    assert_eq!(read(request).await.0, StatusCode::OK);
    let stale = world
        .ask(Method::DELETE, &path)
        .header("if-generation", "1");
    assert_eq!(read(stale).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, cleanup) = read(world.ask(Method::DELETE, &path)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(!cleanup["deletion_requested_at"].is_null() && cleanup["deleted_at"].is_null());
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::ACCEPTED
    );
    let put = world
        .ask(Method::PUT, &path)
        .header("if-match", "*")
        .json(&json!({"spec": spec()}));
    assert_eq!(read(put).await.0, StatusCode::CONFLICT);
    assert_eq!(
        world.post(&format!("{path}/suspend"), &json!({})).await.0,
        StatusCode::CONFLICT
    );
    controller(&world, "research-pro", vec![Mutation::Archive]).await;
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, agent) = world.get(&format!("{path}?include=deleted")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!agent["deleted_at"].is_null());
    create(&world, "research-pro", spec()).await;
}
