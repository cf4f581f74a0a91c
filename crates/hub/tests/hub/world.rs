//! What stays when a Hub goes: the database, the time, the agents' tokens. And Hubs on it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use talon_core::clock::{Clock, Random};
use talon_core::deliver::{Deliver, TaskStream, TaskUpdate, WakeError, Waker};
use talon_core::mutation::Mutation;
use talon_core::search::{AgentSearch, Asker, FoundAgent, FoundSkill, SearchError};
use talon_core::snapshot::AuthTokenState;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_core::{AgentId, AgentName, Owner, TryId};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, Claim, MemoryStore, WholeStore};

use crate::client::{Client, SOON};
use crate::faulty::FaultyStore;

/// Real time, moved by hand on top.
#[derive(Default)]
pub struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

pub struct Dice;

impl Random for Dice {
    fn fill(&self, buffer: &mut [u8]) {
        rand::Rng::fill(&mut rand::rng(), buffer);
    }
}

/// Every agent that was to be woken, in order.
#[derive(Default)]
pub struct Calls(pub Mutex<Vec<String>>);

#[async_trait]
impl Waker for Calls {
    async fn wake(&self, agent: &str, _: Duration) -> Result<(), WakeError> {
        let mut calls = self.0.lock().unwrap();
        calls.push(agent.to_owned());
        match calls.len() {
            1 => Err(WakeError::Unreachable("not yet".to_owned())),
            _ => Ok(()),
        }
    }
}

/// A Router that finds the same agent for everybody.
pub struct OneFind;

#[async_trait]
impl AgentSearch for OneFind {
    async fn search(
        &self,
        asker: &Asker,
        query: &str,
        limit: usize,
    ) -> Result<Vec<FoundAgent>, SearchError> {
        match query {
            "down" => return Err(SearchError::Unavailable("canary-internal".to_owned())),
            "slow" => tokio::time::sleep(SOON * 2).await,
            _ => {}
        }
        Ok(vec![FoundAgent {
            name: "writer".to_owned(),
            description: format!(
                "for {} of {}: {query}",
                asker.agent.as_deref().unwrap_or(""),
                asker.owner
            ),
            score: 0.5,
            best_skill_id: Some(limit.to_string()),
            skills: vec![FoundSkill {
                id: limit.to_string(),
                name: "Write".to_owned(),
                description: "Writes".to_owned(),
            }],
        }])
    }

    async fn is_visible(&self, _: &Asker, agent: &str) -> Result<bool, SearchError> {
        Ok(agent == "public")
    }
}

pub struct World {
    pub store: Arc<dyn WholeStore>,
    pub faulty: Arc<FaultyStore>,
    pub clock: Arc<HandClock>,
    pub calls: Arc<Calls>,
    tries: AtomicU64,
    claims: Mutex<HashMap<AgentId, Claim>>,
}

