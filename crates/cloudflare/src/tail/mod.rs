//! Tails: `POST …/workers/scripts/{name}/tails` makes one, its address is a WebSocket of the subprotocol `trace-v1`,
//! `DELETE …/tails/{id}` removes it.
//!
//! Source: OpenAPI of 2026-11 (`workers-scripts-tail.*`) and wrangler's `createTail.ts`, whose first message `{"debug":false}`
//! is sent here too. The socket carries no token: whoever has its address reads the tail.

mod event;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use reqwest::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Method, StatusCode, Upgraded};
use serde::Deserialize;
use talon_core::cloud::{CallCx, CloudError, CloudResult};
use talon_core::tail::{TailCloud, TailEvent, TailSocket};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

use crate::client::{Client, is_loopback};
use crate::envelope::{incomplete, typed};
use crate::lenient::{date_field, text_field};
use crate::message::own;
use crate::taxonomy::{Area, Call};

/// The subprotocol.
const PROTOCOL: &str = "trace-v1";
/// What wrangler says first.
const GREETING: &str = r#"{"debug":false}"#;
/// Longest message: one run of a Worker with all it printed.
const MOST_BYTES: usize = 1024 * 1024;
/// How often a silent tail is asked whether it lives.
const PING: Duration = Duration::from_secs(20);
/// How many of these may go unanswered.
const PATIENCE: u32 = 3;

#[derive(Debug, Default, Deserialize)]
struct Made {
    #[serde(default, deserialize_with = "text_field")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    url: Option<String>,
    #[serde(default, deserialize_with = "date_field")]
    expires_at: Option<DateTime<Utc>>,
}

fn opening() -> Call {
    Call::new("POST worker tail", Method::POST, Area::Workers)
}

#[async_trait]
impl TailCloud for Client {
    async fn open_tail(&self, cx: CallCx, worker: &str) -> CloudResult<Box<dyn TailSocket>> {
        let call = opening();
        let url = self.account_url(&call, &["workers", "scripts", worker, "tails"])?;
        let request = self
            .request(&call, url)
            .json(&serde_json::json!({ "filters": [] }));
        let (answer, success) = self
            .write(cx.into(), &call, self.timeouts.request, &[], request)
            .await?;
        let made: Made = typed(&call, &answer, success.result)?;
        let (Some(id), Some(url)) = (made.id, made.url) else {
            return Err(incomplete(&call, "the answer names no tail"));
        };
        match self.connect(&call, &url).await {
            Ok(stream) => Ok(Box::new(Socket {
                id,
                expires_at: made.expires_at,
                stream,
                ping_at: Instant::now() + PING,
                unanswered: 0,
            })),
            Err(error) => {
                // It expires by itself; but a Worker has ten only.
                let _ = self.close_tail(cx, worker, &id).await;
                Err(error)
            }
        }
    }

    async fn close_tail(&self, cx: CallCx, worker: &str, id: &str) -> CloudResult<()> {
        let call = Call::new("DELETE worker tail", Method::DELETE, Area::Workers);
        let url = self.account_url(&call, &["workers", "scripts", worker, "tails", id])?;
        let request = self.request(&call, url);
        let gone = self
            .write(cx.into(), &call, self.timeouts.request, &[], request)
            .await;
        match gone {
            Ok(_) | Err(CloudError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Client {
    /// Connects to a tail's address. It is Cloudflare's word where that is; unencrypted only if the API itself is this
    /// machine.
    async fn connect(&self, call: &Call, address: &str) -> CloudResult<WebSocketStream<Upgraded>> {
        let failed = |text: &str| CloudError::Transient(own(call.name, text));
        let address = Url::parse(address).ok().and_then(|url| {
            let is_local = is_loopback(&url) && is_loopback(&self.api_base);
            let scheme = match url.scheme() {
                "wss" => "https",
                "ws" if is_local => "http",
                _ => return None,
            };
            // A URL's scheme cannot be changed from one kind to the other; its text can.
            let (_, rest) = url.as_str().split_once(':')?;
            Url::parse(&format!("{scheme}:{rest}")).ok()
        });
        let address =
            address.ok_or_else(|| incomplete(call, "the tail's address cannot be used"))?;
        let key = generate_key();
        let request = self
            .sockets
            .get(address)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        let answered = tokio::time::timeout(self.timeouts.request, request.send()).await;
        // The address opens the tail: it stands in no message.
        let answer = answered
            .map_err(|_| failed("the tail did not answer in time"))?
            .map_err(|_| failed("the tail cannot be connected to"))?;
        let header = |name| answer.headers().get(name).and_then(|v| v.to_str().ok());
        let accepted = answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && header(SEC_WEBSOCKET_ACCEPT) == Some(&derive_accept_key(key.as_bytes()))
            && header(SEC_WEBSOCKET_PROTOCOL) == Some(PROTOCOL);
        if !accepted {
            return Err(failed("the tail's address does not speak trace-v1"));
        }
        let upgraded = answer.upgrade().await;
        let upgraded = upgraded.map_err(|_| failed("the tail cannot be connected to"))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MOST_BYTES))
            .max_frame_size(Some(MOST_BYTES));
        let mut stream =
            WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        let greeted = stream.send(Message::text(GREETING)).await;
        greeted.map_err(|_| failed("the tail ended at once"))?;
        Ok(stream)
    }
}

/// See [`TailSocket`].
struct Socket {
    id: String,
    expires_at: Option<DateTime<Utc>>,
    stream: WebSocketStream<Upgraded>,
    ping_at: Instant,
    unanswered: u32,
}

#[async_trait]
impl TailSocket for Socket {
    fn id(&self) -> &str {
        &self.id
    }

    fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at
    }

    async fn next(&mut self) -> CloudResult<Option<TailEvent>> {
        let broke = |text: &str| CloudError::Transient(own("worker tail", text));
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = tokio::time::sleep_until(self.ping_at) => {
                    self.ping_at = Instant::now() + PING;
                    self.unanswered += 1;
                    if self.unanswered > PATIENCE {
                        return Err(broke("the tail is silent"));
                    }
                    let sent = self.stream.send(Message::Ping(Vec::new().into())).await;
                    sent.map_err(|_| broke("the connection broke"))?;
                    continue;
                }
            };
            self.unanswered = 0;
            let event = match message {
                None | Some(Ok(Message::Close(_))) => return Ok(None),
                Some(Err(_)) => return Err(broke("the connection broke")),
                // The live service sends binary frames, the documentation shows text.
                Some(Ok(Message::Text(text))) => event::read(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => event::read(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }
}
