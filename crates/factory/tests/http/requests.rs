//! What holds for every request.

use reqwest::{Method, StatusCode};
use serde_json::json;
use talon_factory::FactoryConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, read};

#[tokio::test]
async fn health_and_the_document_need_no_token_and_everything_else_does() {
    let world = World::new().await;
    for open in ["/livez", "/readyz", "/openapi.json"] {
        let (status, _) = read(world.bare(Method::GET, open)).await;
        assert_eq!(status, StatusCode::OK, "{open}");
    }
    for closed in [
        "/metrics",
        "/api/v1/router/online",
        "/api/v1/router/agents/writer",
    ] {
        for token in [None, Some(""), Some("wrong"), Some(&world.operator[1..])] {
            let request = world.bare(Method::GET, closed);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{closed}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn an_error_is_a_problem_with_the_id_of_its_request() {
    let world = World::new().await;
    let request = world.ask(Method::GET, "/nothing/canary-path");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let body: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(body["type"], "https://talon.dev/problems/not-found");
    assert_eq!(body["request_id"], id.as_str());
    assert_eq!(body["instance"], format!("urn:talon:request:{id}"));
    assert!(!body.to_string().contains("canary"));
}

#[tokio::test]
async fn a_wrong_method_is_told_which_are_right() {
    let world = World::new().await;
    let request = world.ask(Method::DELETE, "/api/v1/router/search");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    let body: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(
        body["type"],
        "https://talon.dev/problems/method-not-allowed"
    );
}

#[tokio::test]
async fn bodies_are_limited_in_size_depth_and_shape() {
    let world = World::new().await;
    let tasks = "/api/v1/router/tasks";
    let send = |body: String, media: &'static str| {
        read(
            world
                .ask(Method::POST, tasks)
                .header("content-type", media)
                .body(body),
        )
    };
    let json = "application/json";
    let deep = "[".repeat(40) + &"]".repeat(40);
    let large = json!({"agent": "writer", "text": "x".repeat(1024 * 1024)}).to_string();
    for (body, media, expected) in [
        (
            "{}".to_owned(),
            "text/plain",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (large, json, StatusCode::PAYLOAD_TOO_LARGE),
        (deep, json, StatusCode::BAD_REQUEST),
        (
            r#"{"text":"a","text":"b"}"#.to_owned(),
            json,
            StatusCode::BAD_REQUEST,
        ),
        ("sk-canary".to_owned(), json, StatusCode::BAD_REQUEST),
        (
            r#"{"text":"a","sk-canary":"sk-canary"}"#.to_owned(),
            json,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            r#"{"text":["sk-canary"]}"#.to_owned(),
            json,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let (status, answer) = send(body, media).await;
        assert_eq!(status, expected, "{answer}");
        assert!(!answer.to_string().contains("canary"), "{answer}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_unknown_is_refused() {
    let world = World::new().await;
    for (query, word) in [
        ("q=x&canary=1", "unknown"),
        ("q=x&limit=canary", "limit"),
        ("q=x&limit=51", "limit"),
        ("q=x&q=canary", "twice"),
        ("", "missing"),
    ] {
        let (status, answer) = world.get(&format!("/api/v1/router/search?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(
            answer["detail"].as_str().expect("text").contains(word),
            "{answer}"
        );
        assert!(!answer.to_string().contains("canary"), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_costs_its_connection_only() {
    let config = FactoryConfig {
        header_timeout: std::time::Duration::from_millis(200),
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    let mut slow = TcpStream::connect(&world.address).await.expect("connected");
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        .await
        .expect("written");
    let mut rest = Vec::new();
    // Ends because the server closes the connection.
    slow.read_to_end(&mut rest).await.expect("closed");
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    let (status, _) = read(world.bare(Method::GET, "/livez")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_answers_by_route() {
    let world = World::new().await;
    world.get("/api/v1/router/tasks/one").await;
    world.get("/api/v1/router/tasks/two").await;
    let response = world
        .ask(Method::GET, "/metrics")
        .send()
        .await
        .expect("an answer");
    let text = response.text().await.expect("text");
    let line = r#"talon_http_requests_total{method="GET",route="/api/v1/router/tasks/{id}",status="404"} 2"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("talon_hub_connections 0"), "{text}");
    assert!(
        text.contains("talon_agents{status=\"pending\"} 0"),
        "{text}"
    );
}
