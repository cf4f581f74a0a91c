//! What every part of a Hub holds on to.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use talon_core::clock::{Clock, Random};
use talon_core::deliver::Waker;
use talon_core::presence::{HostedAgent, HubAgent};
use talon_core::search::AgentSearch;
use talon_store::network::HubStore;
use talon_store::{StoreError, StoreResult};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::SigningKey;
use crate::config::HubConfig;
use crate::deadline::Deadlines;
use crate::directory::Directory;
use crate::stream::Streams;
use crate::waking::Waking;

/// First and longest wait between two tries at the database.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The parts of one Hub process.
pub struct Shared {
    /// Times and limits.
    pub config: HubConfig,
    /// The database.
    pub store: Arc<dyn HubStore>,
    /// Signs traded tokens.
    pub key: SigningKey,
    /// Answers `agent.search`.
    pub search: Option<Arc<dyn AgentSearch>>,
    /// Wakes sleeping agents.
    pub waker: Option<Arc<dyn Waker>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Live connections.
    pub directory: Directory,
    /// Who follows which task.
    pub streams: Arc<Streams>,
    /// Agents that are being woken.
    pub waking: Waking,
    /// When the next deadline is.
    pub deadlines: Deadlines,
    /// Cancelled when the Hub stops.
    pub stopping: CancellationToken,
    /// Everything that runs for this Hub.
    pub tasks: TaskTracker,
    /// Where it runs.
    pub runtime: tokio::runtime::Handle,
    /// One permit per open connection.
    pub connections: Arc<Semaphore>,
    /// One permit per connection that has not registered.
    pub unregistered: Arc<Semaphore>,
}

/// Whom a name means.
pub enum Target {
    /// An agent that Talon deploys.
    Managed(HubAgent),
    /// One that somebody runs themselves.
    Hosted(HostedAgent),
}

impl Target {
    /// Whose agent it is.
    pub fn owner(&self) -> &str {
        match self {
            Self::Managed(agent) => &agent.owner,
            Self::Hosted(agent) => &agent.owner,
        }
    }

    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        match self {
            Self::Managed(agent) => agent.deleting,
            Self::Hosted(_) => false,
        }
    }
}

impl Shared {
    /// Runs something for this Hub; it is waited for when the Hub stops.
    pub fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(job, &self.runtime);
    }

    /// Whom a name means, if anybody.
    pub async fn target(&self, name: &str) -> StoreResult<Option<Target>> {
        if let Some(agent) = self.store.hub_agent(name).await? {
            return Ok(Some(Target::Managed(agent)));
        }
        Ok(self.store.hosted(name).await?.map(Target::Hosted))
    }

    /// A random id: 128 bits in hex.
    pub fn new_id(&self) -> String {
        let mut bytes = [0u8; 16];
        self.random.fill(&mut bytes);
        hex::encode(bytes)
    }

    /// The wait with a random tenth more or less, so that many do not act as one.
    pub fn spread(&self, wait: Duration) -> Duration {
        let mut byte = [0u8; 1];
        self.random.fill(&mut byte);
        wait.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
    }

    /// Tries again while the database does not answer, for as long as the Hub has patience and is not stopping.
    pub async fn insist<T, F>(&self, mut attempt: impl FnMut() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let until = Instant::now() + self.config.database_patience;
        let mut wait = RETRY.0;
        loop {
            match attempt().await {
                Err(StoreError::Unavailable(_)) if Instant::now() + wait < until => {
                    tokio::select! {
                        () = tokio::time::sleep(self.spread(wait)) => {}
                        () = self.stopping.cancelled() => return attempt().await,
                    }
                    wait = (wait * 2).min(RETRY.1);
                }
                done => return done,
            }
        }
    }
}
