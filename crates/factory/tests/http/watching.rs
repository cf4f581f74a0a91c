//! Watching: nothing is missed, nothing comes twice.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_factory::FactoryConfig;

use crate::world::{World, read};

const AGENTS: &str = "/api/v1/openclaw/agents";

/// A watch that is read event by event.
struct Watch {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    buffer: String,
}

#[derive(Debug, PartialEq)]
struct Seen {
    kind: String,
    id: Option<i64>,
    name: Value,
}

impl Watch {
    async fn open(world: &World, query: &str, last: Option<i64>) -> Self {
        let mut request = world.ask(Method::GET, &format!("{AGENTS}?watch=1{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: Box::pin(response.bytes_stream()),
            buffer: String::new(),
        }
    }

    async fn next(&mut self) -> Seen {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|l| l.strip_prefix(name));
                    line.map(|l| l.trim().to_owned())
                };
                let Some(kind) = field("event:") else {
                    continue;
                };
                let data: Value =
                    serde_json::from_str(&field("data:").expect("data")).expect("JSON");
                return Seen {
                    kind,
                    id: field("id:").map(|id| id.parse().expect("a number")),
                    name: data["name"].clone(),
                };
            }
            let chunk = self.body.next().await.expect("open").expect("bytes");
            self.buffer += std::str::from_utf8(&chunk).expect("text");
        }
    }
}

async fn create(world: &World, name: &str) {
    let spec = json!({"persona": "p", "instructions": "i", "model": "a/b"});
    let (status, agent) = world
        .post(AGENTS, &json!({"name": name, "spec": spec}))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{agent}");
}

async fn suspend(world: &World, name: &str) {
    let (status, _) = world
        .post(&format!("{AGENTS}/{name}/suspend"), &json!({}))
        .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_watch_begins_with_everything_and_goes_on_with_what_happens() {
    let world = World::new().await;
    create(&world, "agent-a").await;
    create(&world, "agent-b").await;
    let mut watch = Watch::open(&world, "", None).await;
    for name in ["agent-a", "agent-b"] {
        let seen = watch.next().await;
        assert_eq!(
            (seen.kind.as_str(), seen.id, &seen.name),
            ("ADDED", None, &json!(name))
        );
    }
    let bookmark = watch.next().await;
    assert_eq!(bookmark.kind, "BOOKMARK");
    create(&world, "agent-c").await;
    let added = watch.next().await;
    assert_eq!(
        (added.kind.as_str(), &added.name),
        ("ADDED", &json!("agent-c"))
    );
    assert!(added.id > bookmark.id);
    suspend(&world, "agent-a").await;
    let modified = watch.next().await;
    assert_eq!(
        (modified.kind.as_str(), &modified.name),
        ("MODIFIED", &json!("agent-a"))
    );
    assert!(modified.id > added.id);
}

#[tokio::test]
async fn a_watch_is_taken_up_where_it_broke() {
    let world = World::new().await;
    let (_, list) = world.get(AGENTS).await;
    let from = list["resource_version"].as_i64().expect("a number");
    let mut watch = Watch::open(&world, &format!("&resource_version={from}"), None).await;
    create(&world, "agent-a").await;
    let first = watch.next().await;
    drop(watch);
    create(&world, "agent-b").await;
    suspend(&world, "agent-a").await;
    create(&world, "agent-c").await;
    let mut watch = Watch::open(&world, "", first.id).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = watch.next().await;
        seen.push((event.kind, event.name));
    }
    assert_eq!(
        seen,
        [
            ("ADDED".to_owned(), json!("agent-b")),
            ("MODIFIED".to_owned(), json!("agent-a")),
            ("ADDED".to_owned(), json!("agent-c")),
        ]
    );
    // Nothing comes twice: what is told next is what happens next.
    create(&world, "agent-d").await;
    assert_eq!(watch.next().await.name, json!("agent-d"));
}

