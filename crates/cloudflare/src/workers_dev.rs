//! Calls to the Workers themselves at their workers.dev addresses. They belong to no API: no budget, no envelope.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HOST, HeaderValue};
use reqwest::{Client, StatusCode};
use talon_core::deliver::{WakeError, WorkerDoor};
use talon_core::secret::SecretValue;
use url::Url;

use crate::config::{ConfigError, Timeouts};
use crate::exposed;
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
}

#[async_trait]
impl WorkerDoor for WorkersDev {
    async fn wake(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(), WakeError> {
        let unreachable = |why: &str| WakeError::Unreachable(why.to_owned());
        let mut url = Url::parse(worker_url).map_err(|_| unreachable("it has no address"))?;
        let host = url
            .host_str()
            .and_then(|h| HeaderValue::from_str(h).ok())
            .ok_or_else(|| unreachable("it has no address"))?;
        if let Some(local) = self.local {
            url = Url::parse(&format!("http://{local}"))
                .map_err(|_| unreachable("the local door has no address"))?;
        }
        url.set_path("/wake");
        let bearer = exposed::bearer(control).ok_or(WakeError::Refused)?;
        let request = self.http.post(url).header(AUTHORIZATION, bearer);
        let answer = request
            .header(HOST, host)
            .timeout(timeout)
            .send()
            .await
            .map_err(|e| unreachable(&e.without_url().to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(WakeError::Refused),
            // Before the route has propagated, and where there is no Worker, Cloudflare itself answers 404.
            status => Err(unreachable(&format!("it answers {status}"))),
        }
    }
}
