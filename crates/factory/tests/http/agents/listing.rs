//! Lists of agents.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{AGENTS, create, spec};
use crate::world::World;

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let world = World::new().await;
    for name in ["agent-c", "agent-a", "agent-b", "zebra"] {
        create(&world, name, spec()).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|a| a["name"].as_str().expect("text").to_owned())
            .collect()
    };
    let (_, first) = world.get(&format!("{AGENTS}?page_size=2&q=AGENT")).await;
    assert_eq!(names(&first), ["agent-a", "agent-b"]);
    assert_eq!(first["total_estimate"], 3);
    let token = first["next_page_token"].as_str().expect("more");
    let (_, second) = world
        .get(&format!("{AGENTS}?page_size=2&q=AGENT&page_token={token}"))
        .await;
    assert_eq!(names(&second), ["agent-c"]);
    assert_eq!(second["next_page_token"], Value::Null);
    for bad in [
        format!("q=zebra&page_token={token}"),
        "page_token=canary".to_owned(),
        "page_size=501".to_owned(),
        "page_size=0".to_owned(),
        "status=canary".to_owned(),
        "q=%00".to_owned(),
    ] {
        let (status, problem) = world.get(&format!("{AGENTS}?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }
    let response = world
        .ask(Method::GET, AGENTS)
        .send()
        .await
        .expect("an answer");
    let etag = response.headers()["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    let again = world
        .ask(Method::GET, AGENTS)
        .header("if-none-match", &etag);
    assert_eq!(
        again.send().await.expect("an answer").status(),
        StatusCode::NOT_MODIFIED
    );
    create(&world, "agent-d", spec()).await;
    let again = world
        .ask(Method::GET, AGENTS)
        .header("if-none-match", &etag);
    assert_eq!(
        again.send().await.expect("an answer").status(),
        StatusCode::OK
    );
}
