//! Speaks to a running daemon over HTTP.
#![allow(clippy::disallowed_methods)] // Opens the token, for the header that carries it.

mod events;

use std::time::Duration;

pub use events::{Events, Message};
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::KeyName;
use talon_secrets::InstallKey;
use talon_store::StoreError;
use url::Url;

use crate::config::settings;
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::output::safe;
use crate::session::Session;

/// Variable that holds the token, if it is not derived from the install key.
pub const TOKEN: &str = "TALON_TOKEN";
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection may be silent before it is looked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long an answer that needs no agent may take.
const QUICK: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How often something is asked again because the daemon asks to slow down.
const SLOW_DOWNS: u32 = 5;
/// How long that is waited for at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A request.
pub struct Call {
    /// What to do.
    pub method: Method,
    path: Vec<String>,
    /// The query.
    pub query: Vec<(String, String)>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body, if there is one.
    pub body: Option<Value>,
    /// How long the answer may take, if whoever asks has chosen that.
    pub timeout: Option<Duration>,
}

impl Call {
    /// A request of nothing more than this.
    pub fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            timeout: None,
        }
    }
}

/// Why a daemon did not do what was asked, or why nobody knows whether it did.
#[derive(Debug)]
pub struct Refused {
    /// The status of its answer; `None`: there was none, or not one of a daemon's.
    pub status: Option<StatusCode>,
    /// The rule of the contract that stands against it, and what that says.
    pub rule: Option<(String, String)>,
    /// How long it asks to wait.
    retry_after: Option<Duration>,
    /// For people.
    pub failure: Box<Failure>,
}

impl Refused {
    /// Whether the same may succeed in a while.
    pub fn is_passing(&self) -> bool {
        matches!(self.failure.exit, Exit::Unavailable | Exit::TimedOut)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        *refused.failure
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            status: None,
            rule: None,
            retry_after: None,
            failure: Box::new(failure),
        }
    }
}

/// The HTTP API of a daemon.
pub struct Server {
    http: reqwest::Client,
    base: Url,
    token: SecretValue,
}

impl Server {
    /// The daemon that is named (`--server`), else the one of this configuration; with the token of `TALON_TOKEN`, else the
    /// operator's own, which whoever can read the install key derives. That one opens everything, and is given to a daemon
    /// on this machine only.
    pub fn of(session: &Session, named: Option<&str>) -> Result<Self, Failure> {
        let base = base(session, named)?;
        let local = settings::is_local(base.as_str()) == Some(true);
        if !local && base.scheme() != "https" {
            return Err(Failure::usage(
                format!("{} would get the token unencrypted", safe(base.as_str())),
                "use its https:// address, or reach it through a tunnel that ends on this machine",
            ));
        }
        let http = http()?;
        Ok(Self {
            http,
            base,
            token: token(session, local)?,
        })
    }

