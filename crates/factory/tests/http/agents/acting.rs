//! What is asked of agents besides their spec.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{AGENTS, create, spec};
use crate::world::{World, read};

#[tokio::test]
async fn agents_are_suspended_resumed_reconciled_and_everything_is_held() {
    let world = World::new().await;
    create(&world, "research-pro", spec()).await;
    let path = format!("{AGENTS}/research-pro");
    let nothing = json!({});
    let (status, agent) = world.post(&format!("{path}/suspend"), &nothing).await;
    assert_eq!(
        (status, &agent["spec"]["suspend"]),
        (StatusCode::OK, &json!(true))
    );
    let (status, agent) = world.post(&format!("{path}/resume"), &nothing).await;
    assert_eq!(
        (status, agent["spec"].get("suspend")),
        (StatusCode::OK, None)
    );
    assert_eq!(
        world.post(&format!("{path}/reconcile"), &nothing).await.0,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        world
            .post(&format!("{AGENTS}/nobody/reconcile"), &nothing)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.get("/api/v1/hold").await.1["held"], false);
    let put = |body: Value| read(world.ask(Method::PUT, "/api/v1/hold").json(&body));
    assert_eq!(
        put(json!({"reason": ""})).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let (status, hold) = put(json!({"reason": "maintenance"})).await;
    assert_eq!(
        (status, &hold["kind"], &hold["reason"]),
        (StatusCode::OK, &json!("operator"), &json!("maintenance"))
    );
    let (status, hold) = read(world.ask(Method::DELETE, "/api/v1/hold")).await;
    assert_eq!((status, &hold["held"]), (StatusCode::OK, &json!(false)));
    let (status, events) = world.get(&format!("{path}/events")).await;
    assert_eq!((status, &events["items"]), (StatusCode::OK, &json!([])));
    let (status, resources) = world.get(&format!("{path}/resources")).await;
    assert_eq!((status, &resources["items"]), (StatusCode::OK, &json!([])));
}
