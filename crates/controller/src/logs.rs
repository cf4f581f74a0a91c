//! The lines of agents, for whoever shows them.

use std::sync::Arc;

use async_trait::async_trait;
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, Recent, TailError};
use talon_core::tail::TailCloud;

use crate::shared::Shared;
use crate::tails::{Tails, unavailable};

/// See [`AgentLogs`].
pub struct DaemonLogs {
    shared: Arc<Shared>,
    tails: Option<Tails>,
}

impl DaemonLogs {
    pub(crate) fn new(shared: Arc<Shared>, cloud: Option<Arc<dyn TailCloud>>) -> Self {
        let tails = cloud.map(|cloud| Tails::new(shared.clone(), cloud));
        Self { shared, tails }
    }
}

#[async_trait]
impl AgentLogs for DaemonLogs {
    fn recent(&self, agent: AgentId, most: usize) -> Recent {
        self.shared.book.recent(agent, most)
    }

    fn follow(&self, agent: AgentId, place: u64) -> Box<dyn LogFeed> {
        self.shared.book.follow(agent, place)
    }

    async fn tail(&self, agent: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
        match &self.tails {
            Some(tails) => tails.follow(agent).await,
            None => Err(unavailable()),
        }
    }
}
