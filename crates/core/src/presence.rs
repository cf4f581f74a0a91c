//! Who is connected to the Hub.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::AgentId;
use crate::snapshot::AuthTokenState;

/// One row of `agent_presence`: the last connection of a managed agent. Times are the database's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the connection is believed to be open.
    pub connected: bool,
    /// The Hub's id of the connection.
    pub connection_id: String,
    /// Which Hub process holds it.
    pub hub: String,
    /// SHA-256 (hex) of the token it registered with: tells which try is running.
    pub token_sha256: String,
    /// What the Worker said of itself at registration (`framework`, `framework_version`), for people.
    pub runtime: Option<String>,
    /// When it registered.
    pub connected_at: DateTime<Utc>,
    /// The last sign of life that was stored (not every heartbeat is).
    pub last_seen: DateTime<Utc>,
    /// When the connection ended.
    pub disconnected_at: Option<DateTime<Utc>>,
}

/// What the Hub needs to know of a managed agent to let it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAgent {
    /// The agent.
    pub id: AgentId,
    /// Whose it is.
    pub owner: String,
    /// Whether its deletion was requested: no new connection, no new task.
    pub deleting: bool,
    /// Whether it stays connected while idle.
    pub keep_alive: bool,
    /// SHA-256 (hex) of every token that is accepted: candidates and the current one.
    pub tokens: Vec<(String, AuthTokenState)>,
}

/// An API key of somebody who runs agents themselves; never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Id by which it is listed and revoked.
    pub id: String,
    /// Whose agents it lets in.
    pub owner: String,
    /// What it is for, for people.
    pub label: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// An agent that somebody runs themselves, known by its registrations at the Hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostedAgent {
    /// Its Hub name. Never that of a live managed agent.
    pub name: String,
    /// Whose it is: the first owner who registered the name.
    pub owner: String,
    /// Its card as it was sent, without `authentication`; found by search only while it is `public`.
    pub card: Option<serde_json::Value>,
    /// Visible to others.
    pub public: bool,
    /// Whether its connection is believed to be open.
    pub connected: bool,
    /// The last sign of life that was stored.
    pub last_seen: DateTime<Utc>,
}
