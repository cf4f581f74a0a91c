//! The WebSocket Hub: agents connect to it, and tasks reach them through it. Speaks the Society AI Hub protocol (JSON-RPC
//! 2.0 in text frames).
//!
//! Guarantees
//! - A task is stored before it is sent, and sent again on every new connection of its agent until it has ended; the first
//!   end stands. Neither a restart of the Hub nor a cut connection loses a task.
//! - One live connection per agent. A managed agent is let in by the SHA-256 of its token, candidates and current alike.
//! - What one peer can cost is bounded: one frame being read (1 MiB, for the moment of reading up to twelve times that in
//!   parsed parts), what waits to be written to it (2 MiB), 32 tasks handed to it (32 KiB each): 4 MiB by the defaults; an
//!   idle one costs about 14 KiB. A slow or hostile peer is dropped and delays nobody else.
//! - Nothing that it logs holds a token, or more of a task's text than its length.
//! - An agent whose deletion was requested gets no task from that moment on. Its open ones ended with the request; whoever
//!   follows them hears it within [`HubConfig::deletions_every`], and so does the agent, whose connection is closed.
//!
//! Assumes: an [`HubStore`](talon_store::network::HubStore), and that no other live process uses the same
//! [`HubConfig::name`]. What comes before a WebSocket is opened is the server's business that carries
//! [`Hub::routes`]: it should time out requests whose headers do not come, and where strangers can reach it something must
//! limit connections by address, since half a minute of 512 connections that never register keeps others from registering.
//!
//! # Several Hubs on one database
//!
//! One Hub serves one installation today. What several would need is kept apart, and partly there: tasks and their ends
//! are in the database and safe against any number of writers (the first end stands, each expired task is told to one);
//! presence names the Hub that holds a connection, and a Hub that starts ends only what its own name held; followers look
//! at the row now and then, so that they hear an end wherever it was written; signs of life and ends of connections count
//! only for an agent's last connection. Missing is everything that one Hub must tell another, and
//! the module `directory` is the place for it:
//! - a task handed in here for an agent that is connected there is stored, but the other Hub does not look for it (its
//!   agent is woken instead, which changes nothing), and a cancellation is not passed on;
//! - pieces of answers reach only followers in the process that holds the connection;
//! - "one live connection per agent" holds in one process; between two, the later registration is the one that counts,
//!   and nobody ends the other;
//! - limits (rates, connections, API keys traded per second) are counted by each for itself. All must share the signing key.

mod auth;
mod config;
mod connection;
mod deadline;
mod delegation;
mod directory;
mod dispatch;
mod end;
mod fields;
mod frame;
mod leaving;
mod outbox;
mod presence;
mod rate;
mod register;
mod search;
mod server;
mod session;
mod shared;
mod stream;
mod waking;
mod window;

use std::sync::Arc;
use std::time::Duration;

use talon_core::clock::{Clock, Random};
use talon_core::deliver::Waker;
use talon_core::search::AgentSearch;
use talon_store::StoreResult;
use talon_store::network::HubStore;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use auth::{API_KEY_PREFIX, SigningKey};
pub use config::{HubConfig, RateLimit};

use crate::deadline::Deadlines;
use crate::directory::Directory;
use crate::shared::Shared;
use crate::stream::Streams;
use crate::waking::Waking;

/// What a Hub is made of.
pub struct HubParts {
    /// The database.
    pub store: Arc<dyn HubStore>,
    /// Signs the tokens that are traded for API keys.
    pub key: SigningKey,
    /// Answers `agent.search`; without it, agents are told that there is no search.
    pub search: Option<Arc<dyn AgentSearch>>,
    /// Wakes sleeping agents; without it, tasks wait until their agent comes.
    pub waker: Option<Arc<dyn Waker>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

/// What is going on, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubStats {
    /// Open connections, registered or not.
    pub connections: usize,
    /// Registered ones.
    pub registered: usize,
    /// Followers of tasks.
    pub followers: usize,
}

/// A running Hub. Clones are handles to the same one; see [`Deliver`](talon_core::deliver::Deliver) for its tasks.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl Hub {
    /// Starts a Hub: what an earlier process of its name held is gone, and agents that owe answers but do not come back
    /// are woken. Must be called within a tokio runtime.
    pub async fn start(parts: HubParts, config: HubConfig) -> StoreResult<Self> {
        parts.store.hub_started(&config.name).await?;
        let stopping = CancellationToken::new();
        let shared = Arc::new(Shared {
            directory: Directory::default(),
            streams: Arc::new(Streams::new(config.max_following, stopping.clone())),
            waking: Waking::new(config.wakes_at_once),
            deadlines: Deadlines::default(),
            stopping,
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            unregistered: Arc::new(Semaphore::new(config.max_unregistered)),
            store: parts.store,
            key: parts.key,
            search: parts.search,
            waker: parts.waker,
            clock: parts.clock,
            random: parts.random,
            config,
        });
        for agent in shared.store.agents_with_open_tasks().await? {
            shared.waking.later(&shared, &agent);
        }
        shared.spawn(presence::store_signs_of_life(shared.clone()));
        shared.spawn(deadline::watch(shared.clone()));
        shared.spawn(leaving::watch(shared.clone()));
        Ok(Self { shared })
    }

    /// `/ws/agents` and `/auth/agent-token`, to be merged into a server.
    pub fn routes(&self) -> axum::Router {
        server::routes(self.shared.clone())
    }

    /// What is going on.
    pub fn stats(&self) -> HubStats {
        let config = &self.shared.config;
        let free = self.shared.connections.available_permits();
        HubStats {
            connections: config.max_connections.saturating_sub(free),
            registered: self.shared.directory.count(),
            followers: self.shared.streams.count(),
        }
    }

    /// Stops: takes no more connections and tasks, closes every connection with 1012 (the agents come back), ends every
    /// stream. Returns when all is done, or after `patience`.
    pub async fn shutdown(&self, patience: Duration) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(patience, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not close in time");
        }
    }
}
