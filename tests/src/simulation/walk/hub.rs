//! Agents come to the Hub and leave it.

use talon_core::Snapshot;
use talon_core::secret::{SecretValue, names};
use talon_core::snapshot::AuthTokenState;
use talon_store::network::{PresenceStore, Registration};
use talon_store::{ListFilter, Store};

use super::{AGENTS, BOUND, Sim, Walker};

impl Walker {
    /// Some agent comes to the Hub, or leaves it.
    pub(super) async fn come_and_go(&mut self) {
        let Some(hub) = &mut self.hub else { return };
        if !hub.permille(300) {
            return;
        }
        let agent = *hub.pick(&AGENTS[..self.agents]);
        let Some(snapshot) = self.sim.live(agent).await else {
            return;
        };
        let rows = &self.sim.database.rows;
        match snapshot.presence.as_ref().filter(|p| p.connected) {
            Some(presence) => {
                let id = snapshot.agent.id;
                let _ended = rows.agent_disconnected(id, &presence.connection_id).await;
                self.note("an agent left the Hub");
            }
            None => self.connect(&snapshot).await,
        }
    }

    /// The agent's Worker registers at the Hub, if the Hub lets it in.
    async fn connect(&self, snapshot: &Snapshot) {
        let token_sha256 = {
            let state = self.sim.account.state();
            let name = snapshot.agent.status.worker_name.as_ref();
            let worker = name.and_then(|n| state.world.now.workers.get(n));
            let token = worker.and_then(|w| w.secrets.get(names::AUTH_TOKEN).cloned());
            token.map(|t| SecretValue::new(t).sha256_hex())
        };
        let accepted = (snapshot.auth_tokens.iter())
            .filter(|t| t.state != AuthTokenState::Retired)
            .find(|t| Some(&t.sha256) == token_sha256.as_ref());
        if let Some(token) = accepted {
            let registration = Registration {
                connection_id: format!("c{}", self.sim.elapsed().as_millis()),
                hub: "hub".to_owned(),
                token_sha256: token.sha256.clone(),
                runtime: None,
            };
            let rows = &self.sim.database.rows;
            let _known = rows.agent_connected(snapshot.agent.id, &registration).await;
            self.note("an agent came to the Hub");
        }
    }

    /// Whoever was connected is so again: who stays away is spoken to for ever.
    pub(super) async fn bring_back(&mut self) {
        self.sim.weather(Sim::calm());
        let all = self.sim.database.rows.list(&ListFilter::default()).await;
        for snapshot in all.unwrap_or_default() {
            let name = snapshot.agent.name.to_string();
            let back = async |s: &Sim| {
                let Some(now) = s.live(&name).await else {
                    return true;
                };
                let away = now.presence.as_ref().is_some_and(|p| !p.connected);
                if away && now.work.lease_owner.is_none() {
                    self.connect(&now).await;
                }
                !away
            };
            self.sim.until(BOUND, back).await;
        }
    }
}
