//! The lines of an agent: who sees whose, that they are text, that a stream misses none and ends with its session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{Method, StatusCode};
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, LogLevel, LogLine, LogSource, Recent, TailError};
use talon_store::access::{AccessStore, Role};
use tokio::sync::{broadcast, watch};

use crate::world::{Browser, World};

const TAB: &str = "/agents/bot/logs";
const STREAM: &str = "/agents/bot/logs/stream";
const MARKUP: &str = "</li></ol><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}";

/// A daemon of one agent, and a Worker whose lines a test says.
pub struct TestLogs {
    since: DateTime<Utc>,
    controller: Arc<Mutex<Vec<LogLine>>>,
    written: watch::Sender<usize>,
    worker: broadcast::Sender<LogLine>,
    fails: Mutex<Option<TailError>>,
    followers: watch::Sender<usize>,
}

struct OfController {
    lines: Arc<Mutex<Vec<LogLine>>>,
    written: watch::Receiver<usize>,
    place: usize,
}

struct OfWorker {
    lines: broadcast::Receiver<LogLine>,
    followers: watch::Sender<usize>,
}

impl Drop for OfWorker {
    fn drop(&mut self) {
        self.followers.send_modify(|n| *n -= 1);
    }
}

#[async_trait]
impl LogFeed for OfController {
    async fn next(&mut self) -> Option<LogLine> {
        let place = self.place;
        self.written.wait_for(|n| *n > place).await.ok()?;
        self.place += 1;
        Some(self.lines.lock().expect("not poisoned")[place].clone())
    }

    fn place(&self) -> Option<u64> {
        u64::try_from(self.place).ok()
    }
}

#[async_trait]
impl LogFeed for OfWorker {
    async fn next(&mut self) -> Option<LogLine> {
        self.lines.recv().await.ok()
    }
}

#[async_trait]
impl AgentLogs for TestLogs {
    fn recent(&self, _: AgentId, most: usize) -> Recent {
        let all = self.controller.lock().expect("not poisoned");
        Recent {
            lines: all[all.len().saturating_sub(most)..].to_vec(),
            dropped: 7,
            since: self.since,
            place: u64::try_from(all.len()).expect("few"),
        }
    }

    fn follow(&self, _: AgentId, place: u64) -> Box<dyn LogFeed> {
        Box::new(OfController {
            lines: self.controller.clone(),
            written: self.written.subscribe(),
            place: usize::try_from(place).expect("few"),
        })
    }

    async fn tail(&self, _: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
        if let Some(error) = self.fails.lock().expect("not poisoned").take() {
            return Err(error);
        }
        self.followers.send_modify(|n| *n += 1);
        Ok(Box::new(OfWorker {
            lines: self.worker.subscribe(),
            followers: self.followers.clone(),
        }))
    }
}

fn line(source: LogSource, level: LogLevel, text: &str) -> LogLine {
    let at = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    LogLine::new(at, source, level, text)
}

impl TestLogs {
    /// A daemon that started at this second.
    fn since(seconds: i64) -> Arc<Self> {
        Arc::new(Self {
            since: DateTime::from_timestamp(seconds, 0).expect("a time"),
            controller: Arc::default(),
            written: watch::Sender::new(0),
            worker: broadcast::Sender::new(16),
            fails: Mutex::default(),
            followers: watch::Sender::new(0),
        })
    }

    fn write(&self, line: LogLine) {
        let mut lines = self.controller.lock().expect("not poisoned");
        lines.push(line);
        self.written.send_replace(lines.len());
    }

    fn say(&self, text: &str) {
        self.write(line(LogSource::Controller, LogLevel::Info, text));
    }

    fn print(&self, text: &str) {
        let said = line(LogSource::Worker, LogLevel::Info, text);
        self.worker.send(said).expect("somebody follows");
    }

    async fn followed_by(&self, wanted: usize) {
        let mut followers = self.followers.subscribe();
        let reached = followers.wait_for(|n| *n == wanted);
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        reached.expect("in time").expect("followers");
    }
}

