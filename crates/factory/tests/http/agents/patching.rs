//! Changing parts of agents.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{AGENTS, controller, create, deployed, pointers, spec, with};
use crate::world::{World, read};

#[tokio::test]
async fn a_merge_patch_changes_what_it_names() {
    let world = World::new().await;
    create(
        &world,
        "research-pro",
        with(json!({"display_name": "N", "description": "D"})),
    )
    .await;
    let path = format!("{AGENTS}/research-pro");
    let patch = |media: &'static str, body: Value| {
        read(
            world
                .ask(Method::PATCH, &path)
                .header("content-type", media)
                .body(body.to_string()),
        )
    };
    let merge = "application/merge-patch+json";
    let response = world
        .ask(Method::PATCH, &path)
        .json(&json!({}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(response.headers()["accept-patch"], merge);
    let change = json!({"spec": {"display_name": null, "model": "openai/gpt-5", "api_key_refs": {"openai": "env:TALON_SECRET_OPENAI"}}});
    let (status, agent) = patch(merge, change).await;
    assert_eq!(status, StatusCode::OK, "{agent}");
    assert_eq!(agent["spec"].get("display_name"), None);
    assert_eq!(
        (&agent["spec"]["description"], &agent["spec"]["model"]),
        (&json!("D"), &json!("openai/gpt-5"))
    );
    let refs =
        json!({"anthropic": "env:TALON_SECRET_ANTHROPIC", "openai": "env:TALON_SECRET_OPENAI"});
    assert_eq!(agent["spec"]["api_key_refs"], refs);
    // What it is already changes nothing, even where it could not be changed.
    controller(&world, "research-pro", deployed(2)).await;
    let same = json!({"spec": {"persona": spec()["persona"]}});
    let (status, agent) = patch(merge, same).await;
    assert_eq!((status, &agent["generation"]), (StatusCode::OK, &json!(2)));
    for (body, pointer) in [
        (json!({"status": {"x": 1}}), "/status"),
        (json!({"spec": {"persona": null}}), "/spec"),
        (json!({"spec": null}), ""),
        (json!([1]), ""),
    ] {
        let (status, problem) = patch(merge, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(pointers(&problem), [pointer], "{body}");
    }
}
