//! Who may connect: managed agents, API keys, and the agents that people run themselves.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use talon_core::presence::{ApiKey, HostedAgent, HubAgent};
use talon_core::snapshot::AuthTokenState;

use super::MemoryStore;
use super::state::{Now, State};
use crate::network::{CredentialStore, HostedConnection, check_text, public_card};
use crate::writes::later;
use crate::{StoreResult, codes};

/// One row of `agent_api_key`.
#[derive(Clone)]
pub(super) struct KeyRow {
    key: ApiKey,
    sha256: String,
}

impl State {
    fn hub_agent(&self, name: &str) -> Option<HubAgent> {
        let row = self.rows.get(&self.live_id(name)?)?;
        Some(HubAgent {
            id: row.agent.id,
            owner: row.agent.owner.0.clone(),
            deleting: row.agent.is_deleting(),
            keep_alive: row.agent.spec.keep_alive,
            tokens: row
                .tokens
                .values()
                .filter(|token| token.state != AuthTokenState::Retired)
                .map(|token| (token.sha256.clone(), token.state))
                .collect(),
        })
    }

    /// Whether a live managed agent of this name is being deleted.
    pub(super) fn is_deleting(&self, name: &str) -> bool {
        let row = self.live_id(name).and_then(|id| self.rows.get(&id));
        row.is_some_and(|row| row.agent.is_deleting())
    }

    fn deleting_agents(&self) -> Vec<String> {
        let live = self.rows.values().filter(|row| !row.agent.is_archived());
        let deleting = live.filter(|row| row.agent.is_deleting());
        let mut names: Vec<_> = deleting.map(|row| row.agent.name.to_string()).collect();
        names.sort();
        names
    }

    fn create_api_key(
        &mut self,
        owner: &str,
        label: &str,
        sha256: &str,
        expires_in: Option<Duration>,
        now: Now,
    ) -> StoreResult<ApiKey> {
        if self.api_keys.iter().any(|row| row.sha256 == sha256) {
            return Err(codes::invalid("sha256: this API key is stored already"));
        }
        let key = ApiKey {
            id: self.ids.word(),
            owner: owner.to_owned(),
            label: label.to_owned(),
            created_at: now,
            expires_at: expires_in.map(|d| later(now, d)),
            revoked_at: None,
        };
        self.api_keys.push(KeyRow {
            key: key.clone(),
            sha256: sha256.to_owned(),
        });
        Ok(key)
    }

    fn api_key(&self, sha256: &str, now: Now) -> Option<ApiKey> {
        self.api_keys
            .iter()
            .find(|row| row.sha256 == sha256)
            .map(|row| &row.key)
            .filter(|key| key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now))
            .cloned()
    }

    fn revoke_api_key(&mut self, id: &str, now: Now) -> bool {
        let found = self
            .api_keys
            .iter_mut()
            .find(|row| row.key.id == id && row.key.revoked_at.is_none());
        found.map(|row| row.key.revoked_at = Some(now)).is_some()
    }

    fn hosted_connected(
        &mut self,
        name: &str,
        owner: &str,
        public: bool,
        card: Option<&Value>,
        connection: &HostedConnection,
        now: Now,
    ) -> Option<HostedAgent> {
        let known = self.hosted.get(name).map(|(hosted, _)| hosted);
        if self.live_id(name).is_some() || known.is_some_and(|known| known.owner != owner) {
            return None;
        }
        let hosted = HostedAgent {
            name: name.to_owned(),
            owner: owner.to_owned(),
            card: match card {
                Some(card) => Some(public_card(card)),
                None => known.and_then(|known| known.card.clone()),
            },
            public,
            connected: true,
            last_seen: now,
        };
        if known.is_none_or(|known| (known.public, &known.card) != (hosted.public, &hosted.card)) {
            self.cards_version += 1;
        }
        let row = (hosted.clone(), connection.clone());
        self.hosted.insert(name.to_owned(), row);
        Some(hosted)
    }

    /// The agent whose last connection this is, if it is open.
    fn hosted_open(&mut self, name: &str, connection_id: &str) -> Option<&mut HostedAgent> {
        self.hosted
            .get_mut(name)
            .filter(|(hosted, last)| hosted.connected && last.connection_id == connection_id)
            .map(|(hosted, _)| hosted)
    }
}

#[async_trait]
impl CredentialStore for MemoryStore {
    async fn hub_agent(&self, name: &str) -> StoreResult<Option<HubAgent>> {
        Ok(self.read(|s, _| s.hub_agent(name)))
    }

    async fn deleting_agents(&self) -> StoreResult<Vec<String>> {
        Ok(self.read(|s, _| s.deleting_agents()))
    }

    async fn create_api_key(
        &self,
        owner: &str,
        label: &str,
        sha256: &str,
        expires_in: Option<Duration>,
    ) -> StoreResult<ApiKey> {
        check_text("owner", owner)?;
        check_text("label", label)?;
        self.write(|s, now| s.create_api_key(owner, label, sha256, expires_in, now))
    }

    async fn api_key(&self, sha256: &str) -> StoreResult<Option<ApiKey>> {
        Ok(self.read(|s, now| s.api_key(sha256, now)))
    }

    async fn api_keys(&self, owner: Option<&str>) -> StoreResult<Vec<ApiKey>> {
        Ok(self.read(|s, _| {
            let keys = s.api_keys.iter().rev().map(|row| &row.key);
            keys.filter(|key| owner.is_none_or(|owner| owner == key.owner))
                .cloned()
                .collect()
        }))
    }

    async fn revoke_api_key(&self, id: &str) -> StoreResult<bool> {
        Ok(self.write(|s, now| s.revoke_api_key(id, now)))
    }

    async fn hosted_connected(
        &self,
        name: &str,
        owner: &str,
        public: bool,
        card: Option<&Value>,
        connection: &HostedConnection,
    ) -> StoreResult<Option<HostedAgent>> {
        check_text("name", name)?;
        check_text("owner", owner)?;
        Ok(self.write(|s, now| s.hosted_connected(name, owner, public, card, connection, now)))
    }

    async fn hosted_seen(&self, seen: &[(String, String)]) -> StoreResult<()> {
        self.write(|s, now| {
            for (name, connection_id) in seen {
                if let Some(hosted) = s.hosted_open(name, connection_id) {
                    hosted.last_seen = hosted.last_seen.max(now);
                }
            }
        });
        Ok(())
    }

    async fn hosted_disconnected(&self, name: &str, connection_id: &str) -> StoreResult<bool> {
        Ok(self.write(|s, _| {
            let open = s.hosted_open(name, connection_id);
            open.map(|hosted| hosted.connected = false).is_some()
        }))
    }

    async fn hosted(&self, name: &str) -> StoreResult<Option<HostedAgent>> {
        Ok(self.read(|s, _| {
            let (hosted, _) = s.hosted.get(name)?;
            s.live_id(name).is_none().then(|| hosted.clone())
        }))
    }

    async fn hosted_agents(&self) -> StoreResult<Vec<HostedAgent>> {
        Ok(self.read(|s, _| {
            s.hosted
                .values()
                .map(|(hosted, _)| hosted)
                .filter(|hosted| s.live_id(&hosted.name).is_none())
                .cloned()
                .collect()
        }))
    }
}
