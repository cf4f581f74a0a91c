//! What can be asked of an agent beside a new spec, and the hold over everything.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use talon_core::Snapshot;
use talon_store::Hold;
use talon_store::fleet::Decided;
use utoipa::ToSchema;

use super::look::{actor, missing, must_find, response};
use super::view::AgentView;
use crate::App;
use crate::auth::{Admin, Caller, Operator, Viewer};
use crate::http::{Answer, FieldError, Json, Kind, Problem, ProblemBody};

const MAX_REASON: usize = 500;

/// Makes a pass over the agent due now.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/reconcile", operation_id = "reconcile_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 202, description = "A pass is due", body = AgentView),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn reconcile(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
) -> Answer<Response> {
    let found = must_find(&app, &caller, &name, false).await?;
    let decided = Some(Decided {
        id: found.agent.id,
        generation: None,
    });
    app.store()
        .request_reconcile_as(&actor(&caller), &found.agent.name, decided)
        .await?;
    Ok(response(StatusCode::ACCEPTED, &reload(&app, &found).await?))
}

/// Leaves the agent exactly as it is, whatever its spec says, until it is resumed. Deletion goes on.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/suspend", operation_id = "suspend_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "It is suspended", body = AgentView),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn suspend(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
) -> Answer<Response> {
    set_suspend(&app, &caller, &name, true).await
}

/// Goes on with a suspended agent.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/resume", operation_id = "resume_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "It is not suspended", body = AgentView),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn resume(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
) -> Answer<Response> {
    set_suspend(&app, &caller, &name, false).await
}

async fn set_suspend(app: &App, caller: &Caller, name: &str, suspend: bool) -> Answer<Response> {
    let found = must_find(app, caller, name, false).await?;
    let decided = Some(Decided {
        id: found.agent.id,
        generation: None,
    });
    app.store()
        .set_suspend_as(&actor(caller), &found.agent.name, decided, suspend)
        .await?;
    Ok(response(StatusCode::OK, &reload(app, &found).await?))
}

async fn reload(app: &App, found: &Snapshot) -> Answer<Snapshot> {
    app.store().load(found.agent.id).await?.ok_or_else(missing)
}

/// Whether everything is held.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldView {
    /// Whether effects are withheld.
    held: bool,
    /// `mass_change`, `restored_database` or `operator`.
    kind: Option<String>,
    /// Why, for people.
    reason: Option<String>,
    /// Since when.
    since: Option<DateTime<Utc>>,
}

impl From<Option<Hold>> for HoldView {
    fn from(hold: Option<Hold>) -> Self {
        Self {
            held: hold.is_some(),
            kind: hold.as_ref().map(|hold| hold.kind.as_str().to_owned()),
            since: hold.as_ref().map(|hold| hold.since),
            reason: hold.map(|hold| hold.reason),
        }
    }
}

/// Why everything is to be held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "maintenance of the account"}))]
pub struct NewHold {
    /// For people: 1 to 500 characters. Every owner whose agents wait for it can read it.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Whether everything is held: effects withheld until somebody releases it.
#[utoipa::path(get, path = "/api/v1/hold", operation_id = "get_hold", tag = "agents",
    security(("bearer" = ["viewer"])), responses((status = 200, description = "Whether it is", body = HoldView)))]
pub async fn hold(State(app): State<App>, Viewer(_): Viewer) -> Answer<JsonAnswer<HoldView>> {
    Ok(JsonAnswer(app.store().hold().await?.into()))
}

/// Holds everything. A hold in force stays as it is. For tokens without an owner.
#[utoipa::path(put, path = "/api/v1/hold", operation_id = "set_hold", tag = "agents",
    security(("bearer" = ["admin"])), request_body = NewHold, responses(
    (status = 200, description = "The hold in force", body = HoldView),
    (status = 422, description = "It needs a reason", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn set_hold(
    State(app): State<App>,
    Admin(caller): Admin,
    body: Json,
) -> Answer<JsonAnswer<HoldView>> {
    everybody(&caller)?;
    let hold: NewHold = body.typed()?;
    let length = hold.reason.chars().count();
    if !(1..=MAX_REASON).contains(&length) || hold.reason.chars().any(char::is_control) {
        let error = FieldError {
            pointer: "/reason".to_owned(),
            code: "invalid".to_owned(),
            detail: format!("must be one line of 1 to {MAX_REASON} characters"),
        };
        return Err(Problem::new(Kind::Invalid, "a hold needs a reason").with_errors(vec![error]));
    }
    app.store()
        .set_hold_as(&actor(&caller), &hold.reason)
        .await?;
    Ok(JsonAnswer(app.store().hold().await?.into()))
}

/// Ends the hold, whoever put it in force, and makes every agent due. For tokens without an owner.
#[utoipa::path(delete, path = "/api/v1/hold", operation_id = "release_hold", tag = "agents",
    security(("bearer" = ["admin"])), responses((status = 200, description = "Nothing is held", body = HoldView)))]
pub async fn release_hold(
    State(app): State<App>,
    Admin(caller): Admin,
) -> Answer<impl IntoResponse> {
    everybody(&caller)?;
    app.store().release_hold_as(&actor(&caller)).await?;
    Ok(JsonAnswer(HoldView::from(app.store().hold().await?)))
}

fn everybody(caller: &Caller) -> Answer<()> {
    match caller.owner {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            Kind::Forbidden,
            "a hold concerns every owner's agents: use a token without an owner",
        )),
    }
}
