//! Servers on loopback that stand in for Cloudflare: one that answers from a closure and records what it was asked, and
//! one that misbehaves on the wire.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use talon_cloudflare::{Client, ClientConfig, Timeouts, Unlimited};
use talon_core::cloud::{Budget, CallClass, CallCx, RateSignal};
use talon_core::secret::SecretValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "cf-token-that-must-never-be-seen-42";
pub const TOKEN_ID: &str = "ed17574386854bf78a67040be0a770b0";

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn line(&self) -> String {
        match &self.query {
            Some(q) => format!("{} {}?{q}", self.method, self.path),
            None => format!("{} {}", self.method, self.path),
        }
    }
}

/// A server that answers from a closure.
pub struct Recorder {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = seen.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let seen = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().map(str::to_owned),
                    headers: parts.headers,
                    body: to_bytes(body, 64 << 20).await.unwrap().to_vec(),
                };
                log.lock().unwrap().push(seen.clone());
                answer(&seen)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn client(&self) -> Client {
        client(&self.url)
    }
}

pub fn config(base: &Url) -> ClientConfig {
    ClientConfig {
        api_base: base.join("client/v4").unwrap(),
        s3_endpoint: Some(base.join("r2").unwrap()),
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            request: Duration::from_secs(4),
            upload: Duration::from_secs(4),
        },
        ..ClientConfig::new(ACCOUNT, SecretValue::new(TOKEN.into())).unwrap()
    }
}

pub fn client(base: &Url) -> Client {
    Client::new(config(base), Arc::new(Unlimited)).unwrap()
}

pub fn cx() -> CallCx {
    CallCx {
        class: CallClass::UserChange,
        remaining: None,
    }
}

pub fn respond(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("cf-ray", "8f00ba4-FRA")
        .body(body.into())
        .unwrap()
}

pub fn success(result: serde_json::Value) -> Response {
    let body = serde_json::json!({"success": true, "errors": [], "messages": [], "result": result});
    respond(200, "application/json", body.to_string())
}

pub fn failure(status: u16, code: i64, message: &str) -> Response {
    let body = serde_json::json!({
        "success": false, "errors": [{"code": code, "message": message}], "messages": [], "result": null
    });
    respond(status, "application/json", body.to_string())
}

/// How a connection is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Closed as soon as it is made.
    CloseAtOnce,
    /// The request is read to its end, then nothing is said.
    CloseAfterReading,
    /// The request is read, and the answer never comes.
    Silence,
    /// The answer breaks off in the middle of its body.
    BreakOff,
    /// An empty success.
    Fine,
}

/// Treats the n-th connection as the n-th entry says, and later ones as the last; counts them.
pub struct BadWire {
    pub url: Url,
    /// Requests that were read to their end.
    pub read: Arc<Mutex<u32>>,
}

impl BadWire {
    pub async fn start(plan: &'static [Wire]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let read = Arc::new(Mutex::new(0));
        let count = read.clone();
        tokio::spawn(async move {
            let mut n = 0;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let wire = plan[n.min(plan.len() - 1)];
                n += 1;
                tokio::spawn(treat(stream, wire, count.clone()));
            }
        });
        Self { url, read }
    }

    pub fn read(&self) -> u32 {
        *self.read.lock().unwrap()
    }
}

async fn treat(mut stream: TcpStream, wire: Wire, count: Arc<Mutex<u32>>) {
    if wire == Wire::CloseAtOnce {
        return;
    }
    read_request(&mut stream).await;
    *count.lock().unwrap() += 1;
    let body = r#"{"success":true,"errors":[],"messages":[],"result":[]}"#;
    let answer = match wire {
        Wire::CloseAtOnce | Wire::CloseAfterReading => return,
        Wire::Silence => std::future::pending().await,
        Wire::BreakOff => format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{body}"),
        Wire::Fine => format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

async fn read_request(stream: &mut TcpStream) {
    let mut data = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        data.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&data);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0usize);
            if body.len() >= length {
                return;
            }
        }
        if n == 0 {
            return;
        }
    }
}

/// Admits so many calls, then refuses; remembers what it was told.
#[derive(Default)]
pub struct Ledger {
    pub limit: Option<usize>,
    pub admitted: Mutex<Vec<CallClass>>,
    pub told: Mutex<Vec<RateSignal>>,
}

#[async_trait]
impl Budget for Ledger {
    async fn admit(&self, class: CallClass) -> Result<(), Duration> {
        let mut admitted = self.admitted.lock().unwrap();
        if self.limit.is_some_and(|l| admitted.len() >= l) {
            return Err(Duration::from_secs(77));
        }
        admitted.push(class);
        Ok(())
    }

    fn observe(&self, signal: RateSignal) {
        self.told.lock().unwrap().push(signal);
    }
}
