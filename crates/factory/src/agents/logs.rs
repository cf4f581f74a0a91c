//! The lines of an agent: what the controller did for it, and what its Worker prints while somebody follows.
//!
//! The controller's lines are those of the daemon that is asked: with several daemons each knows its own. A Worker's lines
//! are kept nowhere; they show what people say to the agent, so that a viewer's token does not open them.
//!
//! Who reads slowly holds up nobody: a stream whose client takes no line for a while ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, LogLevel, LogLine, LogSource, TailError};
use talon_core::turns::Place;
use talon_store::access::NewAudit;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::list::Flag;
use super::look::{actor, missing, must_find};
use crate::App;
use crate::auth::{Admission, Caller, Role, Viewer};
use crate::http::{Answer, Kind, Params, Problem, ProblemBody};

/// Lines that are shown if no number is named.
const DEFAULT_TAIL: usize = 100;
/// Most lines that are shown at once: all that are kept of one agent.
const MAX_TAIL: usize = 500;
/// Lines that wait for a client.
const WAITING: usize = 64;
/// How long a client may take for one line.
const SLOW: Duration = Duration::from_secs(20);
/// How soon a Worker that is not there, or cannot be followed now, is looked for again.
const AGAIN: Duration = Duration::from_secs(3);

/// Which lines, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// Whose: `controller`, `worker` or both with a comma. Not said: the controller's, and when following the Worker's too
    /// if the token opens them (role operator). A Worker's lines are there only for who follows.
    #[param(
        pattern = "^(controller|worker)(,(controller|worker))?$",
        example = "controller"
    )]
    source: Option<String>,
    /// Go on with what comes: as server-sent events (`line`) or, with `Accept: application/jsonl`, as lines of JSON.
    #[param(inline)]
    follow: Option<Flag>,
    /// The last so many of the controller's lines first.
    #[param(minimum = 0, maximum = 500, default = 100)]
    tail: Option<usize>,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogView {
    /// When.
    at: DateTime<Utc>,
    /// `controller` or `worker`. Clients must tolerate others.
    source: String,
    /// `debug`, `info`, `warn` or `error`. Clients must tolerate others.
    level: String,
    /// Its named parts, in order: `gen`, `step`, `attempt`, `http`, `dur`, `ray`, `error`, …; of a Worker's line `console`
    /// or `threw`.
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
    /// What it says beside them.
    text: String,
    /// Fields and text as people read them.
    message: String,
}

impl From<&LogLine> for LogView {
    fn from(line: &LogLine) -> Self {
        let fields = line.fields().iter();
        Self {
            at: line.at(),
            source: line.source().as_str().to_owned(),
            level: line.level().as_str().to_owned(),
            fields: fields
                .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
                .collect(),
            text: line.text().to_owned(),
            message: line.message(),
        }
    }
}

/// The last lines.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogList {
    /// Oldest first.
    items: Vec<LogView>,
    /// How many older ones are no longer kept.
    dropped: u64,
    /// Since when this daemon keeps them: since it started.
    since: DateTime<Utc>,
}

/// One line as a server-sent event.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogMessage {
    /// `line`.
    event: String,
    /// The line, in JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// The lines of an agent: the controller's of the daemon that is asked, in memory since it started, and while following
/// what the Worker prints. What looks like a key is taken out of both; a Worker's other secrets are not known here.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/logs", operation_id = "agent_logs", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), LogParams), responses(
    (status = 200, description = "The last lines, or a stream of them", content(
        (LogList = "application/json"),
        (LogMessage = "text/event-stream"),
        (LogView = "application/jsonl"),
    )),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "Only the Worker's lines are wanted, and there is no Worker", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server has no controller", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn logs(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    Params(params): Params<LogParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let tail = params.tail.unwrap_or(DEFAULT_TAIL);
    if tail > MAX_TAIL {
        return Err(malformed(format!("tail must be 0 to {MAX_TAIL}")));
    }
    let follow = params.follow == Some(Flag::On);
    let wanted = Wanted::read(params.source.as_deref(), follow, &caller)?;
    let found = must_find(&app, &caller, &name, false).await?;
    let logs = app.logs().cloned().ok_or_else(|| {
        let text = "this server runs no controller: ask one that does";
        Problem::new(Kind::NotImplemented, text)
    })?;
    let agent = found.agent.id;
    if follow {
        let object = found.agent.name.as_str();
        return Following::begin(app, &caller, logs, agent, object, wanted, tail)
            .await
            .map(|lines| streamed(lines, &headers));
    }
    let recent = logs.recent(agent, if wanted.controller { tail } else { 0 });
    let list = LogList {
        items: recent.lines.iter().map(LogView::from).collect(),
        dropped: recent.dropped,
        since: recent.since,
    };
    Ok((no_store(), axum::Json(list)).into_response())
}

