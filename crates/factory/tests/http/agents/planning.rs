//! What a write would do.

use reqwest::StatusCode;
use serde_json::json;

use super::{AGENTS, controller, create, deployed, spec, with};
use crate::world::World;

#[tokio::test]
async fn a_dry_run_and_a_plan_write_nothing() {
    let world = World::new().await;
    let body = json!({"name": "research-pro", "spec": spec()});
    let (status, plan) = world.post(&format!("{AGENTS}?dryRun=server"), &body).await;
    assert_eq!(
        (status, &plan["outcome"]),
        (StatusCode::OK, &json!("created"))
    );
    let path = format!("{AGENTS}/research-pro");
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
    create(&world, "research-pro", spec()).await;
    controller(&world, "research-pro", deployed(1)).await;
    let wanted = json!({"spec": with(json!({"model": "openai/gpt-5", "persona": "Another."}))});
    let (status, plan) = world.post(&format!("{path}/plan"), &wanted).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    let changes = plan["changes"].as_array().expect("changes");
    let said: Vec<_> = changes
        .iter()
        .map(|c| (&c["field"], &c["effect"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("spec.persona"), &json!("immutable")),
            (&json!("spec.model"), &json!("secret_push")),
        ]
    );
    assert_eq!(world.get(&path).await.1["generation"], 1);
    let (status, last) = world.get(&format!("{path}/plan")).await;
    assert_eq!((status, &last["generation"]), (StatusCode::OK, &json!(1)));
}
