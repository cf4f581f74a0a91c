//! Public Agent Cards.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use talon_core::Owner;
use talon_core::snapshot::AuthTokenState;
use talon_core::spec::Visibility;
use talon_core::status::DeploymentStatus;
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
    let card = match seen(&app, &caller, &name).await?.map(|seen| seen.card) {
        Some(CardOf::Managed(id)) => {
            let card = app.store().card(id).await?;
            card.and_then(|card| serde_json::to_value(card.public_view()).ok())
        }
        Some(CardOf::Hosted(card)) => card.map(|card| public_card(&card)),
        None => None,
    };
    card.map(Json)
        .ok_or_else(|| Problem::new(Kind::NotFound, "there is no card of this name"))
}

/// An agent that the caller may see and give tasks to.
pub struct Seen {
    /// Whose it is.
    pub owner: String,
    /// How it stands, if it never ran and holds no token to connect with: a task would wait for nobody.
    pub never_ran: Option<DeploymentStatus>,
    card: CardOf,
}

/// Where its card is.
enum CardOf {
    /// One of ours.
    Managed(talon_core::AgentId),
    /// One that somebody runs themselves, with its card.
    Hosted(Option<Value>),
}

/// The agent of this name if the caller may see it: their own, and public ones. Agents being deleted are seen by nobody.
pub async fn seen(app: &App, caller: &Caller, name: &str) -> Answer<Option<Seen>> {
    // Not every text can be asked for: a database may refuse a NUL.
    if name.contains('\0') {
        return Ok(None);
    }
    if let Some(found) = app.store().get(name, false).await? {
        let agent = found.agent;
        let visible = !agent.is_deleting()
            && (caller.sees(&agent.owner) || agent.spec.visibility == Visibility::Public);
        let mut tokens = found.auth_tokens.iter();
        let runs = agent.status.first_deployed_at.is_some()
            || tokens.any(|t| t.state == AuthTokenState::Current);
        return Ok(visible.then_some(Seen {
            owner: agent.owner.0,
            never_ran: (!runs).then_some(agent.status.deployment_status),
            card: CardOf::Managed(agent.id),
        }));
    }
    let hosted = app.store().hosted(name).await?;
    let visible =
        hosted.filter(|hosted| hosted.public || caller.sees(&Owner(hosted.owner.clone())));
    Ok(visible.map(|hosted| Seen {
        owner: hosted.owner,
        never_ran: None,
        card: CardOf::Hosted(hosted.card),
    }))
}
