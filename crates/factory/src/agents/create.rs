//! Creating an agent.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;
use talon_core::AgentId;
use talon_store::access::Outcome;

use super::attempt::{Begun, IdempotencyKey, end, leave_open};
use super::look::{missing, must_find, response};
use super::view::AgentView;
use super::write::{CarriedOut, CreateAgent, Write, WriteParams, WritePlan, located, wanted};
use crate::App;
use crate::auth::{Caller, Operator};
use crate::http::{Answer, Json, Kind, Params, Problem, ProblemBody};

/// Creates an agent. 409 if the name is taken.
#[utoipa::path(post, path = "/api/v1/openclaw/agents", operation_id = "create_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(WriteParams,
        ("Idempotency-Key" = Option<String>, Header, description = "The same request with the same key is done once, for 24 hours")),
    request_body = CreateAgent, responses(
        (status = 201, description = "It is made", body = AgentView,
            headers(("ETag" = String, description = "Its tag"), ("Location" = String, description = "Where it is"))),
        (status = 200, description = "With `dryRun`: what would be done", body = WritePlan),
        (status = 409, description = "The name is taken, or a request with this key is under way", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be made as written", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn create(
    State(app): State<App>,
    Operator(caller): Operator,
    Params(params): Params<WriteParams>,
    key: IdempotencyKey,
    body: Json,
) -> Answer<Response> {
    // How long to wait for it is no part of what is asked for.
    let (dry_run, validation) = (params.dry_run, params.field_validation);
    let what = format!("create:{dry_run:?}:{validation:?}");
    let (attempt, resumes) = match key.begin(&app, &caller, &what, &body.value).await? {
        Begun::Do { attempt, resumes } => (attempt, resumes),
        Begun::Again(outcome) => return again(&app, &caller, outcome).await,
    };
    let made = {
        let app = app.clone();
        // On its own: who asked may be gone before it has ended, and comes again to hear how it did. Waiting comes after.
        tokio::spawn(async move {
            let made = make(&app, &caller, &params, (body.value, resumes)).await;
            match &made {
                Ok(made) => end(&app, attempt, made.outcome()).await,
                Err(problem) if problem.is_definite() => end(&app, attempt, None).await,
                Err(_) => leave_open(&app, attempt).await,
            }
            made
        })
    };
    let made = made.await.map_err(|_| {
        Problem::new(
            Kind::Internal,
            "a defect of the server; whether the agent was made can be seen by reading it",
        )
    })??;
    made.answer(&app).await
}

async fn make(
    app: &App,
    caller: &Caller,
    params: &WriteParams,
    (body, resumes): (Value, bool),
) -> Answer<CarriedOut> {
    let wanted = wanted(body, None, params.field_validation.unwrap_or_default())?;
    let write = Write {
        app,
        caller,
        params,
        before: None,
        if_generation: Some(0),
        resumes,
    };
    write.carry_out(wanted).await
}

/// The answer of an earlier attempt, with the agent as it is now.
async fn again(app: &App, caller: &Caller, outcome: Outcome) -> Answer<Response> {
    let snapshot = match outcome.agent.parse::<AgentId>() {
        Ok(id) => app.store().load(id).await?,
        // An earlier version of this program kept the name.
        Err(_) => Some(must_find(app, caller, &outcome.agent, true).await?),
    };
    let seen = snapshot.filter(|s| caller.sees(&s.agent.owner));
    let snapshot = seen.ok_or_else(missing)?;
    let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::OK);
    let mut answer = response(status, &snapshot);
    located(answer.headers_mut(), snapshot.agent.name.as_str());
    Ok(answer)
}
