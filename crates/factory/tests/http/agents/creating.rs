//! Creating agents.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{AGENTS, pointers, with};
use crate::world::World;

#[tokio::test]
async fn an_agent_is_created_and_shown_with_the_documented_fields() {
    let world = World::new().await;
    let body =
        json!({"name": "research-pro", "spec": with(json!({"display_name": "Research Pro"}))});
    let response = world
        .ask(Method::POST, AGENTS)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(
        response.headers()["location"],
        format!("{AGENTS}/research-pro")
    );
    let etag = response.headers()["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(etag.starts_with("\"g1-"), "{etag}");
    let made: Value = response.json().await.expect("JSON");
    let (status, agent) = world.get(&format!("{AGENTS}/research-pro")).await;
    assert_eq!((status, &agent), (StatusCode::OK, &made));
    for (field, value) in [
        ("name", json!("research-pro")),
        ("deployment_status", json!("pending")),
        ("deployment_error", Value::Null),
        ("worker_url", Value::Null),
        ("has_anthropic_key", json!(false)),
        ("has_openai_key", json!(false)),
        ("owner", json!("default")),
        ("generation", json!(1)),
    ] {
        assert_eq!(agent[field], value, "{field}");
    }
    assert_eq!(agent["spec"]["display_name"], "Research Pro");
    assert_eq!(
        agent["spec"]["api_key_refs"],
        json!({"anthropic": "env:TALON_SECRET_ANTHROPIC"})
    );
    let request = world
        .ask(Method::GET, &format!("{AGENTS}/research-pro"))
        .header("if-none-match", &etag);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.text().await.expect("text"), "");
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_and_nothing_is_repeated() {
    let world = World::new().await;
    let spec = with(json!({
        "model": "sk-canary", "secrets_version": 0, "theme": {"primary_color": "canary"},
        "skills": [{"id": "canary id", "name": "n", "description": "d"}], "avatar_url": "http://canary",
        "api_key_refs": {"anthropic": "sk-ant-canary-0123456789"},
    }));
    let (status, problem) = world
        .post(AGENTS, &json!({"name": "No Canary", "spec": spec}))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = pointers(&problem);
    for expected in [
        "/name",
        "/spec/model",
        "/spec/secrets_version",
        "/spec/theme/primary_color",
        "/spec/skills/0/id",
        "/spec/avatar_url",
        "/spec/api_key_refs/anthropic",
    ] {
        assert!(found.contains(&expected), "{expected} of {found:?}");
    }
    let body = json!({"name": "x", "status": {}, "spec": with(json!({"keep_alive": "canary", "canary": 1}))});
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for expected in ["/name", "/status", "/spec/keep_alive"] {
        assert!(pointers(&problem).contains(&expected), "{problem}");
    }
    let keys = json!({"name": "with-keys", "spec": with(json!({})), "api_keys": {"anthropic": "sk-canary\n of two lines"}});
    let (status, problem) = world.post(AGENTS, &keys).await;
    assert_eq!(
        (status, pointers(&problem)),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["/api_keys"])
    );
    assert!(!problem.to_string().contains("sk-canary"));
    let (_, list) = world.get(AGENTS).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn unknown_fields_may_be_left_out_with_a_warning() {
    let world = World::new().await;
    let body = json!({"name": "research-pro", "spec": with(json!({"colour": "red"}))});
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/spec/colour"]);
    let request = world
        .ask(Method::POST, &format!("{AGENTS}?fieldValidation=Warn"))
        .json(&body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let warning = response.headers()["warning"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(
        warning,
        "299 - \"1 unknown field(s) in /spec were left out\""
    );
}
