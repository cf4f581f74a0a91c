//! Wakes agents: finds the address and the control token, both derived, and knocks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::cloud::CallClass;
use talon_core::deliver::{WakeError, Waker, WorkerDoor};
use talon_core::name;

use crate::shared::Shared;

/// Wakes the agents of one installation.
pub struct AgentWaker {
    door: Arc<dyn WorkerDoor>,
    shared: Arc<Shared>,
}

impl AgentWaker {
    /// Knocks at this door.
    pub fn new(door: Arc<dyn WorkerDoor>, shared: Arc<Shared>) -> Self {
        Self { door, shared }
    }
}

#[async_trait]
impl Waker for AgentWaker {
    async fn wake(&self, agent: &str, timeout: Duration) -> Result<(), WakeError> {
        let shared = &self.shared;
        let unreachable = |why: String| WakeError::Unreachable(why);
        let snapshot = shared
            .store
            .get(agent, false)
            .await
            .map_err(|e| unreachable(e.to_string()))?
            .ok_or(WakeError::NotDeployed)?;
        let agent = &snapshot.agent;
        if agent.status.first_deployed_at.is_none() || agent.is_deleting() {
            return Err(WakeError::NotDeployed);
        }
        let mut world = shared.base.clone();
        world.subdomain = shared
            .account
            .subdomain(shared.cloud.as_ref(), CallClass::UserChange)
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        // Both derived, never read back from the row: whoever can write there must not choose who gets the token.
        let worker = name::worker_name(&world.install, agent.id, &agent.name);
        let url = world.worker_url(&worker).ok_or(WakeError::NotDeployed)?;
        let control = shared.key.control_token(agent.id);
        self.door.wake(&url, &control, timeout).await
    }
}
