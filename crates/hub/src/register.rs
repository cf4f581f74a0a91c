//! `agent.register`: who is let in, as whom, and why not.

use std::sync::Arc;

use talon_core::presence::HubAgent;
use talon_store::network::{AGENT_DELETED, HostedConnection, Registration};
use talon_store::{StoreError, StoreResult};
use tokio::sync::mpsc;

use crate::auth::{self, BadToken, Holder, Presented};
use crate::config::HubConfig;
use crate::directory::{Command, Kind, Link};
use crate::end::End;
use crate::fields::Fields;
use crate::shared::Shared;

/// Longest description of a runtime that is kept.
const MAX_RUNTIME: usize = 128;

/// Why a registration is refused. The texts are the protocol's: clients tell by them whether to come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is somebody else's. Permanent.
    #[error("agent {0} is owned by another user")]
    OwnedByAnother(String),
    /// This connection cannot be that agent. Permanent.
    #[error("routing id mismatch: {0}")]
    RoutingIdMismatch(String),
    /// One live connection per agent. Clears when the other one ends or its heartbeat times out.
    #[error("already connected")]
    AlreadyConnected,
    /// No token, or not one that is accepted now.
    #[error("authentication failed: {0}")]
    Unauthenticated(&'static str),
    /// Its deletion was requested.
    #[error("{AGENT_DELETED}")]
    Deleting,
    /// The database does not answer.
    #[error("temporarily unavailable")]
    Unavailable,
}

impl From<StoreError> for Refusal {
    fn from(e: StoreError) -> Self {
        tracing::warn!(error = %e, "a registration could not be stored");
        Self::Unavailable
    }
}

impl From<BadToken> for Refusal {
    fn from(e: BadToken) -> Self {
        Self::Unauthenticated(match e {
            BadToken::Forged => "unknown token",
            BadToken::Expired => "the token has expired",
        })
    }
}

/// A request to be let in.
pub struct Request {
    /// As which agent.
    pub name: String,
    /// What is shown for it.
    pub token: Option<Presented>,
    /// Whether others may find the agent.
    pub public: bool,
    /// Its card.
    pub card: Option<serde_json::Value>,
    /// What it says of its runtime.
    pub runtime: Option<String>,
}

impl Request {
    /// Reads the parameters of `agent.register`.
    pub fn read(params: &Fields<'_>, config: &HubConfig) -> Self {
        let words = ["framework", "framework_version"];
        let runtime: Vec<String> = words.iter().filter_map(|word| params.text(word)).collect();
        let runtime: String = talon_core::text::for_terminal(&runtime.join(" "))
            .chars()
            .take(MAX_RUNTIME)
            .collect();
        Self {
            name: params
                .text("agent_name")
                .or_else(|| params.text("agent_id"))
                .unwrap_or_default(),
            token: params.text("auth_token").and_then(Presented::new),
            public: params.text("visibility").as_deref() == Some("public"),
            card: params
                .value("agent_card", config.max_card)
                .filter(serde_json::Value::is_object),
            runtime: Some(runtime).filter(|r| !r.trim().is_empty()),
        }
    }
}

/// Whether a text is an agent id of the Hub: `^[a-z0-9][a-z0-9._-]{0,62}$`.
pub fn is_agent_id(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 63
        && name.as_bytes().first().is_some_and(|b| plain(*b))
        && name.bytes().all(|b| plain(b) || b"._-".contains(&b))
}

/// A connection that was let in, and where it hears what others ask of it.
pub type Registered = (Arc<Link>, mpsc::Receiver<Command>);

