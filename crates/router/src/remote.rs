//! [`RemoteRegistry`]: the registry of a Router elsewhere, over HTTP.
//!
//! Nothing is published about how a Router takes cards, so this is what Talon's own side expects of one, below the base URL,
//! with `Authorization: Bearer {service key}` and JSON bodies:
//!
//! | request | answer |
//! |---|---|
//! | `PUT /v1/agents/{agent id}/card` with `{"epoch": n, "card": {…}}` | 200 or 204; registers or replaces |
//! | `GET /v1/agents/{agent id}/card` | 200 `{"card": {…}}` as it was registered, or 404 |
//! | `DELETE /v1/agents/{agent id}/card?epoch=n` | 200 or 204, or 404 if there was none |
//! | `GET /v1/cards?limit=1000[&after={cursor}]` | 200 `{"items": [{"agent_id", "hash"}, …], "next": cursor or null}` |
//!
//! `epoch` is the fencing number of the pass: a Router keeps the highest one that it has seen of each agent and answers a lower
//! one with 409 and `{"code": "stale_epoch"}`. `hash` is SHA-256, in hex, over the card's JSON in the order of fields in which
//! it was sent, with an empty `version`. An error's body is a problem document; its `detail` is told to people. 400, 404 (of a
//! PUT), 409, 413 and 422 refuse the card as it is; every other failure, a refused service key included, is one that somebody
//! may mend without touching the agent, and is tried again.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, StatusCode, redirect, retry};
use serde::{Deserialize, Serialize};
use talon_core::card::AgentCard;
use talon_core::registry::{Registry, RegistryError};
use talon_core::secret::SecretValue;
use talon_core::{AgentId, Epoch};
use url::Url;

/// Longest answer that is read.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How many cards are asked for at once.
const PAGE: &str = "1000";
/// Longest text of a refusal that is passed on, in characters.
const LONGEST: usize = 300;

/// Where the Router is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// `https://…`, or `http://` to this machine. What stands behind the host is kept as a prefix.
    pub base_url: String,
    /// For a connection.
    pub connect_timeout: Duration,
    /// For a whole request.
    pub timeout: Duration,
}

impl RemoteConfig {
    /// This Router, with 5 s for a connection and 20 s for a request.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
        }
    }
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The address is none that a key may be sent to.
    #[error("the Router's URL {0}")]
    Url(&'static str),
    /// The key cannot stand in a header.
    #[error("the Router's service key is empty or holds characters that no key has")]
    Key,
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Http(String),
}

/// A registry at a Router elsewhere. The service key is kept in memory and shows in no error.
pub struct RemoteRegistry {
    client: reqwest::Client,
    base: Url,
    key: SecretValue,
    timeout: Duration,
}

#[derive(Serialize)]
struct Put<'a> {
    epoch: i64,
    card: &'a AgentCard,
}

#[derive(Deserialize)]
struct Card {
    card: AgentCard,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    agent_id: AgentId,
    hash: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl RemoteRegistry {
    /// A client of the Router at this URL. Sends nothing yet.
    pub fn new(config: &RemoteConfig, key: SecretValue) -> Result<Self, RemoteError> {
        let base = parse_base(&config.base_url)?;
        let usable = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
        if !usable(expose(&key)) {
            return Err(RemoteError::Key);
        }
        // A second installation is refused, which is as good: the first one stays.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("talon/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .build()
            .map_err(|e| RemoteError::Http(e.without_url().to_string()))?;
        Ok(Self {
            client,
            base,
            key,
            timeout: config.timeout,
        })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client
            .request(method, url)
            .bearer_auth(expose(&self.key))
            .timeout(self.timeout)
    }

    fn of_agent(&self, method: Method, agent: AgentId, query: &[(&str, &str)]) -> RequestBuilder {
        self.request(method, &["v1", "agents", &agent.to_string(), "card"], query)
    }
}

/// One of the two places that put the key into a header or look at its letters.
#[allow(clippy::disallowed_methods)]
fn expose(key: &SecretValue) -> &str {
    key.expose()
}

fn parse_base(text: &str) -> Result<Url, RemoteError> {
    let url = Url::parse(text).map_err(|_| RemoteError::Url("is none"))?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return Err(RemoteError::Url(
            "must begin with https://: a key is sent to it",
        ));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(RemoteError::Url("must hold nothing but host and path"));
    }
    Ok(url)
}