/// A stream of events, as a browser reads it.
struct Events {
    answer: reqwest::Response,
    text: String,
    /// The id of the last event.
    last: String,
}

impl Events {
    async fn of(browser: &Browser, path: &str, last: &str) -> Self {
        let mut request = browser.request(Method::GET, path);
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self {
            answer,
            text: String::new(),
            last: String::new(),
        }
    }

    /// The next line's HTML; `None`: the stream has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
                };
                if let Some(id) = field("id:") {
                    self.last = id;
                }
                if let Some(data) = field("data:") {
                    return Some(data);
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(30), self.answer.chunk());
            let piece = piece.await.expect("in time").expect("a piece")?;
            let piece = std::str::from_utf8(&piece).expect("text");
            self.text.push_str(piece);
        }
    }

    async fn expect(&mut self, text: &str) {
        let line = self.next().await.expect("a line");
        assert!(line.contains(text), "{text} in {line}");
    }
}

/// How a request is answered, without waiting for the end of it.
async fn status(browser: &Browser, path: &str) -> StatusCode {
    let answer = browser.request(Method::GET, path).send().await;
    answer.expect("an answer").status()
}

#[tokio::test]
async fn the_last_lines_are_text_and_errors_stand_out() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "default").await;
    let viewer = world.visitor(Role::Viewer, None).await;
    let empty = viewer.get(TAB).await.text;
    assert!(
        empty.contains("id=\"logs-empty\"><b>No lines yet"),
        "{empty}"
    );

    for n in 0..250 {
        logs.say(&format!("number {n}."));
    }
    let wild = line(LogSource::Controller, LogLevel::Error, MARKUP);
    logs.write(wild.with("step", "upload").with("error", MARKUP));
    let page = viewer.get(TAB).await;
    assert_eq!(page.status, StatusCode::OK);
    let page = page.text;
    assert!(
        page.contains("number 51.") && !page.contains("number 50."),
        "the last 200"
    );
    assert!(page.contains("<li class=\"at-error\"><time"), "{page}");
    assert!(page.contains("step=</span>upload"));
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert!(page.contains("7 older ones are gone"));
    assert!(page.contains("id=\"logs-empty\" hidden"));
    // Worker lines are neither offered nor shown.
    assert!(!page.contains("source=worker\""), "{page}");
}

#[tokio::test]
async fn a_stream_brings_every_line_once_however_often_it_breaks() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "default").await;
    let viewer = world.visitor(Role::Viewer, None).await;
    logs.say("on the page");
    let page = viewer.get(TAB).await.text;
    let place = page
        .split_once("data-place=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(place, _)| place.to_owned())
        .expect("a place");
    logs.say("between page and stream");
    let path = format!("{STREAM}?source=controller&after={place}");
    let mut events = Events::of(&viewer, &path, "").await;
    events.expect("between page and stream").await;
    logs.write(line(LogSource::Controller, LogLevel::Warn, MARKUP));
    let wild = events.next().await.expect("a line");
    assert!(
        wild.starts_with("<li class=\"at-warn\">") && wild.ends_with("</li>"),
        "{wild}"
    );
    assert!(
        !wild.contains("<script") && !wild.contains("<img"),
        "{wild}"
    );
    let last = events.last.clone();
    drop(events);
    logs.say("during the break");
    let mut again = Events::of(&viewer, &path, &last).await;
    again.expect("during the break").await;
    logs.say("afterwards");
    again.expect("afterwards").await;

    // A place of another daemon is none of this one's.
    let other = last.replacen(|_| true, "9", 1);
    let mut anew = Events::of(&viewer, &path, &other).await;
    anew.expect("another daemon answers now").await;
    anew.expect("on the page").await;
}

