//! What Workers do and print, on its way to those who listen: WebSockets of the subprotocol `trace-v1`.
//!
//! A request is an event when it was answered; a line that the Worker prints is an event of its own, since nothing tells to
//! which request it belongs. As on the live service nothing is taken out of it, and nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use crate::shared::Shared;

/// Where tails are listened to.
pub(crate) const PREFIX: &str = "/__tails/";
/// The subprotocol.
const PROTOCOL: &str = "trace-v1";
/// Events that a listener may lie behind before it misses some.
const BEHIND: usize = 1_024;
/// How often it is looked whether a tail is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Something that a Worker did.
#[derive(Debug)]
struct Trace {
    worker: String,
    event: Value,
}

/// Passes on what Workers do. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Traces(broadcast::Sender<Arc<Trace>>);

/// A request that was answered.
pub(crate) struct Answered<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: String,
    /// `None`: the Worker never answered.
    pub(crate) status: Option<u16>,
    pub(crate) at: i64,
    pub(crate) took: Duration,
}

impl Traces {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }

    fn say(&self, worker: &str, event: Value) {
        // Nobody may listen.
        let _ = self.0.send(Arc::new(Trace {
            worker: worker.to_owned(),
            event,
        }));
    }

    /// A request has come to its end.
    pub(crate) fn answered(&self, worker: &str, request: &Answered<'_>) {
        let wall = u64::try_from(request.took.as_millis()).unwrap_or(u64::MAX);
        self.say(
            worker,
            json!({
                "wallTime": wall,
                "cpuTime": 0,
                "truncated": false,
                "executionModel": "stateless",
                "outcome": if request.status.is_some() { "ok" } else { "exception" },
                "scriptName": worker,
                "diagnosticsChannelEvents": [],
                "exceptions": [],
                "logs": [],
                "eventTimestamp": request.at,
                "event": {
                    "request": {"url": request.url, "method": request.method, "headers": {}, "cf": {}},
                    "response": {"status": request.status.unwrap_or(500)},
                },
            }),
        );
    }

    /// A line was printed. `level` is that of the console.
    pub(crate) fn printed(&self, worker: &str, level: &str, line: &str, at: i64) {
        let mut event = json!({
            "wallTime": 0,
            "cpuTime": 0,
            "truncated": false,
            "executionModel": "stateless",
            "outcome": "ok",
            "scriptName": worker,
            "diagnosticsChannelEvents": [],
            "exceptions": [],
            "logs": [],
            "eventTimestamp": at,
            "event": null,
        });
        match thrown(line) {
            Some((name, message)) => {
                event["outcome"] = "exception".into();
                event["exceptions"] = json!([{"name": name, "message": message, "timestamp": at}]);
            }
            None => {
                event["logs"] = json!([{"message": [line], "level": level, "timestamp": at}]);
            }
        }
        self.say(worker, event);
    }
}

/// What workerd says of an exception that nobody caught: `… Uncaught TypeError: no such thing …`.
fn thrown(line: &str) -> Option<(&str, &str)> {
    let (_, said) = line.split_once("Uncaught ")?;
    let said = said.strip_prefix("(in promise) ").unwrap_or(said);
    let (name, message) = said.split_once(": ")?;
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then_some((name, message))
}

/// The address of a tail.
pub(crate) fn address(host: &str, id: &str) -> String {
    format!("ws://{host}{PREFIX}{id}")
}

/// A client wants to listen.
pub(crate) async fn listen(
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    request: Request<Body>,
) -> Response {
    let (mut parts, _) = request.into_parts();
    let id = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let id = id.to_owned();
    let worker = shared.with_world(|w, now| w.tail(&id, now).map(|t| t.worker.clone()));
    let Some(worker) = worker else {
        return (StatusCode::NOT_FOUND, "there is no such tail\n").into_response();
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    // Wrangler does not mask its first frame.
    let upgrade = upgrade.protocols([PROTOCOL]).accept_unmasked_frames(true);
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, "the subprotocol is trace-v1\n").into_response();
    }
    // Before the upgrade is answered: what happens from then on is heard.
    let traces = shared.traces.0.subscribe();
    upgrade.on_upgrade(move |socket| pass_on(shared, stopping, socket, traces, id, worker))
}

async fn pass_on(
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
    mut socket: WebSocket,
    mut traces: broadcast::Receiver<Arc<Trace>>,
    id: String,
    worker: String,
) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            trace = traces.recv() => match trace {
                Ok(trace) if trace.worker == worker => {
                    let text = Message::text(trace.event.to_string());
                    if socket.send(text).await.is_err() {
                        return;
                    }
                }
                // A listener that is too slow misses some, as on the live service.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            said = socket.recv() => match said {
                // `{"debug":false}` and pings: nothing to be done.
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            _ = look.tick() => {
                if shared.with_world(|w, now| w.tail(&id, now).is_none()) {
                    break;
                }
            }
            () = stopped(&mut stopping) => break,
        }
    }
    // It may be gone already.
    let _ = socket.send(Message::Close(None)).await;
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the simulator is gone, which is the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_caught_is_told_from_what_was_printed() {
        assert_eq!(
            thrown("service worker: Uncaught TypeError: no such thing"),
            Some(("TypeError", "no such thing"))
        );
        assert_eq!(
            thrown("Uncaught (in promise) Error: late"),
            Some(("Error", "late"))
        );
        for line in ["", "Uncaught", "Uncaught two words: x", "hello: Uncaught"] {
            assert_eq!(thrown(line), None, "{line}");
        }
    }
}