async fn send(request: RequestBuilder) -> Result<Answer, RegistryError> {
    let lost = |e: reqwest::Error| {
        let what = if e.is_timeout() {
            "it did not answer in time"
        } else if e.is_connect() {
            "it cannot be reached"
        } else {
            "the connection broke"
        };
        RegistryError::Unavailable(what.to_owned())
    };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(lost)? {
        if body.len() + piece.len() > MOST_BYTES {
            let why = "its answer is too long".to_owned();
            return Err(RegistryError::Unavailable(why));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer { status, body })
}

impl Answer {
    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, RegistryError> {
        serde_json::from_slice(&self.body)
            .map_err(|_| RegistryError::Unavailable("its answer is not what was agreed".to_owned()))
    }

    /// What a failure means.
    fn failure(&self, key: &SecretValue) -> RegistryError {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        let http = self.status.as_u16();
        match http {
            409 if problem.code.as_deref() == Some("stale_epoch") => RegistryError::StaleEpoch,
            400 | 404 | 409 | 413 | 422 => {
                let said = problem.detail.or(problem.title).unwrap_or_default();
                RegistryError::Refused(format!("{http} {}", clean(&said, key)).trim().to_owned())
            }
            401 | 403 => RegistryError::Unavailable(format!("it refused the service key ({http})")),
            _ => RegistryError::Unavailable(format!("it answered {http}")),
        }
    }
}

/// What a stranger's server said, as it may be stored and shown: without the key, on one line, not too long.
fn clean(said: &str, key: &SecretValue) -> String {
    said.replace(expose(key), "[key]")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect()
}

#[async_trait]
impl Registry for RemoteRegistry {
    async fn register(
        &self,
        agent: AgentId,
        epoch: Epoch,
        card: &AgentCard,
    ) -> Result<(), RegistryError> {
        let body = Put {
            epoch: epoch.0,
            card,
        };
        let answer = send(self.of_agent(Method::PUT, agent, &[]).json(&body)).await?;
        match answer.status.as_u16() {
            200 | 204 => Ok(()),
            _ => Err(answer.failure(&self.key)),
        }
    }

    async fn deregister(&self, agent: AgentId, epoch: Epoch) -> Result<bool, RegistryError> {
        let epoch = epoch.0.to_string();
        let request = self.of_agent(Method::DELETE, agent, &[("epoch", &epoch)]);
        let answer = send(request).await?;
        match answer.status.as_u16() {
            200 | 204 => Ok(true),
            404 => Ok(false),
            _ => Err(answer.failure(&self.key)),
        }
    }

    async fn lookup(&self, agent: AgentId) -> Result<Option<AgentCard>, RegistryError> {
        let answer = send(self.of_agent(Method::GET, agent, &[])).await?;
        match answer.status.as_u16() {
            200 => Ok(Some(answer.read::<Card>()?.card)),
            404 => Ok(None),
            _ => Err(answer.failure(&self.key)),
        }
    }

    async fn list(&self) -> Result<Vec<(AgentId, String)>, RegistryError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE)];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let answer = send(self.request(Method::GET, &["v1", "cards"], &query)).await?;
            if answer.status != StatusCode::OK {
                return Err(answer.failure(&self.key));
            }
            let page: Page = answer.read()?;
            let empty = page.items.is_empty();
            all.extend(
                page.items
                    .into_iter()
                    .map(|item| (item.agent_id, item.hash)),
            );
            match page.next {
                // A cursor that leads nowhere would lead there for ever.
                Some(next) if !empty && after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(all),
            }
        }
    }
}
