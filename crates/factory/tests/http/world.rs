//! A Factory on a database of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_core::mutation::Mutation;
use talon_core::search::{AgentSearch, Asker, FoundAgent, FoundSkill, SearchError};
use talon_core::secret::SecretValue;
use talon_core::snapshot::AuthTokenState;
use talon_core::{AgentId, AgentName, Owner, TryId};
use talon_factory::{FactoryConfig, FactoryParts, OperatorToken};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_secrets::InstallKey;
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, Store};
use talon_store_sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

use crate::logs::TestLogs;
use crate::secrets::TestWriter;

/// A Router that finds `writer` for everything but the word "nothing".
struct OneFind;

#[async_trait]
impl AgentSearch for OneFind {
    async fn search(
        &self,
        _: &Asker,
        query: &str,
        _: usize,
    ) -> Result<Vec<FoundAgent>, SearchError> {
        if query == "nothing" {
            return Ok(Vec::new());
        }
        Ok(vec![FoundAgent {
            name: "writer".to_owned(),
            description: "Writes".to_owned(),
            score: 0.5,
            best_skill_id: Some("write".to_owned()),
            skills: vec![FoundSkill {
                id: "write".to_owned(),
                name: "Write".to_owned(),
                description: "Writes".to_owned(),
            }],
        }])
    }

    async fn is_visible(&self, _: &Asker, _: &str) -> Result<bool, SearchError> {
        Ok(true)
    }
}

pub struct World {
    pub store: Arc<SqliteStore>,
    pub writer: Arc<TestWriter>,
    pub logs: Arc<TestLogs>,
    pub address: String,
    pub operator: String,
    client: reqwest::Client,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(FactoryConfig::default()).await
    }

    pub async fn with(config: FactoryConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("talon.db");
        let url = file.to_str().expect("a path").to_owned();
        SqliteStore::migrate(&url).await.expect("a schema");
        let store = Arc::new(SqliteStore::open(&url).await.expect("a store"));
        let clock = Arc::new(SystemClock::default());
        let stop = CancellationToken::new();
        let writer = Arc::new(TestWriter::default());
        let logs = Arc::new(TestLogs::default());
        let hub_parts = HubParts {
            store: store.clone(),
            key: SigningKey::new([9; 32]),
            search: Some(Arc::new(OneFind)),
            waker: None,
            clock: clock.clone(),
            random: Arc::new(OsRandom),
        };
        let hub = Hub::start(hub_parts, HubConfig::default())
            .await
            .expect("a Hub");
        let key = InstallKey::from_hex(&"ab".repeat(32)).expect("a key");
        let operator: SecretValue = key.operator_token();
        let parts = FactoryParts {
            store: store.clone(),
            deliver: Some(Arc::new(hub.clone())),
            hub: Some(hub),
            search: Some(Arc::new(OneFind)),
            secrets: Some(writer.clone()),
            logs: Some(logs.clone()),
            callbacks: Some(Arc::new(key)),
            clock,
            random: Arc::new(OsRandom),
            operator: OperatorToken::of(&operator),
            stopping: stop.clone(),
        };
        let router = talon_factory::routes(parts, config.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let stopping = stop.clone();
        let server =
            tokio::spawn(
                async move { talon_factory::serve(listener, router, &config, stopping).await },
            );
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            store,
            writer,
            logs,
            address,
            operator: operator.expose().to_owned(),
            client: reqwest::Client::builder().build().expect("a client"),
            stop,
            server,
            _directory: directory,
        }
    }

    /// A request of the operator.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.operator)
    }

    /// A request of nobody.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
            .timeout(Duration::from_secs(60))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.ask(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        read(self.ask(Method::POST, path).json(body)).await
    }

    /// A managed agent whose token at the Hub is `{name}-token`.
    pub async fn agent(&self, name: &str, owner: &str) -> AgentId {
        let (parsed, owner) = (
            AgentName::parse(name).expect("a name"),
            Owner(owner.to_owned()),
        );
        let store: &dyn Store = &*self.store;
        let options = ApplyOptions::default();
        let applied = store
            .apply(&parsed, &owner, &spec(), options)
            .await
            .expect("applied");
        let lease = Duration::from_secs(600);
        let claims = store.claim_due("test", lease, 100).await.expect("claims");
        let claim = claims
            .into_iter()
            .find(|c| c.agent_id == applied.id)
            .expect("due");
        let try_id = TryId::new(1, rand::random());
        let sha256 = SecretValue::new(format!("{name}-token")).sha256_hex();
        let candidate = Mutation::AuthTokenCandidate {
            try_id: try_id.clone(),
            sha256,
        };
        let state = Mutation::AuthTokenState {
            try_id,
            state: AuthTokenState::Current,
        };
        store
            .commit(&claim, &[candidate, state])
            .await
            .expect("committed");
        applied.id
    }

    /// Stops the server, and returns when it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.server.await.expect("ended in good order");
    }
}

/// Sends a request: the status and the JSON of the answer (null if it is none).
pub async fn read(request: RequestBuilder) -> (StatusCode, Value) {
    let response: Response = request.send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or_default())
}
