//! What the Hub keeps in the database: tasks, who is connected, and who may connect. Apart from [`Store`](crate::Store),
//! so that neither side depends on more than it needs; every store implements both.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::AgentId;
use talon_core::presence::{ApiKey, HostedAgent, HubAgent, Presence};
use talon_core::task::{NewTask, Task, TaskId, TaskState};

use crate::{StoreResult, codes};

/// What became of handing in a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// It is new and stored.
    New(Task),
    /// The same task (agent, session, text) was handed in before; as it stands now.
    Known(Task),
    /// The id is another task's.
    Taken,
    /// The agent has this many open tasks already, which is the limit.
    Full(i64),
    /// The deletion of the agent was requested.
    Deleting,
}

/// What a task says that ended because the deletion of its agent was requested.
pub const AGENT_DELETED: &str = "the agent is being deleted";

/// Tasks. No task is lost, none is answered twice: the first final state stands.
///
/// When the deletion of a managed agent is requested, in whatever way, its open tasks end in the same transaction (`Failed`,
/// [`AGENT_DELETED`]). An archived agent has none open, so that the next one of its name inherits none.
#[async_trait]
pub trait TaskStore: Send + Sync + 'static {
    /// Stores a task unless its id is known, or `max_open` tasks of the agent are open: never more, however many are handed
    /// in at once. None is stored for a managed agent that is being deleted. `Rejected` if its text holds a NUL character,
    /// which not every database can keep.
    async fn submit_task(&self, task: &NewTask, max_open: i64) -> StoreResult<Submitted>;

    /// One task.
    async fn task(&self, id: &TaskId) -> StoreResult<Option<Task>>;

    /// The open tasks of an agent, oldest first.
    async fn open_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>>;

    /// Agents that have open tasks, in name order.
    async fn agents_with_open_tasks(&self) -> StoreResult<Vec<String>>;

    /// Counts one more attempt and stamps `sent_at`, if the task still is open; `false` if it has ended.
    async fn task_sent(&self, id: &TaskId) -> StoreResult<bool>;

    /// Moves an open task to `Working` or `InputRequired`; the text of `InputRequired` is kept. `false` if it has ended
    /// (or there is no such task). Writes nothing if the task stands there already, so that it may be called for every
    /// piece of an answer. `Rejected` for another state.
    async fn task_progress(&self, id: &TaskId, state: TaskState, text: &str) -> StoreResult<bool>;

    /// Ends a task, if it is open: the first end stands. `agent`: only if the task is this agent's. Returns whether this was
    /// the end. `Rejected` for a state that is not final.
    async fn end_task(
        &self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
    ) -> StoreResult<bool>;

    /// Ends (`Failed`, with this text) every open task whose deadline has passed. Returns them as they ended; of several
    /// that call at once, each task is told to one.
    async fn expire_tasks(&self, text: &str) -> StoreResult<Vec<Task>>;

    /// How long until the next deadline of an open task.
    async fn next_task_deadline(&self) -> StoreResult<Option<Duration>>;

    /// The latest tasks of an agent, newest first.
    async fn recent_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>>;

    /// Removes tasks that ended longer ago than `keep`. Returns how many.
    async fn prune_tasks(&self, keep: Duration) -> StoreResult<u64>;
}

/// One registration at the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The Hub's id of the connection.
    pub connection_id: String,
    /// Which Hub process holds it.
    pub hub: String,
    /// SHA-256 (hex) of the token.
    pub token_sha256: String,
    /// What the Worker said of itself.
    pub runtime: Option<String>,
}

/// Who is connected.
#[async_trait]
pub trait PresenceStore: Send + Sync + 'static {
    /// A managed agent registered: this connection is its last one from now on. Makes the agent due, so that the controller
    /// sees it (condition, promotion of the try), and again if a pass is under way, which may have loaded before.
    /// `NotFound` if there is no such agent or it is archived.
    async fn agent_connected(&self, id: AgentId, registration: &Registration) -> StoreResult<()>;

    /// Signs of life, stored in one statement; only for connections that still are the agent's last. Makes nobody due.
    async fn agents_seen(&self, seen: &[(AgentId, String)]) -> StoreResult<()>;

    /// The connection ended; nothing if another has taken its place. Makes the agent due. Returns whether it was the last.
    async fn agent_disconnected(&self, id: AgentId, connection_id: &str) -> StoreResult<bool>;

    /// A Hub process starts: whatever an earlier process of this name held is gone, connections of self-hosted agents
    /// included. Makes the managed ones due. Returns how many connections ended.
    async fn hub_started(&self, hub: &str) -> StoreResult<u64>;

    /// The last connection of an agent.
    async fn presence(&self, id: AgentId) -> StoreResult<Option<Presence>>;

    /// Every live managed agent that is connected, by name.
    async fn online(&self) -> StoreResult<Vec<(String, Presence)>>;
}

