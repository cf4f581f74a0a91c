//! Who is connected to the Hub.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::cards::may_see;
use crate::App;
use crate::auth::Viewer;
use crate::http::Answer;

/// An agent that is connected. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
pub struct OnlineAgent {
    /// Its name.
    name: String,
    /// Whether Talon deploys it; else somebody runs it themselves.
    managed: bool,
    /// What its Worker said of itself.
    runtime: Option<String>,
    /// Since when; not known of agents that somebody runs themselves.
    connected_at: Option<DateTime<Utc>>,
    /// The last sign of life that was stored.
    last_seen: DateTime<Utc>,
}

/// Who is connected.
#[derive(Debug, Serialize, ToSchema)]
pub struct Online {
    /// The agents, by name.
    items: Vec<OnlineAgent>,
}

/// The agents that are connected to the Hub, of those the caller may see.
#[utoipa::path(get, path = "/api/v1/router/online", operation_id = "list_online", tag = "router",
    security(("bearer" = ["viewer"])), responses((status = 200, description = "Who is connected", body = Online)))]
pub async fn online(State(app): State<App>, Viewer(caller): Viewer) -> Answer<Json<Online>> {
    let managed = app.store().online().await?;
    let hosted = app.store().hosted_agents().await?;
    let mut items: Vec<_> = managed
        .into_iter()
        .map(|(name, presence)| OnlineAgent {
            name,
            managed: true,
            runtime: presence.runtime,
            connected_at: Some(presence.connected_at),
            last_seen: presence.last_seen,
        })
        .chain(
            hosted
                .into_iter()
                .filter(|hosted| hosted.connected)
                .map(|hosted| OnlineAgent {
                    name: hosted.name,
                    managed: false,
                    runtime: None,
                    connected_at: None,
                    last_seen: hosted.last_seen,
                }),
        )
        .collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    if caller.owner.is_some() {
        let names: Vec<_> = items.iter().map(|agent| agent.name.clone()).collect();
        let standings = app.store().standings(&names).await?;
        let seen = standings.iter().filter(|agent| may_see(&caller, agent));
        let seen: HashSet<_> = seen.map(|agent| agent.name.as_str()).collect();
        items.retain(|agent| seen.contains(agent.name.as_str()));
    }
    Ok(Json(Online { items }))
}
