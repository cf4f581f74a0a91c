//! Public Agent Cards.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use talon_core::Owner;
use talon_core::spec::Visibility;
use talon_store::network::public_card;

use crate::App;
use crate::auth::{Caller, Viewer};
use crate::http::{Answer, Kind, Problem, ProblemBody};

/// The card of an agent, as the network sees it: without how the agent proves who it is.
#[utoipa::path(get, path = "/api/v1/router/agents/{name}", operation_id = "get_card", tag = "router",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "The card", body = Object),
    (status = 404, description = "No such agent, or none with a card", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn card(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let card = match seen(&app, &caller, &name).await? {
        Some(Seen::Managed(id)) => {
            let card = app.store().card(id).await?;
            card.and_then(|card| serde_json::to_value(card.public_view()).ok())
        }
        Some(Seen::Hosted(card)) => card.map(|card| public_card(&card)),
        None => None,
    };
    card.map(Json)
        .ok_or_else(|| Problem::new(Kind::NotFound, "there is no card of this name"))
}

/// An agent that the caller may see and give tasks to.
pub enum Seen {
    /// One of ours.
    Managed(talon_core::AgentId),
    /// One that somebody runs themselves, with its card.
    Hosted(Option<Value>),
}

/// The agent of this name if the caller may see it: their own, and public ones. Agents being deleted are seen by nobody.
pub async fn seen(app: &App, caller: &Caller, name: &str) -> Answer<Option<Seen>> {
    if let Some(found) = app.store().get(name, false).await? {
        let agent = found.agent;
        let visible = !agent.is_deleting()
            && (caller.sees(&agent.owner) || agent.spec.visibility == Visibility::Public);
        return Ok(visible.then_some(Seen::Managed(agent.id)));
    }
    let hosted = app.store().hosted(name).await?;
    let visible =
        hosted.filter(|hosted| hosted.public || caller.sees(&Owner(hosted.owner.clone())));
    Ok(visible.map(|hosted| Seen::Hosted(hosted.card)))
}
