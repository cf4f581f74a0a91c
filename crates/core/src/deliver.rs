//! How a task reaches an agent, and how a sleeping agent is woken: the traits between Router, Hub and controller.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::id::TryId;
use crate::secret::SecretValue;
use crate::task::{NewTask, Task, TaskId, TaskState};

/// What comes back while a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskUpdate {
    /// A piece of the answer, or a change of state without an end.
    Status {
        /// Where it stands.
        state: TaskState,
        /// The piece of text, possibly empty.
        text: String,
    },
    /// It ended; nothing follows.
    Done {
        /// A final state.
        state: TaskState,
        /// The whole answer, or why it failed.
        text: String,
    },
}

/// Why a task could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// Nobody of that name.
    #[error("no agent is called {0}")]
    NoSuchAgent(String),
    /// The agent is being deleted.
    #[error("agent {0} is being deleted")]
    Deleting(String),
    /// The id is taken by another task (other agent, session or text).
    #[error("task id {0} is taken by another task")]
    IdTaken(TaskId),
    /// Too many tasks wait for the agent.
    #[error("agent {0} has too many waiting tasks; try again later")]
    Busy(String),
    /// Too long, or not what the protocol allows.
    #[error("{0}")]
    Invalid(String),
    /// The database cannot be reached.
    #[error("temporarily unavailable: {0}")]
    Unavailable(String),
}

/// The updates of one task, in order; ends after [`TaskUpdate::Done`]. Made by the Hub, read by anyone; dropping it does
/// not cancel the task.
#[async_trait]
pub trait TaskStream: Send {
    /// The next update; `None` after the end, or when the Hub stops (the task goes on; ask again by its id).
    async fn next(&mut self) -> Option<TaskUpdate>;
}

/// Takes tasks and sees to it that each is answered once.
#[async_trait]
pub trait Deliver: Send + Sync {
    /// Stores the task and sends it as soon as the agent is connected. Handing in the same task twice is one task: the
    /// second call follows the first. Returns once the task is stored.
    async fn deliver(&self, task: NewTask) -> Result<Box<dyn TaskStream>, DeliverError>;
    /// Asks the agent to stop; the task ends `canceled` whatever the agent says. `false` if it had ended before.
    async fn cancel(&self, id: &TaskId) -> Result<bool, DeliverError>;
    /// A task by id.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>, DeliverError>;
    /// Whether an agent has a registered connection somewhere right now.
    async fn is_online(&self, agent: &str) -> Result<bool, DeliverError>;
}

/// Why an agent was not woken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WakeError {
    /// Its address does not answer (yet): routes take up to a minute to propagate.
    #[error("its Worker does not answer: {0}")]
    Unreachable(String),
    /// The Worker does not accept our control token.
    #[error("its Worker refused the control token")]
    Refused,
    /// It answers with something that no Worker of ours says.
    #[error("its Worker's answer cannot be understood: {0}")]
    Unintelligible(String),
    /// There is no Worker to wake.
    #[error("it has no live Worker")]
    NotDeployed,
}

/// What a Worker says of itself at `GET {worker_url}/status`. Checked for length and characters by whoever reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// The upload that brought what runs (`TALON_TRY`).
    pub try_id: Option<TryId>,
    /// SHA-256 (hex) of the runtime's bundle.
    pub runtime: Option<String>,
    /// Which push of secrets it runs with (`TALON_SECRETS_REV`).
    pub secrets_rev: Option<String>,
    /// For each secret it holds, its fingerprint (`SecretValue::fingerprint`, keyed by the control token), hex.
    pub fingerprints: BTreeMap<String, String>,
}

/// Wakes a managed agent by `POST {worker_url}/wake`. Implemented where the install key is.
#[async_trait]
pub trait Waker: Send + Sync {
    /// Asks once, waits for the answer at most `timeout`. Success means that the Worker heard it, not that it is
    /// connected.
    async fn wake(&self, agent: &str, timeout: Duration) -> Result<(), WakeError>;
}

/// Speaks to an agent's Worker itself, at its own address; no call of Cloudflare's API, so no budget is touched.
#[async_trait]
pub trait WorkerDoor: Send + Sync {
    /// `POST {worker_url}/wake` with the control token as bearer, once.
    async fn wake(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<(), WakeError>;

    /// `GET {worker_url}/status` with the control token as bearer, once. No redirect is followed, and no more is read
    /// than a Worker of ours would say.
    async fn status(
        &self,
        worker_url: &str,
        control: &SecretValue,
        timeout: Duration,
    ) -> Result<WorkerReport, WakeError>;
}
