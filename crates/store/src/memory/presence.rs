//! Who is connected.

use async_trait::async_trait;
use talon_core::AgentId;
use talon_core::presence::Presence;

use super::MemoryStore;
use super::state::{Now, Row, State};
use crate::network::{PresenceStore, Registration, keepable};
use crate::{StoreError, StoreResult};

impl Row {
    /// Makes the agent due now, and again when the pass that may be under way ends.
    fn wake(&mut self, now: Now) {
        self.woken = true;
        self.due(now);
    }

    /// Ends the connection if it is open and as described.
    fn disconnect(&mut self, now: Now, which: impl FnOnce(&Presence) -> bool) -> bool {
        let Some(presence) = self
            .presence
            .as_mut()
            .filter(|p| p.connected)
            .filter(|p| which(p))
        else {
            return false;
        };
        presence.connected = false;
        presence.disconnected_at = Some(now);
        self.wake(now);
        true
    }
}

impl State {
    fn agent_connected(
        &mut self,
        id: AgentId,
        registration: &Registration,
        now: Now,
    ) -> StoreResult<()> {
        let row = self
            .rows
            .get_mut(&id)
            .filter(|row| !row.agent.is_archived())
            .ok_or(StoreError::NotFound)?;
        row.presence = Some(Presence {
            connected: true,
            connection_id: registration.connection_id.clone(),
            hub: registration.hub.clone(),
            token_sha256: registration.token_sha256.clone(),
            runtime: registration
                .runtime
                .as_deref()
                .map(|text| keepable(text).into_owned()),
            connected_at: now,
            last_seen: now,
            disconnected_at: None,
        });
        row.wake(now);
        Ok(())
    }

    fn agents_seen(&mut self, seen: &[(AgentId, String)], now: Now) {
        for (id, connection) in seen {
            if let Some(presence) = self.rows.get_mut(id).and_then(|row| row.presence.as_mut())
                && presence.connected
                && presence.connection_id == *connection
            {
                presence.last_seen = presence.last_seen.max(now);
            }
        }
    }

    fn hub_started(&mut self, hub: &str, now: Now) -> u64 {
        let mut ended = 0;
        for row in self.rows.values_mut() {
            ended += u64::from(row.disconnect(now, |p| p.hub == hub));
        }
        for (hosted, connection) in self.hosted.values_mut() {
            if hosted.connected && connection.hub == hub {
                hosted.connected = false;
                ended += 1;
            }
        }
        ended
    }

    fn online(&self) -> Vec<(String, Presence)> {
        let mut online: Vec<_> = self
            .rows
            .values()
            .filter(|row| !row.agent.is_archived())
            .filter_map(|row| {
                let presence = row.presence.as_ref().filter(|p| p.connected)?;
                Some((row.agent.name.to_string(), presence.clone()))
            })
            .collect();
        online.sort_by(|a, b| a.0.cmp(&b.0));
        online
    }
}

#[async_trait]
impl PresenceStore for MemoryStore {
    async fn agent_connected(&self, id: AgentId, registration: &Registration) -> StoreResult<()> {
        self.wake(|s, now| s.agent_connected(id, registration, now))
    }

    async fn agents_seen(&self, seen: &[(AgentId, String)]) -> StoreResult<()> {
        self.write(|s, now| s.agents_seen(seen, now));
        Ok(())
    }

    async fn agent_disconnected(&self, id: AgentId, connection_id: &str) -> StoreResult<bool> {
        Ok(self.wake(|s, now| {
            s.rows
                .get_mut(&id)
                .is_some_and(|row| row.disconnect(now, |p| p.connection_id == connection_id))
        }))
    }

    async fn hub_started(&self, hub: &str) -> StoreResult<u64> {
        Ok(self.wake(|s, now| s.hub_started(hub, now)))
    }

    async fn presence(&self, id: AgentId) -> StoreResult<Option<Presence>> {
        Ok(self.read(|s, _| s.rows.get(&id).and_then(|row| row.presence.clone())))
    }

    async fn online(&self) -> StoreResult<Vec<(String, Presence)>> {
        Ok(self.read(|s, _| s.online()))
    }
}
