//! What every handler works with.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::AgentId;
use talon_core::callback::CallbackSecrets;
use talon_core::clock::{Clock, Random};
use talon_core::deliver::Deliver;
use talon_core::guesses::Guesses;
use talon_core::logs::AgentLogs;
use talon_core::search::AgentSearch;
use talon_core::secret_writer::{SecretWriter, ValueStored};
use talon_core::turns::{Place, Turns};
use talon_hub::Hub;
use talon_router::TaskRouter;
use talon_store::WholeStore;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use talon_store::access::ApiToken;

use crate::agents::{Feed, SeenCallbacks};
use crate::auth::{Caller, OperatorToken};
use crate::config::FactoryConfig;
use crate::http::{Answer, Kind, Problem};
use crate::metrics::Metrics;
use crate::rate::{Uses, exceeded, too_many};

/// What a Factory is made of.
pub struct FactoryParts {
    /// The database.
    pub store: Arc<dyn WholeStore>,
    /// The Hub whose two addresses are served as well.
    pub hub: Option<Hub>,
    /// Finds agents by what is needed; without it, search is answered 501.
    pub search: Option<Arc<dyn AgentSearch>>,
    /// Takes tasks; without it, tasks are answered 501.
    pub deliver: Option<Arc<dyn Deliver>>,
    /// Hands keys through to Workers; without it, keys are answered 501.
    pub secrets: Option<Arc<dyn SecretWriter>>,
    /// The lines of agents; without it, they are answered 501.
    pub logs: Option<Arc<dyn AgentLogs>>,
    /// What deployment callbacks are signed with; without it, they are answered 501.
    pub callbacks: Option<Arc<dyn CallbackSecrets>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Lets in whoever can read the install key.
    pub operator: OperatorToken,
    /// Ends every stream when the server stops.
    pub stopping: CancellationToken,
}

/// Shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    parts: FactoryParts,
    config: FactoryConfig,
    metrics: Metrics,
    feed: Feed,
    turns: Arc<Turns>,
    uses: Uses,
    log_places: Arc<Semaphore>,
    callbacks_seen: SeenCallbacks,
    guesses: Arc<Guesses>,
    tasks: Option<TaskRouter>,
}

impl App {
    pub fn new(
        parts: FactoryParts,
        config: FactoryConfig,
        turns: Arc<Turns>,
        guesses: Arc<Guesses>,
    ) -> Self {
        Self(Arc::new(Shared {
            turns,
            metrics: Metrics::default(),
            feed: Feed::default(),
            uses: Uses::default(),
            callbacks_seen: SeenCallbacks::default(),
            log_places: Arc::new(Semaphore::new(config.max_log_streams)),
            guesses,
            tasks: match (&parts.search, &parts.deliver) {
                (Some(search), Some(deliver)) => {
                    Some(TaskRouter::new(search.clone(), deliver.clone()))
                }
                _ => None,
            },
            config,
            parts,
        }))
    }

    pub fn store(&self) -> &Arc<dyn WholeStore> {
        &self.0.parts.store
    }

    pub fn hub(&self) -> Option<&Hub> {
        self.0.parts.hub.as_ref()
    }

    pub fn search(&self) -> Option<&Arc<dyn AgentSearch>> {
        self.0.parts.search.as_ref()
    }

    pub fn deliver(&self) -> Option<&Arc<dyn Deliver>> {
        self.0.parts.deliver.as_ref()
    }

    /// Gives tasks by name or by what is needed; `None`: there is no search, or no Hub.
    pub fn tasks(&self) -> Option<&TaskRouter> {
        self.0.tasks.as_ref()
    }

    pub fn random(&self) -> &dyn Random {
        &*self.0.parts.random
    }

    pub fn secrets(&self) -> Option<&Arc<dyn SecretWriter>> {
        self.0.parts.secrets.as_ref()
    }

    pub fn logs(&self) -> Option<&Arc<dyn AgentLogs>> {
        self.0.parts.logs.as_ref()
    }

    /// Places for those who follow lines.
    pub fn log_places(&self) -> Arc<Semaphore> {
        self.0.log_places.clone()
    }

    pub fn callbacks(&self) -> Option<&Arc<dyn CallbackSecrets>> {
        self.0.parts.callbacks.as_ref()
    }

    /// The callbacks that came.
    pub fn callbacks_seen(&self) -> &SeenCallbacks {
        &self.0.callbacks_seen
    }

    /// The time of day.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.parts.clock.now()
    }

    pub fn operator(&self) -> &OperatorToken {
        &self.0.parts.operator
    }

    pub fn stopping(&self) -> &CancellationToken {
        &self.0.parts.stopping
    }

    pub fn config(&self) -> &FactoryConfig {
        &self.0.config
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// Wrong tokens, by where they came from.
    pub fn guesses(&self) -> &Guesses {
        &self.0.guesses
    }

    /// The time that limits go by.
    pub fn monotonic(&self) -> Duration {
        self.0.parts.clock.monotonic()
    }

    /// 429 if the caller asks too often.
    pub fn take_turn(&self, caller: &Caller) -> Answer<()> {
        let asked = self.0.turns.ask(&caller.counted_as());
        asked.map_err(|wait| exceeded("default", self.config().rate, wait))
    }

    /// The place in which a key of this agent is written; 429 if the caller writes too often, 409 if another request for
    /// the same agent is under way.
    pub fn write_keys(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
    ) -> Answer<Option<Place<AgentId>>> {
        let asked = self.0.turns.write_key(&caller.counted_as());
        asked.map_err(|wait| {
            exceeded("keys", self.config().key_rate, wait).value_stored(ValueStored::No)
        })?;
        let Some(agent) = agent else { return Ok(None) };
        match self.0.turns.keys_of(agent) {
            Some(place) => Ok(Some(place)),
            None => Err(Problem::new(
                Kind::Conflict,
                "another request is at the keys of this agent: try again when it has ended",
            )
            .retry_after(Duration::from_secs(2))
            .value_stored(ValueStored::No)),
        }
    }

    /// A place for an answer that lasts; 429 if the caller has as many as one may.
    pub fn stay(&self, caller: &Caller) -> Answer<Place<String>> {
        let place = self.0.turns.stay(&caller.counted_as());
        place.ok_or_else(|| too_many(self.config().long_answers))
    }

    /// Notes that a token is used: not with every request, and without making this one wait.
    pub fn used(&self, token: &ApiToken) {
        if self.0.uses.is_news(&token.id, self.monotonic()) {
            let (store, id) = (self.store().clone(), token.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.token_used(&id).await {
                    tracing::debug!(%error, "the use of a token was not noted");
                }
            });
        }
    }

    /// A new id: time-ordered, of 26 plain characters.
    pub fn new_id(&self) -> String {
        let mut bytes = [0u8; 16];
        self.0.parts.random.fill(&mut bytes);
        let millis = self.0.parts.clock.now().timestamp_millis();
        let millis = u64::try_from(millis).unwrap_or_default();
        ulid::Ulid::from_parts(millis, u128::from_be_bytes(bytes))
            .to_string()
            .to_ascii_lowercase()
    }
}
