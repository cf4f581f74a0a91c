//! Bringing an agent to exactly what a request says.

use axum::extract::{Path, State};
use axum::response::Response;

use super::conditional::Conditional;
use super::look::{find, missing};
use super::view::AgentView;
use super::write::{ReplaceAgent, Write, WriteParams, Written, wanted};
use crate::App;
use crate::auth::Operator;
use crate::http::{Answer, Json, Kind, Params, Problem, ProblemBody};

/// Brings an agent to exactly this spec. Must say what it builds upon: `If-Match`, `If-Generation`, or `If-None-Match: *`
/// for an agent that is not there yet.
#[utoipa::path(put, path = "/api/v1/openclaw/agents/{name}", operation_id = "replace_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is replaced, or *"),
        ("If-None-Match" = Option<String>, Header, description = "*: only if there is no such agent"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is replaced; 0: there is none")),
    request_body = ReplaceAgent, responses(
        (status = 200, description = "It is so; with `dryRun`: what would be done", body = Written, headers(("ETag" = String, description = "Its tag"))),
        (status = 201, description = "It is made", body = AgentView, headers(("ETag" = String, description = "Its tag"))),
        (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be so", content_type = "application/problem+json", body = ProblemBody),
        (status = 428, description = "It must say what it builds upon", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn replace(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<WriteParams>,
    conditional: Conditional,
    body: Json,
) -> Answer<Response> {
    if !conditional.is_given() {
        return Err(Problem::new(
            Kind::PreconditionRequired,
            "say what this builds upon: If-Match and the agent's ETag, If-Generation, or If-None-Match: * for a new agent",
        ));
    }
    let before = find(&app, &caller, &name, false).await?;
    if before.is_none() && !conditional.creates_only() {
        return Err(missing());
    }
    let if_generation = conditional.check(before.as_ref())?;
    let validation = params.field_validation.unwrap_or_default();
    let wanted = wanted(body.value, Some(&name), validation)?;
    let write = Write {
        resumes: false,
        app: &app,
        caller: &caller,
        params: &params,
        before,
        if_generation,
    };
    write.run(wanted).await
}
