//! A dashboard that listens, and a browser of sorts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, RequestBuilder, StatusCode};
use talon_core::clock::Clock;
use talon_core::guesses::{ClientAddress, GuessLimit, Guesses};
use talon_core::logs::AgentLogs;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, StoredKey};
use talon_core::turns::{Allowance, Turns};
use talon_core::{AgentId, AgentName, AgentSpec, Owner};
use talon_dashboard::{Dashboard, DashboardParts};
use talon_store::access::{AccessStore, NewToken, Role};
use talon_store::{ApplyOptions, Store};
use talon_store_sqlite::SqliteStore;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::logs::TestLogs;

/// The operator's token, as it is derived from an install key.
pub const OPERATOR: &str = "talon_op_for_tests";

/// The token that is made next.
pub const MADE: &str = "talon_at_made_in_a_browser";

/// Remembers for which agent which keys were handed in, and the hash of each value.
pub struct Writer {
    pub got: Mutex<Vec<(AgentId, String, String)>>,
    store: Arc<SqliteStore>,
}

#[async_trait]
impl SecretWriter for Writer {
    async fn set_keys(
        &self,
        agent: AgentId,
        keys: Vec<(KeyName, SecretValue)>,
    ) -> Result<Vec<StoredKey>, SecretWriteError> {
        let told = self.store.audit_log(1).await.expect("a log");
        assert!(
            told.iter().any(|e| e.action == "set_secret"),
            "who asked is written down before it is done: {told:?}"
        );
        let mut got = self.got.lock().expect("not poisoned");
        got.extend(
            keys.iter()
                .map(|(name, value)| (agent, name.to_string(), value.sha256_hex())),
        );
        Ok(Vec::new())
    }

    async fn unset_key(&self, _: AgentId, _: &KeyName) -> Result<bool, SecretWriteError> {
        Ok(false)
    }

    async fn rotate_auth(&self, _: AgentId) -> Result<(), SecretWriteError> {
        Ok(())
    }
}

/// A clock that stands.
struct Still;

impl Clock for Still {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::default()
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

pub struct World {
    pub store: Arc<SqliteStore>,
    pub dashboard: Dashboard,
    pub writer: Arc<Writer>,
    pub url: String,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with_https(false).await
    }

    pub async fn with_https(https: bool) -> Self {
        Self::with(https, None, None).await
    }

    /// With a daemon that has lines.
    pub async fn with_logs(logs: Arc<TestLogs>) -> Self {
        Self::with(false, Some(logs), None).await
    }

    /// With a daemon that has lines, where one caller may have so many long answers.
    pub async fn with_places(logs: Arc<TestLogs>, long_answers: usize) -> Self {
        Self::with(false, Some(logs), Some(long_answers)).await
    }

    async fn with(https: bool, logs: Option<Arc<TestLogs>>, places: Option<usize>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("sqlite://{}", folder.path().join("talon.db").display());
        SqliteStore::migrate(&database).await.expect("migrated");
        let store = Arc::new(SqliteStore::open(&database).await.expect("opened"));
        let stop = CancellationToken::new();
        let writer = Arc::new(Writer {
            got: Mutex::default(),
            store: store.clone(),
        });
        let parts = DashboardParts {
            store: store.clone(),
            operator_sha256: SecretValue::new(OPERATOR.to_owned()).sha256_hex(),
            secrets: Some(writer.clone()),
            session_key: [3; 32],
            https,
            gauge: None,
            logs: logs.clone().map(|logs| logs as Arc<dyn AgentLogs>),
            guesses: Arc::new(Guesses::new(GuessLimit::default(), Arc::new(Still))),
            call_ceiling: 1000,
            new_token: Some(Box::new(|| SecretValue::new(MADE.to_owned()))),
            stopping: stop.clone(),
        };
        let dashboard = match places {
            None => Dashboard::new(parts),
            Some(long_answers) => {
                let allowance = Allowance {
                    long_answers,
                    ..Allowance::default()
                };
                let turns = Turns::new(allowance, Arc::new(Still));
                Dashboard::counting(parts, Arc::new(turns))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        // What the server adds to every request.
        let from = ClientAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let (routes, ends) = (
            dashboard.routes().layer(axum::Extension(from)),
            stop.clone(),
        );
        tokio::spawn(async move {
            axum::serve(listener, routes)
                .with_graceful_shutdown(async move { ends.cancelled().await })
                .await
        });
        Self {
            store,
            dashboard,
            writer,
            url,
            stop,
            _folder: folder,
        }
    }

    /// Makes a token and gives it with its id.
    pub async fn token(&self, role: Role, owner: Option<&str>) -> (String, String) {
        let token = format!("talon_at_{role}_{}", owner.unwrap_or("everybody"));
        let new = NewToken {
            label: format!("{role} for tests"),
            role,
            owner: owner.map(|o| Owner(o.to_owned())),
            sha256: SecretValue::new(token.clone()).sha256_hex(),
            expires_in: None,
        };
        let made = self.store.create_token(&new).await.expect("a token");
        (token, made.id)
    }

    pub async fn agent(&self, name: &str, owner: &str) -> AgentId {
        self.agent_with(name, owner, serde_json::json!({})).await
    }

    pub async fn agent_with(&self, name: &str, owner: &str, more: serde_json::Value) -> AgentId {
        let mut spec =
            serde_json::json!({"persona": "p", "instructions": "i", "model": "anthropic/a"});
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        let spec: AgentSpec = serde_json::from_value(spec).expect("a spec");
        let name = AgentName::parse(name).expect("a name");
        self.store
            .apply(
                &name,
                &Owner(owner.to_owned()),
                &spec,
                ApplyOptions::default(),
            )
            .await
            .expect("applied")
            .id
    }

    /// Somebody who is signed in with a new token.
    pub async fn visitor(&self, role: Role, owner: Option<&str>) -> Browser {
        let (token, _) = self.token(role, owner).await;
        let mut browser = Browser::new(&self.url);
        let answer = browser.sign_in(&token).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        browser
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn goes_to(&self) -> &str {
        self.headers
            .get(LOCATION)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }

    pub fn cookie(&self) -> &str {
        self.headers
            .get(SET_COOKIE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }
}

/// Keeps the session's cookie and the forms' token.
pub struct Browser {
    client: Client,
    url: String,
    pub cookie: String,
    pub csrf: String,
}

impl Browser {
    pub fn new(url: &str) -> Self {
        // A second test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self {
            client,
            url: url.to_owned(),
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match self.cookie.as_str() {
            "" => request,
            cookie => request.header(COOKIE, cookie),
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.expect("text"),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    /// Sends a form as one of our pages would.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("csrf", self.csrf.as_str())];
        all.extend(fields);
        self.post_bare(path, &all).await
    }

    /// Sends a form as it is.
    pub async fn post_bare(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self
            .request(reqwest::Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        self.send(request).await
    }

    pub async fn sign_in(&mut self, token: &str) -> Answer {
        let answer = self
            .post_bare("/sign-in", &[("token", token), ("back", "/")])
            .await;
        self.keep(&answer).await;
        answer
    }

    /// Takes the cookie of an answer, and the token of the forms behind it.
    pub async fn keep(&mut self, answer: &Answer) {
        self.cookie = answer.cookie().split(';').next().unwrap_or("").to_owned();
        let page = self.get("/cleanup").await.text;
        let mark = "name=\"csrf\" value=\"";
        self.csrf = page
            .split_once(mark)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(csrf, _)| csrf.to_owned())
            .unwrap_or_default();
    }
}
