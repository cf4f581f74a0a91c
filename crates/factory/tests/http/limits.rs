//! What one caller can take: bodies that do not come, answers that last, keys.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use talon_factory::{FactoryConfig, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::owners::token;
use crate::world::{World, read};

const AGENTS: &str = "/api/v1/openclaw/agents";
/// Longer than anything here takes on a busy machine, and shorter than what is asked for.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_body_that_does_not_come_holds_no_place() {
    let config = FactoryConfig {
        request_timeout: Duration::from_millis(300),
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    for (head, kind) in [
        ("POST /auth/agent-token", "application/json"),
        ("POST /api/v1/router/tasks", "application/json"),
    ] {
        let mut stream = TcpStream::connect(&world.address).await.expect("connected");
        let text = format!(
            "{head} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\n\
             content-length: 4000\r\n\r\n",
            world.operator
        );
        stream.write_all(text.as_bytes()).await.expect("sent");
        // Byte by byte: there is always some progress.
        let (mut reads, mut writes) = stream.into_split();
        let dribble = tokio::spawn(async move {
            while writes.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(BOUND, reads.read_to_end(&mut answer)).await;
        dribble.abort();
        // A connection that is reset has ended as well.
        let _ = ended.expect("the connection ends");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn one_caller_has_so_many_long_answers_and_another_one_its_own() {
    let config = FactoryConfig {
        long_answers: 2,
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    let (ann, _) = token(&world, "operator", Some("ann")).await;
    let (other, _) = token(&world, "operator", Some("ann")).await;
    let watch = |who: &str| {
        world
            .bare(Method::GET, &format!("{AGENTS}?watch=1"))
            .bearer_auth(who)
            .send()
    };
    let first = watch(&ann).await.expect("an answer");
    let second = watch(&other).await.expect("an answer");
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    for who in [&ann, &other] {
        let third = watch(who).await.expect("an answer");
        assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(third.headers().contains_key("retry-after"));
    }
    let body =
        json!({"name": "ann-agent", "spec": {"persona": "p", "instructions": "i", "model": "a/b"}});
    let waits = world
        .bare(Method::POST, &format!("{AGENTS}?wait=ready"))
        .bearer_auth(&ann)
        .json(&body);
    assert_eq!(read(waits).await.0, StatusCode::TOO_MANY_REQUESTS);
    let look = world
        .bare(Method::GET, &format!("{AGENTS}/ann-agent"))
        .bearer_auth(&ann);
    assert_eq!(
        read(look).await.0,
        StatusCode::NOT_FOUND,
        "who may not wait has done nothing"
    );
    let task = json!({"agent": "ann-agent", "text": "Hello"});
    let task = world
        .bare(Method::POST, "/api/v1/router/tasks")
        .bearer_auth(&ann)
        .json(&task);
    assert_eq!(read(task).await.0, StatusCode::TOO_MANY_REQUESTS);
    let operator = world.ask(Method::GET, &format!("{AGENTS}?watch=1"));
    let operator = operator.send().await.expect("an answer");
    assert_eq!(operator.status(), StatusCode::OK);

    // A place that is given back is there again.
    drop(first);
    let again = async {
        while watch(&ann).await.expect("an answer").status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, again).await.expect("a place");
}

#[tokio::test]
async fn keys_have_a_limit_of_their_own() {
    let config = FactoryConfig {
        key_rate: Rate {
            per_second: 1,
            burst: 2,
        },
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    world.agent("writer", "default").await;
    let mut refused = None;
    for _ in 0..100 {
        let answer = world
            .ask(
                Method::PUT,
                &format!("{AGENTS}/writer/secrets/ANTHROPIC_API_KEY"),
            )
            .json(&json!({"value": "sk-1"}))
            .send()
            .await
            .expect("an answer");
        if answer.status() != StatusCode::NO_CONTENT {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["ratelimit-policy"], "\"keys\";q=2;w=2");
    let problem: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(problem["value_stored"], false);
    let look = world.get(&format!("{AGENTS}/writer")).await;
    assert_eq!(look.0, StatusCode::OK, "the others go on");
}

#[tokio::test]
async fn what_waits_ends_when_its_token_is_revoked() {
    let config = FactoryConfig {
        heartbeat: Duration::from_millis(100),
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    world.agent("ann-agent", "ann").await;
    let task = json!({"agent": "ann-agent", "text": "Hello", "timeout_seconds": 3600});
    for what in ["wait", "task"] {
        let (ann, id) = token(&world, "operator", Some("ann")).await;
        let request = match what {
            "wait" => world.bare(
                Method::GET,
                &format!("{AGENTS}/ann-agent?wait=ready&timeout=300s"),
            ),
            _ => world.bare(Method::POST, "/api/v1/router/tasks").json(&task),
        };
        let request = request.bearer_auth(&ann).timeout(BOUND * 5);
        let revoked = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            read(world.ask(Method::DELETE, &format!("/api/v1/tokens/{id}"))).await
        };
        let both = async { tokio::join!(read(request), revoked) };
        let ((status, _), revoked) = tokio::time::timeout(BOUND, both)
            .await
            .expect("it ends with its token");
        assert_eq!(revoked.0, StatusCode::NO_CONTENT);
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}");
    }
}