/// Lets a connection in or refuses it. When it is let in it holds the agent's one place and the database knows.
pub async fn register(
    shared: &Shared,
    request: &Request,
    url_token: Option<&Presented>,
    connection_id: &str,
) -> Result<Registered, Refusal> {
    if !is_agent_id(&request.name) {
        let why = "agent_name is no agent id".to_owned();
        return Err(Refusal::RoutingIdMismatch(why));
    }
    let token = request
        .token
        .as_ref()
        .or(url_token)
        .ok_or(Refusal::Unauthenticated("no token"))?;
    if token.is_api_key() {
        let why = "trade the API key for a token at /auth/agent-token";
        return Err(Refusal::Unauthenticated(why));
    }
    let managed = shared.store.hub_agent(&request.name).await?;
    let (owner, kind) = if token.is_jwt() {
        let holder = shared.key.verify(token, shared.clock.now())?;
        hosted_identity(&request.name, holder, managed.as_ref())?
    } else {
        managed_identity(token, managed)?
    };
    let (link, commands) = Link::new(request.name.clone(), owner, connection_id.to_owned(), kind);
    let link = shared.directory.claim(link).map_err(|held| {
        held.probe(); // a dead one need not wait for its heartbeat
        Refusal::AlreadyConnected
    })?;
    if let Err(refusal) = record(shared, request, &link).await {
        shared.directory.release(&link);
        return Err(refusal);
    }
    Ok((link, commands))
}

fn managed_identity(token: &Presented, agent: Option<HubAgent>) -> Result<(String, Kind), Refusal> {
    let unknown = Refusal::Unauthenticated("unknown token");
    let token_sha256 = token.sha256();
    let agent = agent.ok_or(unknown.clone())?;
    if !auth::accepts(&agent, &token_sha256) {
        return Err(unknown);
    }
    if agent.deleting {
        return Err(Refusal::Deleting);
    }
    let id = agent.id;
    Ok((agent.owner, Kind::Managed { id, token_sha256 }))
}

fn hosted_identity(
    name: &str,
    holder: Holder,
    managed: Option<&HubAgent>,
) -> Result<(String, Kind), Refusal> {
    match managed {
        Some(agent) if agent.owner != holder.owner => Err(Refusal::OwnedByAnother(name.to_owned())),
        Some(_) => {
            let why = format!("{name} is a managed agent with a token of its own");
            Err(Refusal::RoutingIdMismatch(why))
        }
        None => Ok((holder.owner, Kind::Hosted { key: holder.key })),
    }
}

async fn record(shared: &Shared, request: &Request, link: &Link) -> Result<(), Refusal> {
    let hub = shared.config.name.clone();
    let connection_id = link.connection_id.clone();
    match &link.kind {
        Kind::Managed { id, token_sha256 } => {
            let registration = Registration {
                connection_id,
                hub,
                token_sha256: token_sha256.clone(),
                runtime: request.runtime.clone(),
            };
            match shared.store.agent_connected(*id, &registration).await {
                // Archived since it was looked up.
                Err(StoreError::NotFound) => Err(Refusal::Deleting),
                done => Ok(done?),
            }
        }
        Kind::Hosted { .. } => {
            let connection = HostedConnection { connection_id, hub };
            shared
                .store
                .hosted_connected(
                    &link.name,
                    &link.owner,
                    request.public,
                    request.card.as_ref(),
                    &connection,
                )
                .await?
                .map(|_| ())
                .ok_or_else(|| Refusal::OwnedByAnother(link.name.clone()))
        }
    }
}

/// Why a live connection would not be let in again, if so: its token was retired, its key revoked, its agent is being
/// deleted.
pub async fn unwelcome(shared: &Shared, link: &Link) -> StoreResult<Option<End>> {
    let managed = shared.store.hub_agent(&link.name).await?;
    match &link.kind {
        Kind::Managed { id, token_sha256 } => Ok(match managed {
            Some(agent) if agent.id == *id && auth::accepts(&agent, token_sha256) => {
                agent.deleting.then_some(End::Deleting)
            }
            Some(_) | None => Some(End::Unwelcome),
        }),
        Kind::Hosted { key } => {
            let keys = shared.store.api_keys(Some(&link.owner)).await?;
            let now = shared.clock.now();
            let usable = keys.iter().any(|k| {
                k.id == *key && k.revoked_at.is_none() && k.expires_at.is_none_or(|at| at > now)
            });
            Ok((managed.is_some() || !usable).then_some(End::Unwelcome))
        }
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
