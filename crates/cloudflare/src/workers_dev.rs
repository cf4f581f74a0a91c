//! Calls to the Workers themselves at their workers.dev addresses. They belong to no API: no budget, no envelope.

mod report;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HOST, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use talon_core::deliver::{WakeError, WorkerDoor, WorkerReport};
use talon_core::secret::SecretValue;
use url::Url;

use crate::config::{ConfigError, Timeouts};
use crate::exposed;
use crate::message;
use crate::transport;

/// The doors of an account's Workers.
pub struct WorkersDev {
    http: Client,
    local: Option<SocketAddr>,
}

impl WorkersDev {
    /// `local`: where a local Cloudflare serves workers.dev over plain HTTP, by the name in `Host`; `None`: the real one.
    pub fn new(local: Option<SocketAddr>) -> Result<Self, ConfigError> {
        let agent = concat!("talon/", env!("CARGO_PKG_VERSION"));
        let http = transport::http_client(Timeouts::default(), agent)?;
        Ok(Self { http, local })
    }

    /// Sends once; gives good answers only.
    async fn knock(
        &self,
        method: Method,
        worker_url: &str,
        path: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<Response, WakeError> {
        let mut url = Url::parse(worker_url).map_err(|_| unreachable("it has no address"))?;
        let host = url
            .host_str()
            .and_then(|h| HeaderValue::from_str(h).ok())
            .ok_or_else(|| unreachable("it has no address"))?;
        if let Some(local) = self.local {
            url = Url::parse(&format!("http://{local}"))
                .map_err(|_| unreachable("the local door has no address"))?;
        }
        url.set_path(path);
        let bearer = exposed::bearer(control).ok_or(WakeError::Refused)?;
        let request = self
            .http
            .request(method, url)
            .header(AUTHORIZATION, bearer)
            .header(HOST, host)
            .timeout(timeout);
        let answer = request.send().await.map_err(lost)?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(WakeError::Refused),
            // Before the route has propagated, and where there is no Worker, Cloudflare itself answers 404.
            status => Err(unreachable(&format!("it answers {status}"))),
        }
    }
}

#[async_trait]
impl WorkerDoor for WorkersDev {
    async fn wake(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(), WakeError> {
        self.knock(Method::POST, worker_url, "/wake", control, timeout)
            .await
            .map(drop)
    }

    async fn status(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<WorkerReport, WakeError> {
        let mut answer = self
            .knock(Method::GET, worker_url, "/status", control, timeout)
            .await?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(lost)? {
            if body.len() + piece.len() > report::MOST_BYTES {
                return Err(WakeError::Unintelligible("it is too long".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        report::read(&body).map_err(WakeError::Unintelligible)
    }
}

fn unreachable(why: &str) -> WakeError {
    WakeError::Unreachable(why.to_owned())
}

fn lost(error: reqwest::Error) -> WakeError {
    if error.is_timeout() {
        return unreachable("no answer in time");
    }
    unreachable(&message::clean(&error.without_url().to_string(), &[]))
}
