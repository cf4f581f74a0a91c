//! Replacing agents.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::mutation::Mutation;

use super::{AGENTS, controller, create, deployed, pointers, spec, with};
use crate::world::{World, read};

#[tokio::test]
async fn a_put_says_what_it_builds_upon() {
    let world = World::new().await;
    let path = format!("{AGENTS}/research-pro");
    let put = |headers: &[(&'static str, &str)], spec: Value| {
        let mut request = world.ask(Method::PUT, &path).json(&json!({"spec": spec}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request)
    };
    let (status, problem) = put(&[], spec()).await;
    assert_eq!(status, StatusCode::PRECONDITION_REQUIRED, "{problem}");
    assert_eq!(
        put(&[("if-match", "*")], spec()).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        put(&[("if-none-match", "*")], spec()).await.0,
        StatusCode::CREATED
    );
    assert_eq!(
        put(&[("if-none-match", "*")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-generation", "0")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-match", "\"g1-stale\"")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-match", "nonsense")], spec()).await.0,
        StatusCode::BAD_REQUEST
    );
    let etag =
        |headers: &reqwest::header::HeaderMap| headers["etag"].to_str().expect("text").to_owned();
    let shown = world
        .ask(Method::GET, &path)
        .send()
        .await
        .expect("an answer");
    let tag = etag(shown.headers());
    let wanted = with(json!({"display_name": "N"}));
    let (status, agent) = put(
        &[("if-match", &format!("\"other\", {tag}"))],
        wanted.clone(),
    )
    .await;
    assert_eq!(
        (status, &agent["generation"]),
        (StatusCode::OK, &json!(2)),
        "{agent}"
    );
    assert_eq!(
        put(&[("if-match", &tag)], wanted.clone()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    // A status that changes makes another tag; the generation stays.
    controller(&world, "research-pro", deployed(2)).await;
    let (status, agent) = put(
        &[("if-generation", "2")],
        with(json!({"model": "openai/gpt-5"})),
    )
    .await;
    assert_eq!(
        (status, &agent["generation"]),
        (StatusCode::OK, &json!(3)),
        "{agent}"
    );
    // What is fixed since the deployment is refused, what is as it was is not.
    let (status, problem) = put(&[("if-match", "*")], with(json!({"persona": "canary"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/spec/persona"]);
    assert!(
        problem["detail"]
            .as_str()
            .expect("text")
            .starts_with("TALON-OC002"),
        "{problem}"
    );
    assert!(!problem.to_string().contains("canary"));
    // Another name, another owner.
    let moved = json!({"name": "other-name", "owner": "bob", "spec": spec()});
    let request = world
        .ask(Method::PUT, &path)
        .header("if-match", "*")
        .json(&moved);
    let (status, problem) = read(request).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/name"]);
}

/// Of the same owner, with the same spec, at the same generation.
#[tokio::test]
async fn the_tag_of_an_agent_that_is_gone_matches_no_namesake() {
    let world = World::new().await;
    let path = format!("{AGENTS}/research-pro");
    let tag = async || {
        let shown = world.ask(Method::GET, &path).send().await;
        let shown = shown.expect("an answer");
        shown.headers()["etag"].to_str().expect("text").to_owned()
    };
    create(&world, "research-pro", spec()).await;
    let old = tag().await;
    let deleted = read(world.ask(Method::DELETE, &path)).await.0;
    assert_eq!(deleted, StatusCode::ACCEPTED);
    controller(&world, "research-pro", vec![Mutation::Archive]).await;
    create(&world, "research-pro", spec()).await;
    let wanted = json!({"spec": with(json!({"display_name": "N"}))});
    let put = |tag: &str| {
        world
            .ask(Method::PUT, &path)
            .header("if-match", tag)
            .json(&wanted)
    };
    let patch = |tag: &str| {
        world
            .ask(Method::PATCH, &path)
            .header("if-match", tag)
            .header("content-type", "application/merge-patch+json")
            .body(wanted.to_string())
    };
    let failed = StatusCode::PRECONDITION_FAILED;
    assert_eq!(read(put(&old)).await.0, failed);
    assert_eq!(read(patch(&old)).await.0, failed);
    let (status, agent) = world.get(&path).await;
    assert_eq!((status, &agent["generation"]), (StatusCode::OK, &json!(1)));
    assert_eq!(read(put(&tag().await)).await.0, StatusCode::OK);
}
