//! What every handler works with.

use std::sync::Arc;

use talon_core::clock::{Clock, Random};
use talon_core::deliver::Deliver;
use talon_core::search::AgentSearch;
use talon_hub::Hub;
use talon_store::WholeStore;
use tokio_util::sync::CancellationToken;

use crate::auth::OperatorToken;
use crate::config::FactoryConfig;
use crate::metrics::Metrics;

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
}

impl App {
    pub fn new(parts: FactoryParts, config: FactoryConfig) -> Self {
        Self(Arc::new(Shared {
            parts,
            config,
            metrics: Metrics::default(),
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