/// The connection of a self-hosted agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedConnection {
    /// The Hub's id of the connection.
    pub connection_id: String,
    /// Which Hub process holds it.
    pub hub: String,
}

/// Who may connect.
#[async_trait]
pub trait CredentialStore: Send + Sync + 'static {
    /// A live managed agent by name, with the hashes of the tokens that let it in.
    async fn hub_agent(&self, name: &str) -> StoreResult<Option<HubAgent>>;

    /// Names of the managed agents that are being deleted and not yet archived, in order.
    async fn deleting_agents(&self) -> StoreResult<Vec<String>>;

    /// Stores the hash (SHA-256, hex) of a new API key.
    async fn create_api_key(
        &self,
        owner: &str,
        label: &str,
        sha256: &str,
        expires_in: Option<Duration>,
    ) -> StoreResult<ApiKey>;

    /// The key of this hash, if it is neither revoked nor expired.
    async fn api_key(&self, sha256: &str) -> StoreResult<Option<ApiKey>>;

    /// All keys of an owner (of everybody: `None`), newest first.
    async fn api_keys(&self, owner: Option<&str>) -> StoreResult<Vec<ApiKey>>;

    /// Revokes a key; `false` if there is none of that id or it was revoked before.
    async fn revoke_api_key(&self, id: &str) -> StoreResult<bool>;

    /// Records a registration of a self-hosted agent. Without a card, the one sent before stays; `authentication` is taken
    /// out of it. `None` if the name belongs to another owner or to a live managed agent.
    async fn hosted_connected(
        &self,
        name: &str,
        owner: &str,
        public: bool,
        card: Option<&serde_json::Value>,
        connection: &HostedConnection,
    ) -> StoreResult<Option<HostedAgent>>;

    /// Signs of life (name, connection id), stored in one statement; only for connections that still are the agent's last.
    async fn hosted_seen(&self, seen: &[(String, String)]) -> StoreResult<()>;

    /// Its connection ended; nothing if another has taken its place. Returns whether it was the last.
    async fn hosted_disconnected(&self, name: &str, connection_id: &str) -> StoreResult<bool>;

    /// One self-hosted agent; none while a live managed agent has the name.
    async fn hosted(&self, name: &str) -> StoreResult<Option<HostedAgent>>;

    /// All of them (as [`CredentialStore::hosted`] gives each), by name.
    async fn hosted_agents(&self) -> StoreResult<Vec<HostedAgent>>;
}

/// All that the Hub needs.
pub trait HubStore: TaskStore + PresenceStore + CredentialStore {}
impl<T: TaskStore + PresenceStore + CredentialStore> HubStore for T {}

/// Refuses text that not every database can keep. `what` names it.
pub fn check_text(what: &str, text: &str) -> StoreResult<()> {
    if text.contains('\0') {
        Err(codes::invalid(format!(
            "{what} must not hold a NUL character"
        )))
    } else {
        Ok(())
    }
}

/// What an agent said, as every database can keep it: an answer is never lost for a character.
pub fn keepable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Checks a task before it is stored.
pub fn check_task(task: &NewTask) -> StoreResult<()> {
    check_text("agent", &task.agent)?;
    check_text("text", &task.text)?;
    check_text("asked_by", task.asked_by.as_deref().unwrap_or_default())
}

/// The answer that a task has after progress: what the agent asks back, or none. `Rejected` for a state that is no progress.
pub fn progress_answer(state: TaskState, text: &str) -> StoreResult<Option<Cow<'_, str>>> {
    match state {
        TaskState::Working => Ok(None),
        TaskState::InputRequired => Ok(Some(keepable(text))),
        TaskState::Submitted | TaskState::Completed | TaskState::Failed | TaskState::Canceled => {
            Err(codes::invalid(
                "state: progress is working or input-required",
            ))
        }
    }
}

/// Refuses a state that is no end.
pub fn check_end(state: TaskState) -> StoreResult<()> {
    if state.is_final() {
        Ok(())
    } else {
        Err(codes::invalid(
            "state: a task ends completed, failed or canceled",
        ))
    }
}

/// Whether handing in `new` is handing in `known` again.
pub fn same_task(known: &Task, new: &NewTask) -> bool {
    known.agent == new.agent && known.session == new.session && known.text == new.text
}

/// A card without what never leaves: how its agent proves who it is.
pub fn public_card(card: &serde_json::Value) -> serde_json::Value {
    let mut card = card.clone();
    if let Some(fields) = card.as_object_mut() {
        fields.remove("authentication");
    }
    card
}
