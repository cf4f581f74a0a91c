//! Watching: what happens to agents, as a stream that can be taken up again where it broke.
//!
//! A client that reads slowly costs nothing but its place: what it has not read is read again from the change feed, agent
//! by agent as each stands by then. Only when the feed no longer holds what came after, it is told to list again.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::{Value, json};
use talon_core::Snapshot;
use talon_core::turns::Place;
use talon_store::fleet::{PageFilter, PagePlace};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::feed::{BATCH, Happened, Told, happened};
use super::full::{View, encode};
use super::view::AgentView;
use crate::App;
use crate::auth::{Admission, Caller};
use crate::http::{Answer, Kind, Problem};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Agents read at once for a watch that begins with all of them.
const PAGE: i64 = 200;

/// An event of a watch, as a line of JSON.
#[derive(Debug, Serialize, ToSchema)]
pub struct WatchEvent {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` (an object that is empty), `ERROR` (a problem). Clients must tolerate
    /// others, and take an `ADDED` of an agent they know for a `MODIFIED`.
    #[serde(rename = "type")]
    kind: String,
    /// Watch from here to go on behind this event.
    resource_version: Option<i64>,
    /// The agent as it stands.
    #[schema(value_type = Object)]
    object: AgentView,
}

/// An event of a watch, as a server-sent event.
#[derive(Debug, Serialize, ToSchema)]
pub struct WatchMessage {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`, as in a line of JSON.
    event: String,
    /// Watch from here to go on behind this event; agents that a watch begins with have none.
    #[schema(nullable = false)]
    id: Option<String>,
    /// The agent as it stands, in JSON; `{}` for a bookmark, a problem for an error.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// Where the client wants to begin.
pub fn begin(headers: &HeaderMap, resource_version: Option<i64>) -> Answer<Option<i64>> {
    let from = match headers.get(LAST_EVENT_ID) {
        None => resource_version,
        Some(value) => {
            let number = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok());
            Some(number.ok_or_else(|| {
                Problem::new(Kind::Malformed, "Last-Event-ID is none of our numbers")
            })?)
        }
    };
    match from {
        Some(from) if from < 0 => Err(Problem::new(
            Kind::Malformed,
            "resource_version is none of our numbers",
        )),
        from => Ok(from),
    }
}

/// The stream.
pub async fn watch(
    app: App,
    caller: &Caller,
    filter: PageFilter,
    from: Option<i64>,
    view: View,
    headers: &HeaderMap,
) -> Answer<Response> {
    let place = app.stay(caller)?;
    let told = app.feed().subscribe(&app).await?;
    let (sent, phase) = match from {
        Some(from) if app.store().last_change().await? < from => return Err(expired()),
        Some(from) if !holds(&app, from).await? => return Err(expired()),
        Some(from) => (from, Phase::CatchUp),
        None => (app.store().last_change().await?, Phase::All(None)),
    };
    let heartbeat = app.config().heartbeat;
    let watcher = Watcher {
        until: tokio::time::Instant::now() + app.config().max_watch,
        admission: Admission::of(caller, &app),
        app,
        filter,
        view,
        told,
        sent,
        phase,
        frames: VecDeque::new(),
        _place: place,
    };
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/jsonl")) {
        let lines = watcher
            .frames()
            .map(|frame| Ok::<_, Infallible>(frame.line()));
        let jsonl = HeaderValue::from_static("application/jsonl");
        let headers = [
            (header::CONTENT_TYPE, jsonl),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let events = watcher
        .frames()
        .map(|frame| Ok::<_, Infallible>(frame.event()));
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(heartbeat))
        .into_response())
}

fn expired() -> Problem {
    Problem::new(
        Kind::Expired,
        "what came after this is no longer kept: list again, and watch from that list's resource_version",
    )
}

/// Whether everything that came after this place is kept.
async fn holds(app: &App, from: i64) -> Answer<bool> {
    Ok(app.store().first_change().await? <= from.saturating_add(1))
}

/// What one watcher is told next.
struct Frame {
    kind: &'static str,
    seq: Option<i64>,
    data: String,
}

impl Frame {
    fn event(self) -> Event {
        let event = Event::default().event(self.kind).data(self.data);
        match self.seq {
            Some(seq) => event.id(seq.to_string()),
            None => event,
        }
    }

    fn line(self) -> Bytes {
        let version = self.seq.map_or("null".to_owned(), |seq| seq.to_string());
        let (kind, data) = (self.kind, self.data);
        format!("{{\"type\":\"{kind}\",\"resource_version\":{version},\"object\":{data}}}\n").into()
    }
}

/// How far a watcher is.
enum Phase {
    /// It is shown every agent first, behind this one.
    All(Option<PagePlace>),
    /// It reads the feed itself.
    CatchUp,
    /// It is told with everybody else.
    Live,
    /// Nothing follows.
    Over,
}