#[tokio::test]
async fn a_workers_lines_are_for_operators_and_written_down() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "ann").await;
    let viewer = world.visitor(Role::Viewer, None).await;
    for source in ["worker", "controller,worker", "worker,controller"] {
        let page = viewer.get(&format!("{TAB}?source={source}")).await.text;
        assert!(page.contains("Not for your role"), "{source}");
        assert!(!page.contains("data-lines"), "{source}");
        let stream = status(&viewer, &format!("{STREAM}?source={source}")).await;
        assert_eq!(stream, StatusCode::FORBIDDEN, "{source}");
    }
    assert_eq!(*logs.followers.borrow(), 0);
    let of_workers = async || {
        let log = world.store.audit_log(50).await.expect("a log");
        log.into_iter()
            .filter(|e| e.action == "follow_worker")
            .collect::<Vec<_>>()
    };
    assert_eq!(of_workers().await, []);

    let operator = world.visitor(Role::Operator, Some("ann")).await;
    // To look at the page opens nothing.
    operator.get(&format!("{TAB}?source=worker")).await;
    assert_eq!(*logs.followers.borrow(), 0);
    let both = format!("{STREAM}?source=controller,worker");
    let mut events = Events::of(&operator, &both, "").await;
    logs.followed_by(1).await;
    let told = of_workers().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].object, "agent/bot");
    assert!(told[0].actor.starts_with("token:"), "{told:?}");
    logs.print("what people say");
    events.expect("<span class=\"src\">worker</span>").await;
    logs.say("what the controller does");
    events.expect("what the controller does").await;
    drop(events);
    logs.followed_by(0).await;

    // Another site cannot make a browser open one.
    let elsewhere = operator
        .request(Method::GET, &both)
        .header("sec-fetch-site", "same-site");
    assert_eq!(operator.send(elsewhere).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_worker_that_is_not_there_is_told_and_looked_for_again() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "default").await;
    let operator = world.visitor(Role::Operator, None).await;
    *logs.fails.lock().expect("not poisoned") = Some(TailError::NotDeployed);
    let mut events = Events::of(&operator, &format!("{STREAM}?source=worker"), "").await;
    events
        .expect("not followed: the agent has no live Worker")
        .await;
    logs.followed_by(1).await;
    logs.print("there it is");
    events.expect("there it is").await;
}

#[tokio::test]
async fn what_is_anothers_has_no_lines() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "ann").await;
    logs.say("hers");
    let other = world.visitor(Role::Admin, Some("bob")).await;
    for path in [TAB, STREAM, "/agents/bot/logs/stream?source=worker"] {
        let answer = other.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text.contains("hers"));
    }
    assert_eq!(*logs.followers.borrow(), 0);
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let logs = TestLogs::since(1);
    let world = World::with_logs(logs.clone()).await;
    world.agent("bot", "default").await;
    let operator = world.visitor(Role::Operator, None).await;
    let both = format!("{STREAM}?source=controller,worker");
    let mut events = Events::of(&operator, &both, "").await;
    logs.followed_by(1).await;
    logs.say("before");
    events.expect("before").await;
    operator.post("/sign-out", &[]).await;
    logs.say("after");
    assert_eq!(events.next().await, None);
    logs.followed_by(0).await;
}

#[tokio::test]
async fn a_stream_takes_one_of_the_callers_places() {
    let logs = TestLogs::since(1);
    let world = World::with_places(logs.clone(), 1).await;
    world.agent("bot", "default").await;
    let operator = world.visitor(Role::Operator, None).await;
    let mut events = Events::of(&operator, &format!("{STREAM}?source=worker"), "").await;
    logs.followed_by(1).await;
    let refused = status(&operator, &format!("{STREAM}?source=worker")).await;
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    let log = world.store.audit_log(50).await.expect("a log");
    let opened = log.iter().filter(|e| e.action == "follow_worker").count();
    assert_eq!(opened, 1, "what is refused opens nothing");
    logs.print("still here");
    events.expect("still here").await;
    drop(events);
    logs.followed_by(0).await;
    Events::of(&operator, STREAM, "").await;
}

#[tokio::test]
async fn without_a_daemon_the_page_says_so() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let viewer = world.visitor(Role::Viewer, None).await;
    let page = viewer.get(TAB).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("No daemon runs in this server"));
    assert!(!page.text.contains("data-lines"));
    assert_eq!(viewer.get(STREAM).await.status, StatusCode::NOT_FOUND);
}