fn malformed(text: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Kind::Malformed, text)
}

fn no_store() -> [(http::HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

/// Whose lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    controller: bool,
    worker: bool,
}

impl Wanted {
    fn read(source: Option<&str>, follow: bool, caller: &Caller) -> Answer<Self> {
        let may = caller.role >= Role::Operator;
        let Some(source) = source else {
            return Ok(Self {
                controller: true,
                worker: follow && may,
            });
        };
        let mut wanted = Self {
            controller: false,
            worker: false,
        };
        for (n, word) in source.split(',').enumerate() {
            match LogSource::parse(word) {
                Some(LogSource::Controller) if n < 2 => wanted.controller = true,
                Some(LogSource::Worker) if n < 2 => wanted.worker = true,
                Some(_) | None => {
                    return Err(malformed(
                        "source is controller, worker or controller,worker",
                    ));
                }
            }
        }
        if wanted.worker && !may {
            return Err(Problem::new(
                Kind::Forbidden,
                "a Worker's lines show what people say to it: use a token of the role operator, or source=controller",
            ));
        }
        Ok(wanted)
    }
}

fn problem(error: &TailError) -> Problem {
    let text = error.to_string();
    match error {
        TailError::NotFound => missing(),
        TailError::NotDeployed => Problem::new(Kind::Conflict, text),
        TailError::TooMany(_) => Problem::new(Kind::Unavailable, text).retry_after(AGAIN),
        TailError::Failed {
            retry_after: Some(wait),
            ..
        } => Problem::new(Kind::Unavailable, text).retry_after(*wait),
        TailError::Failed {
            retry_after: None, ..
        } => Problem::new(Kind::Conflict, text),
    }
}

/// A stream under way, in a task of its own: a client that does not read cannot keep a tail open.
struct Following {
    app: App,
    logs: Arc<dyn AgentLogs>,
    agent: AgentId,
    admission: Admission,
    until: Instant,
    first: VecDeque<LogLine>,
    controller: Option<Box<dyn LogFeed>>,
    worker: Worker,
    lines: mpsc::Sender<LogLine>,
    _place: OwnedSemaphorePermit,
    /// Its place among the caller's long answers.
    _own: Place<String>,
}

/// How it stands with the Worker's lines.
enum Worker {
    Unwanted,
    /// Looked for at this time; what was said of the last time in vain.
    Sought(Instant, Option<TailError>),
    Followed(Box<dyn LogFeed>),
}

/// What comes next.
enum Next {
    Over,
    Admission,
    Controller(Option<LogLine>),
    Worker(Option<LogLine>),
    Seek,
}

impl Following {
    async fn begin(
        app: App,
        caller: &Caller,
        logs: Arc<dyn AgentLogs>,
        agent: AgentId,
        object: &str,
        wanted: Wanted,
        tail: usize,
    ) -> Answer<mpsc::Receiver<LogLine>> {
        // Before anything is opened or written down.
        let own = app.stay(caller)?;
        let place = app.log_places().try_acquire_owned().map_err(|_| {
            let text = "as many follow lines already as may at once";
            Problem::new(Kind::TooManyRequests, text).retry_after(AGAIN)
        })?;
        let mut worker = Worker::Unwanted;
        if wanted.worker {
            // Before it is opened: nobody reads what people say without a trace.
            let entry = NewAudit {
                action: "follow_worker".to_owned(),
                object: object.to_owned(),
                fields: Vec::new(),
            };
            app.store().audit(&actor(caller), &entry).await?;
            worker = match logs.tail(agent).await {
                Ok(feed) => Worker::Followed(feed),
                Err(error) if !wanted.controller => return Err(problem(&error)),
                Err(error) => Worker::Sought(Instant::now() + AGAIN, Some(error)),
            };
        }
        let (lines, receiver) = mpsc::channel(WAITING);
        let mut first = VecDeque::new();
        let mut controller = None;
        if wanted.controller {
            let recent = logs.recent(agent, tail);
            controller = Some(logs.follow(agent, recent.place));
            first.extend(recent.lines);
        }
        if let Worker::Sought(_, Some(error)) = &worker {
            first.push_back(said(LogLevel::Warn, error));
        }
        let following = Self {
            admission: Admission::of(caller, &app),
            until: Instant::now() + app.config().max_watch,
            app,
            logs,
            agent,
            first,
            controller,
            worker,
            lines,
            _place: place,
            _own: own,
        };
        tokio::spawn(following.run());
        Ok(receiver)
    }

    async fn run(mut self) {
        while let Some(line) = self.first.pop_front() {
            if !self.send(line).await {
                return;
            }
        }
        let stopping = self.app.stopping().clone();
        let lines = self.lines.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = lines.closed() => Next::Over,
                () = stopping.cancelled() => Next::Over,
                () = tokio::time::sleep_until(self.until) => Next::Over,
                () = self.admission.is_due() => Next::Admission,
                line = next(&mut self.controller) => Next::Controller(line),
                line = self.worker.next() => line,
            };
            let line = match next {
                Next::Over => return,
                Next::Admission if self.admission.holds(&self.app).await => None,
                Next::Admission => return,
                Next::Controller(None) => {
                    self.controller = None;
                    None
                }
                Next::Controller(line) => line,
                Next::Worker(None) => {
                    self.worker = Worker::Sought(Instant::now() + AGAIN, None);
                    None
                }
                Next::Worker(line) => line,
                Next::Seek => self.seek().await,
            };
            if let Some(line) = line
                && !self.send(line).await
            {
                return;
            }
        }
    }

    /// Looks for the Worker again; the same failure is told once.
    async fn seek(&mut self) -> Option<LogLine> {
        match self.logs.tail(self.agent).await {
            Ok(feed) => {
                self.worker = Worker::Followed(feed);
                None
            }
            Err(error) => {
                let is_news =
                    !matches!(&self.worker, Worker::Sought(_, Some(told)) if *told == error);
                let line = is_news.then(|| said(LogLevel::Warn, &error));
                self.worker = Worker::Sought(Instant::now() + AGAIN, Some(error));
                line
            }
        }
    }

    /// Whether the client took it, or made room for it in time.
    async fn send(&mut self, line: LogLine) -> bool {
        matches!(
            tokio::time::timeout(SLOW, self.lines.send(line)).await,
            Ok(Ok(()))
        )
    }
}