    /// Asks, and reads the answer; `Null` if it has no body. What is told to slow down was not done, and is
    /// asked again; nothing else is repeated.
    pub async fn call(&self, call: &Call) -> Result<Value, Refused> {
        let mut slowed = 0;
        loop {
            match self.call_once(call).await {
                Err(Refused {
                    status: Some(StatusCode::TOO_MANY_REQUESTS),
                    retry_after,
                    ..
                }) if slowed < SLOW_DOWNS => {
                    slowed += 1;
                    let pause = retry_after.unwrap_or(CONNECT).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
                ended => return ended,
            }
        }
    }

    async fn call_once(&self, call: &Call) -> Result<Value, Refused> {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let mut url = self.url(&path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let timeout = call.timeout.unwrap_or(QUICK);
        let mut request = self.http.request(call.method.clone(), url).timeout(timeout);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = self.ask(request).await.map_err(|mut refused| {
            // Whether it was done before the answer was lost, nobody can tell.
            let is_lost = call.timeout.is_none() && refused.failure.exit == Exit::TimedOut;
            if call.method != Method::GET && is_lost {
                refused.failure.next = "look whether it was done before you do it again".to_owned();
            }
            refused
        })?;
        let body = self.body(answer).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| self.stranger().into())
    }

    /// Asks for a text that is no document.
    pub async fn text(&self, path: &[&str]) -> Result<String, Refused> {
        let request = self.http.request(Method::GET, self.url(path));
        let answer = self.ask(request.timeout(QUICK)).await?;
        let body = self.body(answer).await?;
        String::from_utf8(body).map_err(|_| self.stranger().into())
    }

    /// Asks for a stream of events, which lasts until one side ends it. That it begins is waited for as long as for any
    /// answer.
    pub async fn events(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Events, Refused> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        let request = self.http.request(Method::GET, url);
        let asked = self.ask(request.header(ACCEPT, "text/event-stream"));
        let answer = match tokio::time::timeout(QUICK, asked).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("{} did not answer in time", self.shown()),
                    "try again, or give it longer with --timeout",
                )
                .into());
            }
        };
        Ok(Events::of(self.shown(), answer))
    }

    /// The Hub of this daemon, as an address for WebSockets.
    pub fn hub(&self) -> String {
        let url = self.url(&["ws", "agents"]);
        // The schemes differ by their first letters only.
        url.as_str().replacen("http", "ws", 1)
    }

    /// Asks for a document.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        let mut call = Call::new(Method::GET, path);
        let pairs = query.iter();
        call.query = pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Ok(self.call(&call).await?)
    }

    /// Sends a document and waits for the answer, at most so long.
    pub async fn post(
        &self,
        path: &[&str],
        body: &Value,
        timeout: Duration,
    ) -> Result<Value, Failure> {
        let mut call = Call::new(Method::POST, path);
        call.body = Some(body.clone());
        call.timeout = Some(timeout);
        Ok(self.call(&call).await?)
    }

    /// Hands a key to an agent's Worker.
    pub async fn put_key(
        &self,
        agent: &str,
        key: &KeyName,
        value: &SecretValue,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let request = self.http.request(Method::PUT, self.key_url(agent, key));
        let body = serde_json::json!({ "value": value.expose() });
        let request = request.json(&body).timeout(timeout);
        self.send(request).await.map(drop)
    }

    /// Takes a key from an agent's Worker.
    pub async fn delete_key(
        &self,
        agent: &str,
        key: &KeyName,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let request = self.http.request(Method::DELETE, self.key_url(agent, key));
        self.send(request.timeout(timeout)).await.map(drop)
    }

    /// Gives an agent another token for the Hub.
    pub async fn rotate_auth(&self, agent: &str, timeout: Duration) -> Result<(), Failure> {
        let path = ["api", "v1", "openclaw", "agents", agent, "rotate-auth"];
        let request = self.http.request(Method::POST, self.url(&path));
        self.send(request.timeout(timeout)).await.map(drop)
    }

    fn key_url(&self, agent: &str, key: &KeyName) -> Url {
        let key = key.to_string();
        self.url(&["api", "v1", "openclaw", "agents", agent, "secrets", &key])
    }

    /// Sends a document; the answer comes in events.
    pub async fn post_for_events(
        &self,
        path: &[&str],
        body: &Value,
        timeout: Duration,
    ) -> Result<Events, Failure> {
        let request = self.http.request(Method::POST, self.url(path));
        let request = request.json(body).timeout(timeout);
        let answer = self
            .send(request.header(ACCEPT, "text/event-stream"))
            .await?;
        Ok(Events::of(self.shown(), answer))
    }

    /// Its address, for people.
    pub fn shown(&self) -> String {
        safe(self.base.as_str().trim_end_matches('/'))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An address with a host takes segments; that it is one was checked.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.ask(request).await.map_err(Failure::from)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response, Refused> {
        let request = request.bearer_auth(self.token.expose());
        let answer = request
            .send()
            .await
            .map_err(|e| unreachable(&self.shown(), e))?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(self.refusal(answer).await)
        }
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|e| unreachable(&self.shown(), e))?
        {
            if body.len() + piece.len() > MOST_BYTES {
                return Err(self.stranger());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The failure to be understood by what answers there.
    pub fn stranger(&self) -> Failure {
        stranger(&self.shown())
    }

    /// What a daemon says that refuses.
    async fn refusal(&self, answer: Response) -> Refused {
        let status = answer.status();
        let body = match self.body(answer).await {
            Ok(body) => body,
            Err(failure) => return failure.into(),
        };
        let Ok(problem) = serde_json::from_slice::<Value>(&body) else {
            return self.stranger().into();
        };
        let text = |name: &str| problem.get(name).and_then(Value::as_str);
        let Some(detail) = text("detail").or(text("error")) else {
            return self.stranger().into();
        };
        let retry_after = problem.get("retry_after_ms").and_then(Value::as_u64);
        let refused = |rule, failure| Refused {
            status: Some(status),
            rule,
            retry_after: retry_after.map(Duration::from_millis),
            failure: Box::new(failure),
        };
        // A rule of the contract says the same whichever way it is met.
        if let Some((code, said)) = detail.split_once(' ').filter(|(code, _)| is_rule(code)) {
            let (code, message) = (safe(code), safe(said));
            let rule = Some((code.clone(), message.clone()));
            return refused(rule, StoreError::Rejected { code, message }.into());
        }
        let mut message = safe(detail);
        let errors = problem.get("errors").and_then(Value::as_array);
        for error in errors.into_iter().flatten() {
            let part = |name: &str| safe(error.get(name).and_then(Value::as_str).unwrap_or(""));
            message.push_str(&format!("\n  {}: {}", part("pointer"), part("detail")));
        }
        if let Some(stored) = problem.get("value_stored") {
            let known = if stored == &Value::Bool(false) {
                "the value is not stored"
            } else {
                "not known whether the value is stored; doing the same again is safe"
            };
            message.push_str(&format!("\n  {known}"));
        }
        let (exit, next) = meaning(status);
        if problem.get("retryable") == Some(&Value::Bool(true)) {
            let failure = Failure::new(Exit::Unavailable, message, "try again in a moment");
            return refused(None, failure);
        }
        refused(None, Failure::new(exit, message, next))
    }
}

fn unreachable(server: &str, error: reqwest::Error) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        return Failure::new(
            Exit::TimedOut,
            format!("{server} did not answer in time"),
            "try again, or give it longer with --timeout",
        );
    }
    let why = if error.is_connect() {
        "nothing listens there, or it cannot be reached".to_owned()
    } else {
        safe(&error.without_url().to_string())
    };
    Failure::new(
        Exit::Unavailable,
        format!("no daemon answers at {server}: {why}"),
        "start one (talon run, talon dev), or name where one listens with --server or TALON_SERVER (talon dev prints it); \
         --database-url goes to the database itself",
    )
}