impl World {
    /// On the store in memory, whose time [`World::later`] moves.
    pub fn new() -> Self {
        let clock = Arc::new(HandClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self::on(store, clock)
    }

    /// On any store.
    pub fn on(store: Arc<dyn WholeStore>, clock: Arc<HandClock>) -> Self {
        log();
        Self {
            faulty: Arc::new(FaultyStore::new(store.clone())),
            store,
            clock,
            calls: Arc::default(),
            tries: AtomicU64::new(1),
            claims: Mutex::default(),
        }
    }

    pub fn later(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A managed agent whose token is `{name}-token`.
    pub async fn agent(&self, name: &str, owner: &str) -> AgentId {
        let options = ApplyOptions::default();
        let (parsed, owner) = (AgentName::parse(name).unwrap(), Owner(owner.to_owned()));
        let applied = self
            .store
            .apply(&parsed, &owner, &spec(), options)
            .await
            .unwrap();
        let claims = self.store.claim_due("test", SOON * 100, 100).await.unwrap();
        for claim in claims {
            self.claims.lock().unwrap().insert(claim.agent_id, claim);
        }
        self.token(
            applied.id,
            &format!("{name}-token"),
            AuthTokenState::Current,
        )
        .await;
        applied.id
    }

    /// One more token of an agent.
    pub async fn token(&self, id: AgentId, token: &str, state: AuthTokenState) {
        let try_id = TryId::new(self.tries.fetch_add(1, Ordering::Relaxed), 0);
        let claim = self.claims.lock().unwrap()[&id].clone();
        let candidate = Mutation::AuthTokenCandidate {
            try_id: try_id.clone(),
            sha256: sha256(token),
        };
        let state = Mutation::AuthTokenState { try_id, state };
        self.store
            .commit(&claim, &[candidate, state])
            .await
            .unwrap();
    }

    pub async fn delete(&self, name: &str) {
        let name = AgentName::parse(name).unwrap();
        self.store.request_deletion(&name, false).await.unwrap();
    }

    /// An API key of an owner: the key and its id.
    pub async fn api_key(&self, owner: &str) -> (String, String) {
        let api_key = format!("sai_{owner}-{}", self.tries.fetch_add(1, Ordering::Relaxed));
        let key = self
            .store
            .create_api_key(owner, "test", &sha256(&api_key), None)
            .await;
        (api_key, key.unwrap().id)
    }

    pub async fn hub(&self, config: HubConfig) -> TestHub {
        let parts = HubParts {
            store: self.faulty.clone(),
            key: SigningKey::new([9; 32]),
            search: Some(Arc::new(OneFind)),
            waker: Some(self.calls.clone()),
            clock: self.clock.clone(),
            random: Arc::new(Dice),
        };
        let hub = Hub::start(parts, config).await.expect("a Hub");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let routes = hub.routes();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        TestHub {
            url: format!("ws://{address}/ws/agents"),
            address,
            hub,
            server,
        }
    }
}

pub fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Short times, so that tests wait little; none is shorter than a busy machine may take for a frame.
pub fn config() -> HubConfig {
    let ms = Duration::from_millis;
    HubConfig {
        seen_every: ms(100),
        recheck: ms(50),
        deletions_every: ms(50),
        probe_timeout: ms(1_000),
        wake_grace: ms(100),
        wake_backoff: ms(50),
        follow_recheck: ms(500),
        ..HubConfig::default()
    }
}

pub struct TestHub {
    pub url: String,
    pub address: String,
    pub hub: Hub,
    server: tokio::task::JoinHandle<()>,
}

impl TestHub {
    pub async fn client(&self) -> Client {
        Client::connect(&self.url).await
    }

    /// A managed agent, registered.
    pub async fn agent(&self, name: &str) -> Client {
        Client::registered(&self.url, name, &format!("{name}-token")).await
    }

    pub async fn deliver(&self, task: NewTask) -> Box<dyn TaskStream> {
        self.hub.deliver(task).await.expect("taken")
    }

    /// Waits until the agent is connected, or not.
    pub async fn online(&self, name: &str, online: bool) {
        until("presence in the directory", || async {
            self.hub.is_online(name).await.unwrap() == online
        })
        .await;
    }

    /// Stops it, politely.
    pub async fn stop(self) {
        self.hub.shutdown(SOON).await;
        self.server.abort();
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn task(id: &str, agent: &str) -> NewTask {
    NewTask {
        id: TaskId::parse(id).unwrap(),
        agent: agent.to_owned(),
        session: TaskId::parse("session").unwrap(),
        text: format!("text of {id}"),
        metadata: serde_json::json!({"skill_id": "s"}),
        asked_by: None,
        deadline_in: Duration::from_secs(600),
    }
}

/// The next update.
pub async fn next(stream: &mut Box<dyn TaskStream>) -> Option<TaskUpdate> {
    tokio::time::timeout(SOON, stream.next())
        .await
        .expect("in time")
}

/// The end; pieces are skipped.
pub async fn end(stream: &mut Box<dyn TaskStream>) -> (TaskState, String) {
    loop {
        match next(stream).await {
            Some(TaskUpdate::Done { state, text }) => return (state, text),
            Some(TaskUpdate::Status { .. }) => {}
            None => panic!("no end"),
        }
    }
}

/// Waits until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !is_so().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Everything that was logged by any test of this process, at every level.
static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Arc<Mutex<Vec<u8>>> {
    LOG.get_or_init(|| {
        let log = Arc::<Mutex<Vec<u8>>>::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || LogWriter(writer.clone()))
            .init();
        log
    })
}

/// What has been logged so far.
pub fn logged() -> String {
    String::from_utf8_lossy(&log().lock().unwrap()).into_owned()
}
