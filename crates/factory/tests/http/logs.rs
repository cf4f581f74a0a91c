//! The lines of agents: who may read whose, as a document and as a stream, and that nobody keeps a tail open.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, LogLevel, LogLine, LogSource, Recent, TailError};
use talon_factory::FactoryConfig;
use tokio::sync::{broadcast, watch};

use crate::owners::token;
use crate::world::{World, read};

const PATH: &str = "/api/v1/openclaw/agents/research-pro/logs";

/// Two old lines of the controller's, and a Worker whose lines a test says.
pub struct TestLogs {
    controller: broadcast::Sender<LogLine>,
    worker: broadcast::Sender<LogLine>,
    fails: Mutex<Option<TailError>>,
    followers: watch::Sender<usize>,
}

impl Default for TestLogs {
    fn default() -> Self {
        Self {
            controller: broadcast::Sender::new(16),
            worker: broadcast::Sender::new(16),
            fails: Mutex::default(),
            followers: watch::Sender::new(0),
        }
    }
}

struct Feed {
    lines: broadcast::Receiver<LogLine>,
    followers: Option<watch::Sender<usize>>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(followers) = &self.followers {
            followers.send_modify(|n| *n -= 1);
        }
    }
}

#[async_trait]
impl LogFeed for Feed {
    async fn next(&mut self) -> Option<LogLine> {
        self.lines.recv().await.ok()
    }
}

fn line(source: LogSource, text: &str) -> LogLine {
    let at = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    LogLine::new(at, source, LogLevel::Info, text).with("gen", 1)
}

#[async_trait]
impl AgentLogs for TestLogs {
    fn recent(&self, _: AgentId, most: usize) -> Recent {
        let mut lines = vec![
            line(LogSource::Controller, "first"),
            line(LogSource::Controller, "second"),
        ];
        lines.drain(..lines.len().saturating_sub(most));
        Recent {
            lines,
            dropped: 7,
            since: chrono::DateTime::default(),
            place: 2,
        }
    }

    fn follow(&self, _: AgentId, place: u64) -> Box<dyn LogFeed> {
        assert_eq!(place, 2);
        Box::new(Feed {
            lines: self.controller.subscribe(),
            followers: None,
        })
    }

    async fn tail(&self, _: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
        if let Some(error) = self.fails.lock().expect("unpoisoned").take() {
            return Err(error);
        }
        self.followers.send_modify(|n| *n += 1);
        Ok(Box::new(Feed {
            lines: self.worker.subscribe(),
            followers: Some(self.followers.clone()),
        }))
    }
}

async fn followers(world: &World, wanted: usize) {
    let mut followers = world.logs.followers.subscribe();
    let reached = followers.wait_for(|n| *n == wanted);
    let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
    reached.expect("in time").expect("followers");
}

/// The lines of a stream, as they come.
struct Lines {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Lines {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let request = request.header("accept", "application/jsonl");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/jsonl");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self {
            body: Box::pin(answer.bytes_stream()),
            text: String::new(),
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = serde_json::from_str(line).expect("JSON");
                self.text = rest.to_owned();
                return Some(line);
            }
            let piece = tokio::time::timeout(Duration::from_secs(30), self.body.next());
            let piece = piece.await.expect("in time")?.expect("a piece");
            self.text
                .push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }

    async fn message(&mut self) -> String {
        let line = self.next().await.expect("a line");
        line["message"].as_str().expect("a message").to_owned()
    }
}