#[tokio::test]
async fn a_place_that_is_no_longer_kept_or_not_yet_there_is_410() {
    let world = World::new().await;
    create(&world, "agent-a").await;
    create(&world, "agent-b").await;
    let (status, problem) = world
        .get(&format!("{AGENTS}?watch=1&resource_version=99"))
        .await;
    assert_eq!(status, StatusCode::GONE);
    assert_eq!(problem["type"], "https://talon.dev/problems/expired");
    talon_store::Store::prune(&*world.store, std::time::Duration::ZERO)
        .await
        .expect("pruned");
    assert_eq!(
        world
            .get(&format!("{AGENTS}?watch=1&resource_version=0"))
            .await
            .0,
        StatusCode::GONE
    );
    let (_, list) = world.get(AGENTS).await;
    let from = list["resource_version"].as_i64().expect("a number");
    let mut watch = Watch::open(&world, "", Some(from)).await;
    create(&world, "agent-c").await;
    assert_eq!(watch.next().await.name, json!("agent-c"));
}

#[tokio::test]
async fn a_watch_with_a_filter_is_told_what_left_it() {
    let world = World::new().await;
    create(&world, "agent-a").await;
    let (_, list) = world.get(AGENTS).await;
    let from = list["resource_version"].as_i64().expect("a number");
    let mut watch = Watch::open(&world, "&q=gent-b&status=pending", Some(from)).await;
    create(&world, "agent-c").await;
    create(&world, "agent-b").await;
    let (left, fits) = (watch.next().await, watch.next().await);
    assert_eq!(
        (left.kind.as_str(), &left.name),
        ("DELETED", &json!("agent-c"))
    );
    assert_eq!(
        (fits.kind.as_str(), &fits.name),
        ("ADDED", &json!("agent-b"))
    );
}

#[tokio::test]
async fn lines_of_json_say_the_same() {
    let world = World::new().await;
    create(&world, "agent-a").await;
    let request = world
        .ask(Method::GET, &format!("{AGENTS}?watch=1"))
        .header("accept", "application/jsonl");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "application/jsonl");
    let mut body = response.bytes_stream();
    let mut text = String::new();
    while text.lines().count() < 2 || !text.ends_with('\n') {
        text +=
            std::str::from_utf8(&body.next().await.expect("open").expect("bytes")).expect("text");
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(
        (&lines[0]["type"], &lines[0]["object"]["name"]),
        (&json!("ADDED"), &json!("agent-a"))
    );
    assert_eq!(lines[1]["type"], "BOOKMARK");
    assert!(lines[1]["resource_version"].is_i64());
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let world = World::new().await;
    let mut watch = Watch::open(&world, "", None).await;
    assert_eq!(watch.next().await.kind, "BOOKMARK");
    world.stop().await;
    while let Some(chunk) = watch.body.next().await {
        drop(chunk);
    }
}

#[tokio::test]
async fn streams_end_with_the_token_that_opened_them() {
    let world = World::with(FactoryConfig {
        heartbeat: Duration::from_millis(50),
        ..FactoryConfig::default()
    })
    .await;
    world.agent("writer", "default").await;
    let wanted = json!({"label": "ci", "role": "operator"});
    let (_, token) = world.post("/api/v1/tokens", &wanted).await;
    let secret = token["token"].as_str().expect("a token");
    let watch = world.bare(Method::GET, &format!("{AGENTS}?watch=1"));
    let task = world
        .bare(Method::POST, "/api/v1/router/tasks")
        .header("accept", "text/event-stream")
        .json(&json!({"agent": "writer", "text": "Hello"}));
    let mut streams = Vec::new();
    for request in [watch, task] {
        let response = request.bearer_auth(secret).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        streams.push(response);
    }
    // They live as long as it does.
    let heard = streams[0].chunk().await.expect("a stream");
    assert!(heard.is_some());
    let id = token["id"].as_str().expect("an id");
    let path = format!("/api/v1/tokens/{id}");
    let (status, _) = read(world.ask(Method::DELETE, &path)).await;
    assert!(status.is_success(), "{status}");
    for stream in streams {
        let end = tokio::time::timeout(Duration::from_secs(20), stream.bytes());
        end.await.expect("it ends").expect("in good order");
    }
}