async fn next(feed: &mut Option<Box<dyn LogFeed>>) -> Option<LogLine> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

impl Worker {
    async fn next(&mut self) -> Next {
        match self {
            Self::Unwanted => std::future::pending().await,
            Self::Sought(at, _) => {
                tokio::time::sleep_until(*at).await;
                Next::Seek
            }
            Self::Followed(feed) => Next::Worker(feed.next().await),
        }
    }
}

fn said(level: LogLevel, error: &TailError) -> LogLine {
    let text = format!("not followed: {error}");
    LogLine::new(Utc::now(), LogSource::Worker, level, &text).with("talon", "tail")
}

fn streamed(lines: mpsc::Receiver<LogLine>, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let json = |line: &LogLine| serde_json::to_string(&LogView::from(line)).unwrap_or_default();
    if accept.is_some_and(|accept| accept.contains("application/jsonl")) {
        let jsonl = HeaderValue::from_static("application/jsonl");
        let lines = each(lines).map(move |line| {
            let text = json(&line) + "\n";
            Ok::<_, Infallible>(Bytes::from(text))
        });
        let headers = [(header::CONTENT_TYPE, jsonl)];
        return (headers, no_store(), Body::from_stream(lines)).into_response();
    }
    let events = each(lines)
        .map(move |line| Ok::<_, Infallible>(Event::default().event("line").data(json(&line))));
    (
        no_store(),
        Sse::new(events).keep_alive(KeepAlive::default()),
    )
        .into_response()
}

fn each(lines: mpsc::Receiver<LogLine>) -> impl Stream<Item = LogLine> {
    stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)))
}
