//! Asking for the deletion of an agent.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use talon_store::fleet::Decided;
use utoipa::IntoParams;

use super::conditional::Conditional;
use super::look::{actor, missing, must_find};
use super::view::Cleanup;
use super::wait::{Goal, WaitParams, until};
use crate::App;
use crate::auth::Operator;
use crate::http::{Answer, Params, ProblemBody};

/// How to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// Leaves the bucket and what is in it.
    #[param(default = false)]
    keep_bucket: Option<bool>,
    /// With `deleted`: answer only when everything is cleaned up, a person is needed, or time is up.
    #[param(inline)]
    wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    timeout: Option<String>,
}

/// Asks for the deletion of an agent. The answer shows how far it is; asking again shows how far it is then.
#[utoipa::path(delete, path = "/api/v1/openclaw/agents/{name}", operation_id = "delete_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), DeleteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is deleted, or *"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is deleted")),
    responses(
        (status = 202, description = "It is being deleted", body = Cleanup),
        (status = 404, description = "No such agent, or deleted before", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "It is protected", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn delete(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<DeleteParams>,
    conditional: Conditional,
) -> Answer<Response> {
    let wait = WaitParams {
        wait: params.wait,
        timeout: params.timeout,
    };
    let wait = wait.read(&app, &caller)?;
    let before = must_find(&app, &caller, &name, false).await?;
    let decided = Some(Decided {
        id: before.agent.id,
        generation: conditional.check(Some(&before))?,
    });
    let keep_bucket = params.keep_bucket.unwrap_or_default();
    let by = actor(&caller);
    app.store()
        .request_deletion_as(&by, &before.agent.name, decided, keep_bucket)
        .await?;
    let id = before.agent.id;
    let (snapshot, ended) = match wait {
        Some(waiting) => {
            let (snapshot, ended) = until(&app, id, waiting).await?;
            (snapshot, Some(ended))
        }
        None => (app.store().load(id).await?.ok_or_else(missing)?, None),
    };
    let mut answer = (StatusCode::ACCEPTED, axum::Json(Cleanup::from(&snapshot))).into_response();
    if let Some(ended) = ended {
        answer.headers_mut().insert("talon-wait", ended.header());
    }
    Ok(answer)
}