struct Watcher {
    app: App,
    filter: PageFilter,
    view: View,
    told: Receiver<Told>,
    /// Everything up to here was told, or is none of its business.
    sent: i64,
    phase: Phase,
    frames: VecDeque<Frame>,
    admission: Admission,
    /// When it ends, whatever happens.
    until: tokio::time::Instant,
    /// Its place among the caller's long answers.
    _place: Place<String>,
}

impl Watcher {
    fn frames(self) -> impl Stream<Item = Frame> {
        stream::unfold(self, async |mut watcher| {
            let frame = watcher.next().await?;
            Some((frame, watcher))
        })
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if !self.admission.holds(&self.app).await {
                return None;
            }
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let (stopping, until) = (self.app.stopping().clone(), self.until);
            let admission = self.admission.clone();
            let went_on = tokio::select! {
                went_on = self.go_on() => went_on,
                () = stopping.cancelled() => return None,
                () = tokio::time::sleep_until(until) => return None,
                () = admission.is_due() => Ok(()),
            };
            match went_on {
                Ok(()) if matches!(self.phase, Phase::Over) && self.frames.is_empty() => {
                    return None;
                }
                Ok(()) => {}
                Err(problem) => {
                    self.phase = Phase::Over;
                    self.frames.push_back(error(&problem));
                }
            }
        }
    }

    async fn go_on(&mut self) -> Answer<()> {
        match &self.phase {
            Phase::All(after) => {
                let page = self.app.store().page(&self.filter, after.as_ref(), PAGE);
                let page = page.await?;
                // Without a place: who loses the stream in the middle begins again.
                self.frames.extend(page.iter().map(|s| Frame {
                    kind: "ADDED",
                    seq: None,
                    data: match self.view {
                        View::Normal => {
                            serde_json::to_string(&AgentView::from(s)).unwrap_or_default()
                        }
                        View::Full => encode(s).to_string(),
                    },
                }));
                self.phase = match page.last() {
                    Some(last) => Phase::All(Some(PagePlace {
                        name: last.agent.name.to_string(),
                        id: last.agent.id,
                    })),
                    None => {
                        self.frames.push_back(bookmark(self.sent));
                        Phase::CatchUp
                    }
                };
            }
            Phase::CatchUp => {
                if !holds(&self.app, self.sent).await? {
                    return Err(expired());
                }
                let changes = self.app.store().changes_after(self.sent, BATCH).await?;
                match changes.last() {
                    None => self.phase = Phase::Live,
                    Some(last) => {
                        for one in happened(&self.app, &changes).await? {
                            self.tell(&one);
                        }
                        self.sent = last.seq;
                    }
                }
            }
            Phase::Live => match self.told.recv().await {
                Ok(Told::Happened(one)) if one.seq > self.sent => {
                    self.tell(&one);
                    self.sent = one.seq;
                }
                Ok(Told::Bookmark(seq)) if seq >= self.sent => {
                    self.sent = seq;
                    self.frames.push_back(bookmark(seq));
                }
                Ok(Told::Happened(_) | Told::Bookmark(_)) => {}
                Ok(Told::Broke) | Err(RecvError::Lagged(_)) => self.phase = Phase::CatchUp,
                Err(RecvError::Closed) => self.phase = Phase::Over,
            },
            Phase::Over => {}
        }
        Ok(())
    }

    fn tell(&mut self, one: &Happened) {
        if let Some(kind) = kind(&one.snapshot, &self.filter) {
            self.frames.push_back(Frame {
                kind,
                seq: Some(one.seq),
                data: match self.view {
                    View::Normal => one.json.clone(),
                    View::Full => encode(&one.snapshot).to_string(),
                },
            });
        }
    }
}

fn bookmark(seq: i64) -> Frame {
    Frame {
        kind: "BOOKMARK",
        seq: Some(seq),
        data: "{}".to_owned(),
    }
}

fn error(problem: &Problem) -> Frame {
    let kind = problem.kind();
    let body: Value = json!({
        "type": kind.uri(),
        "title": kind.title(),
        "status": kind.status().as_u16(),
    });
    Frame {
        kind: "ERROR",
        seq: None,
        data: body.to_string(),
    }
}

/// What happened to the agent, as this watcher sees it; `None`: nothing that concerns it.
fn kind(snapshot: &Snapshot, filter: &PageFilter) -> Option<&'static str> {
    let agent = &snapshot.agent;
    if filter.owner.as_ref().is_some_and(|o| *o != agent.owner) {
        return None;
    }
    let text = filter.text.as_deref().map(str::to_ascii_lowercase);
    let holds = |text: &String| {
        let display = agent.spec.display_name.as_deref().unwrap_or_default();
        agent.name.as_str().contains(text.as_str()) || display.to_ascii_lowercase().contains(text)
    };
    let fits = filter
        .status
        .is_none_or(|s| s == agent.status.deployment_status)
        && text.as_ref().is_none_or(holds);
    // Whether it fitted before is not known: who never saw it has nothing to forget.
    if agent.is_archived() || !fits {
        return Some("DELETED");
    }
    let untouched = agent.generation.0 == 1 && agent.status.observed_generation.0 == 0;
    Some(if untouched { "ADDED" } else { "MODIFIED" })
}
