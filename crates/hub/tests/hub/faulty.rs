//! A store that can be switched off, as a database that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use talon_core::AgentId;
use talon_core::presence::{ApiKey, HostedAgent, HubAgent, Presence};
use talon_core::task::{NewTask, Task, TaskId, TaskState};
use talon_store::network::{
    CredentialStore, HostedConnection, PresenceStore, Registration, Submitted, TaskStore,
};
use talon_store::{StoreError, StoreResult, WholeStore};

pub struct FaultyStore {
    inner: Arc<dyn WholeStore>,
    down: AtomicBool,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn WholeStore>) -> Self {
        let down = AtomicBool::new(false);
        Self { inner, down }
    }

    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn up(&self) -> StoreResult<&dyn WholeStore> {
        if self.down.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("switched off".to_owned()))
        } else {
            Ok(&*self.inner)
        }
    }
}

#[async_trait]
impl TaskStore for FaultyStore {
    async fn submit_task(&self, task: &NewTask, max_open: i64) -> StoreResult<Submitted> {
        self.up()?.submit_task(task, max_open).await
    }
    async fn task(&self, id: &TaskId) -> StoreResult<Option<Task>> {
        self.up()?.task(id).await
    }
    async fn open_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        self.up()?.open_tasks(agent, limit).await
    }
    async fn agents_with_open_tasks(&self) -> StoreResult<Vec<String>> {
        self.up()?.agents_with_open_tasks().await
    }
    async fn task_sent(&self, id: &TaskId) -> StoreResult<bool> {
        self.up()?.task_sent(id).await
    }
    async fn task_progress(&self, id: &TaskId, state: TaskState, text: &str) -> StoreResult<bool> {
        self.up()?.task_progress(id, state, text).await
    }
    async fn end_task(
        &self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
    ) -> StoreResult<bool> {
        self.up()?.end_task(id, agent, state, text).await
    }
    async fn expire_tasks(&self, text: &str) -> StoreResult<Vec<Task>> {
        self.up()?.expire_tasks(text).await
    }
    async fn next_task_deadline(&self) -> StoreResult<Option<Duration>> {
        self.up()?.next_task_deadline().await
    }
    async fn recent_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        self.up()?.recent_tasks(agent, limit).await
    }
    async fn prune_tasks(&self, keep: Duration) -> StoreResult<u64> {
        self.up()?.prune_tasks(keep).await
    }
}

#[async_trait]
impl PresenceStore for FaultyStore {
    async fn agent_connected(&self, id: AgentId, registration: &Registration) -> StoreResult<()> {
        self.up()?.agent_connected(id, registration).await
    }
    async fn agents_seen(&self, seen: &[(AgentId, String)]) -> StoreResult<()> {
        self.up()?.agents_seen(seen).await
    }
    async fn agent_disconnected(&self, id: AgentId, connection_id: &str) -> StoreResult<bool> {
        self.up()?.agent_disconnected(id, connection_id).await
    }
    async fn hub_started(&self, hub: &str) -> StoreResult<u64> {
        self.up()?.hub_started(hub).await
    }
    async fn presence(&self, id: AgentId) -> StoreResult<Option<Presence>> {
        self.up()?.presence(id).await
    }
    async fn online(&self) -> StoreResult<Vec<(String, Presence)>> {
        self.up()?.online().await
    }
}

#[async_trait]
impl CredentialStore for FaultyStore {
    async fn hub_agent(&self, name: &str) -> StoreResult<Option<HubAgent>> {
        self.up()?.hub_agent(name).await
    }
    async fn deleting_agents(&self) -> StoreResult<Vec<String>> {
        self.up()?.deleting_agents().await
    }
    async fn create_api_key(
        &self,
        owner: &str,
        label: &str,
        sha256: &str,
        expires_in: Option<Duration>,
    ) -> StoreResult<ApiKey> {
        self.up()?
            .create_api_key(owner, label, sha256, expires_in)
            .await
    }
    async fn api_key(&self, sha256: &str) -> StoreResult<Option<ApiKey>> {
        self.up()?.api_key(sha256).await
    }
    async fn api_keys(&self, owner: Option<&str>) -> StoreResult<Vec<ApiKey>> {
        self.up()?.api_keys(owner).await
    }
    async fn revoke_api_key(&self, id: &str) -> StoreResult<bool> {
        self.up()?.revoke_api_key(id).await
    }
    async fn hosted_connected(
        &self,
        name: &str,
        owner: &str,
        public: bool,
        card: Option<&Value>,
        connection: &HostedConnection,
    ) -> StoreResult<Option<HostedAgent>> {
        let store = self.up()?;
        store
            .hosted_connected(name, owner, public, card, connection)
            .await
    }
    async fn hosted_seen(&self, seen: &[(String, String)]) -> StoreResult<()> {
        self.up()?.hosted_seen(seen).await
    }
    async fn hosted_disconnected(&self, name: &str, connection_id: &str) -> StoreResult<bool> {
        self.up()?.hosted_disconnected(name, connection_id).await
    }
    async fn hosted(&self, name: &str) -> StoreResult<Option<HostedAgent>> {
        self.up()?.hosted(name).await
    }
    async fn hosted_agents(&self) -> StoreResult<Vec<HostedAgent>> {
        self.up()?.hosted_agents().await
    }
}
