//! Sending: one request, one answer, within its time and its size. The only place that holds an HTTP client.

use std::error::Error as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::Utc;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, redirect, retry};
use talon_core::cloud::{CloudError, CloudResult};

use crate::config::{ConfigError, Timeouts};
use crate::message::own;
use crate::rate;
use crate::taxonomy::Call;

/// Longest answer that is read.
pub(crate) const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Idle connections are dropped well before Cloudflare or a proxy drops them: a write that meets a connection closed
/// by the other side has an open outcome.
const IDLE: Duration = Duration::from_secs(30);

/// An HTTP answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.http)
    }

    /// Cloudflare's id of the request, for their support.
    pub(crate) fn ray(&self) -> Option<String> {
        let text = self.headers.get("cf-ray")?.to_str().ok()?;
        // 16 hex digits and an airport: a value of that shape is no secret of ours.
        let (id, airport) = text.split_once('-').unwrap_or((text, ""));
        let safe = id.len() <= 16
            && id.bytes().all(|b| b.is_ascii_hexdigit())
            && airport.len() <= 4
            && airport.bytes().all(|b| b.is_ascii_alphanumeric());
        safe.then(|| text.to_owned())
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        rate::retry_after(&self.headers, Utc::now())
    }
}

/// Makes the HTTP client: rustls with ring, no redirects (they would carry the token elsewhere), no proxies from the
/// environment, no retries of its own.
pub(crate) fn http_client(
    timeouts: Timeouts,
    user_agent: &str,
) -> Result<reqwest::Client, ConfigError> {
    made(builder(timeouts, user_agent))
}

/// The same for what becomes a WebSocket: HTTP/1.1 alone.
pub(crate) fn socket_client(
    timeouts: Timeouts,
    user_agent: &str,
) -> Result<reqwest::Client, ConfigError> {
    made(builder(timeouts, user_agent).http1_only())
}

fn builder(timeouts: Timeouts, user_agent: &str) -> reqwest::ClientBuilder {
    // A second installation is refused, which is as good: the first one stays.
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(IDLE)
}

fn made(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ConfigError> {
    builder
        .build()
        .map_err(|e| ConfigError::Http(e.without_url().to_string()))
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: CloudError,
    /// Whether a read is worth another try at once.
    pub(crate) again: bool,
}

/// Sends once. A failure before anything was sent is `Transient`; any later one leaves a write open.
pub(crate) async fn send(
    call: &Call,
    request: RequestBuilder,
    timeout: Duration,
) -> Result<Answer, Lost> {
    let lost = |e: reqwest::Error| lost(call, e);
    let mut response = request.timeout(timeout).send().await.map_err(lost)?;
    let http = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(lost)? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(too_long(call, http));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        http,
        headers,
        body: body.freeze(),
    })
}

fn lost(call: &Call, e: reqwest::Error) -> Lost {
    // The URL of an S3 request carries object keys, and nobody needs any URL in a message.
    let e = e.without_url();
    if e.is_builder() {
        return Lost {
            error: CloudError::Invalid(own(call.name, "the request could not be built")),
            again: false,
        };
    }
    let message = own(call.name, explain(&e));
    let error = if e.is_connect() {
        CloudError::Transient(message)
    } else {
        call.unclear(message)
    };
    Lost { error, again: true }
}

fn explain(e: &reqwest::Error) -> String {
    if e.is_timeout() {
        return "no answer in time".to_owned();
    }
    let what = if e.is_connect() {
        "no connection"
    } else {
        "the connection broke before the answer was complete"
    };
    let mut deepest = e.source();
    while let Some(next) = deepest.and_then(std::error::Error::source) {
        deepest = Some(next);
    }
    match deepest {
        Some(cause) => crate::message::clean(&format!("{what}: {cause}"), &[]),
        None => what.to_owned(),
    }
}

fn too_long(call: &Call, http: u16) -> Lost {
    let mut message = own(call.name, "the answer is longer than 8 MiB");
    message.http = Some(http);
    let error = if call.is_write() {
        CloudError::Ambiguous(message)
    } else {
        CloudError::Invalid(message)
    };
    Lost {
        error,
        again: false,
    }
}

/// Waits before try `n` (counted from 1) of a read: about 0.2 s, then 0.8 s, spread by half so that many agents that
/// failed together do not come back together.
pub(crate) async fn pause_before_retry(n: u32) {
    let base = 200u64 << (2 * n.saturating_sub(1)).min(8);
    let spread = rand::random_range(base / 2..=base + base / 2);
    tokio::time::sleep(Duration::from_millis(spread)).await;
}

/// "No time left", as every write says it that was not sent.
pub(crate) fn no_time<T>(call: &Call) -> CloudResult<T> {
    Err(CloudError::Transient(own(
        call.name,
        "no time left to send it",
    )))
}