fn stranger(server: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("what answers at {server} is not talon"),
        "name the daemon's own address with --server or TALON_SERVER",
    )
}

/// Whether a word is the code of a rule of the contract.
fn is_rule(word: &str) -> bool {
    talon_store::codes::message(word).is_some()
}

fn http() -> Result<reqwest::Client, Failure> {
    // A second installation is refused, which is as good: the first one stays.
    let _already = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("talon/", env!("CARGO_PKG_VERSION")))
        // A redirect would carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        // A stream whose other end vanished ends.
        .tcp_keepalive(KEEP_ALIVE)
        .build()
        .map_err(|e| {
            Failure::new(
                Exit::Failure,
                format!("no HTTP client: {}", e.without_url()),
                "this is a defect of talon",
            )
        })
}

/// Whether something that takes WebSockets is at this address (`ws://…`, `wss://…`), seen from here. `Err` says what is
/// there instead.
pub async fn look_for_hub(address: &str) -> Result<(), String> {
    // The schemes differ by their first two letters only.
    let url = address.replacen("ws", "http", 1);
    let client = http().map_err(|failure| failure.message)?;
    let answer = client.get(&url).timeout(QUICK).send().await;
    match answer.map(|answer| answer.status()) {
        // A Hub refuses a request that does not ask for a WebSocket.
        Ok(StatusCode::BAD_REQUEST | StatusCode::UPGRADE_REQUIRED) => Ok(()),
        Ok(status) => Err(format!(
            "what answers there is no Hub (HTTP {})",
            status.as_u16()
        )),
        Err(error) if error.is_connect() || error.is_timeout() => {
            Err("nothing answers there".to_owned())
        }
        Err(error) => Err(safe(&error.without_url().to_string())),
    }
}