#[tokio::test]
async fn the_last_lines_are_a_document() {
    let world = World::new().await;
    world.agent("research-pro", "ann").await;
    let (status, body) = world.get(&format!("{PATH}?tail=1")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["dropped"], 7);
    let items = body["items"].as_array().expect("items");
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["message"], "gen=1 second");
    assert_eq!(items[0]["fields"], json!({"gen": "1"}));
    // A Worker's lines are there only for who follows.
    let (status, body) = world.get(&format!("{PATH}?source=worker")).await;
    assert_eq!((status, &body["items"]), (StatusCode::OK, &json!([])));
    for bad in [
        "tail=501",
        "tail=x",
        "source=",
        "source=all",
        "source=worker,worker,worker",
        "x=1",
    ] {
        let (status, _) = world.get(&format!("{PATH}?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let (status, _) = world.get("/api/v1/openclaw/agents/nobody/logs").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn followers_see_what_was_and_what_comes_and_leave_no_tail_behind() {
    let world = World::new().await;
    world.agent("research-pro", "ann").await;
    let mut lines = Lines::of(world.ask(Method::GET, &format!("{PATH}?follow=1"))).await;
    assert_eq!(lines.message().await, "gen=1 first");
    assert_eq!(lines.message().await, "gen=1 second");
    followers(&world, 1).await;
    let say = |to: &broadcast::Sender<LogLine>, source, text: &str| {
        to.send(line(source, text)).expect("a follower");
    };
    say(&world.logs.worker, LogSource::Worker, "from the Worker");
    assert_eq!(lines.message().await, "gen=1 from the Worker");
    say(&world.logs.controller, LogSource::Controller, "third");
    assert_eq!(lines.message().await, "gen=1 third");
    drop(lines);
    followers(&world, 0).await;
    let audit = world.get("/api/v1/audit").await.1.to_string();
    assert!(audit.contains("follow_worker"), "{audit}");
    world.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_not_there_yet_is_told_and_looked_for_again() {
    let world = World::new().await;
    world.agent("research-pro", "ann").await;
    let fail = || *world.logs.fails.lock().expect("unpoisoned") = Some(TailError::NotDeployed);
    fail();
    let only = format!("{PATH}?follow=1&source=worker");
    let (status, body) = world.get(&only).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    fail();
    let both = format!("{PATH}?follow=1&tail=0");
    let mut lines = Lines::of(world.ask(Method::GET, &both)).await;
    let told = lines.message().await;
    assert!(told.contains("no live Worker"), "{told}");
    followers(&world, 1).await;
    world
        .logs
        .worker
        .send(line(LogSource::Worker, "here"))
        .expect("a follower");
    assert_eq!(lines.message().await, "gen=1 here");
}

#[tokio::test]
async fn a_viewer_reads_the_controllers_lines_only_and_another_owner_none() {
    let world = World::new().await;
    world.agent("research-pro", "ann").await;
    let viewer = token(&world, "viewer", Some("ann")).await.0;
    let follow = world
        .bare(Method::GET, &format!("{PATH}?follow=1"))
        .bearer_auth(&viewer);
    let mut lines = Lines::of(follow).await;
    assert_eq!(lines.message().await, "gen=1 first");
    assert_eq!(*world.logs.followers.borrow(), 0);
    let asked = world
        .bare(Method::GET, &format!("{PATH}?follow=1&source=worker"))
        .bearer_auth(&viewer);
    assert_eq!(read(asked).await.0, StatusCode::FORBIDDEN);
    let other = token(&world, "admin", Some("bob")).await.0;
    for query in ["", "?follow=1", "?source=worker&follow=1"] {
        let asked = world
            .bare(Method::GET, &format!("{PATH}{query}"))
            .bearer_auth(&other);
        assert_eq!(read(asked).await.0, StatusCode::NOT_FOUND, "{query}");
    }
    let asked = world.bare(Method::GET, PATH);
    assert_eq!(read(asked).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn streams_are_counted_and_end_with_the_server() {
    let config = FactoryConfig {
        max_log_streams: 1,
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    world.agent("research-pro", "ann").await;
    let path = format!("{PATH}?follow=1&tail=0");
    let mut lines = Lines::of(world.ask(Method::GET, &path)).await;
    let (status, body) = world.get(&path).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    world.stop().await;
    assert_eq!(lines.next().await, None);
}
