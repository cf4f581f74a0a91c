//! Public Agent Cards.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use talon_core::Owner;
use talon_store::network::public_card;
use talon_store::search::Standing;

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
        Some(Standing {
            agent_id: Some(id), ..
        }) => {
            let card = app.store().card(id).await?;
            card.and_then(|card| serde_json::to_value(card.public_view()).ok())
        }
        Some(_) => {
            let hosted = app.store().hosted(&name).await?;
            hosted.and_then(|hosted| hosted.card.as_ref().map(public_card))
        }
        None => None,
    };
    card.map(Json)
        .ok_or_else(|| Problem::new(Kind::NotFound, "there is no card of this name"))
}

/// The agent of this name if the caller [`may_see`] it.
pub async fn seen(app: &App, caller: &Caller, name: &str) -> Answer<Option<Standing>> {
    // Not every text can be asked for: a database may refuse a NUL.
    if name.contains('\0') {
        return Ok(None);
    }
    let standings = app.store().standings(&[name.to_owned()]).await?;
    Ok(standings.into_iter().find(|agent| may_see(caller, agent)))
}

/// Whether the caller may see an agent and give it tasks: their own, and public ones. Agents being deleted are seen by
/// nobody.
pub fn may_see(caller: &Caller, agent: &Standing) -> bool {
    !agent.deleting && (agent.public || caller.sees(&Owner(agent.owner.clone())))
}