/// What a status means for a command, and what to do about it.
fn meaning(status: StatusCode) -> (Exit, &'static str) {
    match status {
        StatusCode::UNAUTHORIZED => (
            Exit::NotAllowed,
            "set TALON_TOKEN to a token of this daemon, or run the command where its install key can be read (installKeyFile, \
             TALON_INSTALL_KEY_FILE, or beside the database that TALON_DATABASE_URL names)",
        ),
        StatusCode::FORBIDDEN => (
            Exit::NotAllowed,
            "use a token of a role that may (TALON_TOKEN)",
        ),
        StatusCode::NOT_FOUND => (
            Exit::NotFound,
            "talon get shows the agents there are, talon agents online those that are connected",
        ),
        StatusCode::BAD_REQUEST
        | StatusCode::CONFLICT
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => {
            (Exit::Rejected, "correct what is named above and try again")
        }
        StatusCode::NOT_IMPLEMENTED => (
            Exit::Failure,
            "ask the daemon that is the Hub (hub.embedded), with --server or TALON_SERVER",
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            (Exit::Unavailable, "try again in a moment")
        }
        status if status.is_server_error() => (
            Exit::Failure,
            "the daemon's log says more (TALON_LOG=debug); talon doctor looks at what it depends on",
        ),
        _ => (
            Exit::Failure,
            "check --server: this address does not answer as talon does",
        ),
    }
}

/// Where the daemon is.
fn base(session: &Session, named: Option<&str>) -> Result<Url, Failure> {
    let listen = settings::reachable(session.config.settings.listen);
    let text = named.map_or_else(|| format!("http://{listen}"), str::to_owned);
    Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .ok_or_else(|| {
            Failure::usage(
                "the server's address cannot be read",
                "write http://127.0.0.1:8790 or https://talon.example.com with --server or TALON_SERVER; a token goes into TALON_TOKEN",
            )
        })
}

fn token(session: &Session, local: bool) -> Result<SecretValue, Failure> {
    if let Some(token) = std::env::var(TOKEN).ok().filter(|t| !t.is_empty()) {
        return Ok(SecretValue::new(token));
    }
    if !local {
        return Err(Failure::new(
            Exit::NotAllowed,
            "no token to speak to a daemon on another machine with",
            "set TALON_TOKEN; talon token create makes one where that daemon runs",
        ));
    }
    let file = install_key::path(&session.config, &session.database()?);
    let key = InstallKey::load(&file).map_err(|error| {
        Failure::new(
            Exit::NotAllowed,
            format!("no token to speak to the daemon with: {error}"),
            "set TALON_TOKEN, or name the daemon's database (--database-url, TALON_DATABASE_URL; talon dev prints it) or its \
             install key (TALON_INSTALL_KEY_FILE), from which the operator's token is derived",
        )
    })?;
    Ok(key.operator_token())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_code_of_its_kind() {
        for (status, exit) in [
            (401, Exit::NotAllowed),
            (403, Exit::NotAllowed),
            (404, Exit::NotFound),
            (409, Exit::Rejected),
            (422, Exit::Rejected),
            (429, Exit::Unavailable),
            (500, Exit::Failure),
            (501, Exit::Failure),
            (503, Exit::Unavailable),
            (302, Exit::Failure),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(meaning(status).0, exit, "{status}");
        }
    }
}
