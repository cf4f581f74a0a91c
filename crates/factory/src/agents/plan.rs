//! What would be done: by a new spec, and by the controller now.

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talon_store::{ApplyOptions, StoreError};
use utoipa::ToSchema;

use super::look::{actor, must_find};
use super::write::{ReplaceAgent, WritePlan, wanted_spec, write_plan};
use crate::App;
use crate::auth::Viewer;
use crate::http::{Answer, Json, ProblemBody};

/// What the controller's last pass planned.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LastPlan {
    /// The agent's generation.
    generation: i64,
    /// The generation that the plan was made for.
    observed_generation: i64,
    /// The plan: what differs, what is to be done and why; null before the first pass.
    #[schema(value_type = Option<Object>)]
    plan: Option<Value>,
}

/// What the controller's last pass planned: how the agent and what exists differ.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/plan", operation_id = "get_plan", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "The plan", body = LastPlan),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn last_plan(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
) -> Answer<JsonAnswer<LastPlan>> {
    let snapshot = must_find(&app, &caller, &name, false).await?;
    Ok(JsonAnswer(LastPlan {
        generation: snapshot.agent.generation.0,
        observed_generation: snapshot.agent.status.observed_generation.0,
        plan: snapshot.work.plan_report,
    }))
}

/// What a new spec would change and cause. Writes nothing.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/plan", operation_id = "plan_agent", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")),
    request_body = ReplaceAgent, responses(
    (status = 200, description = "What it would do; changes that are `immutable` would be refused", body = WritePlan),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
    (status = 422, description = "It can never be so", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn plan(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    body: Json,
) -> Answer<JsonAnswer<WritePlan>> {
    let before = must_find(&app, &caller, &name, false).await?;
    let spec = wanted_spec(body.value, &name)?;
    let agent = &before.agent;
    let rehearsal = ApplyOptions {
        if_generation: None,
        if_agent: Some(agent.id),
        dry_run: true,
    };
    let rehearsed = app
        .store()
        .apply_as(&actor(&caller), &agent.name, &agent.owner, &spec, rehearsal)
        .await;
    let outcome = match rehearsed {
        Ok(applied) => applied.outcome,
        // The changes themselves say which are refused.
        Err(StoreError::Rejected { code, .. }) if is_immutable(&code) => {
            talon_store::ApplyOutcome::Updated
        }
        Err(error) => return Err(error.into()),
    };
    Ok(JsonAnswer(write_plan(Some(&before), &spec, outcome)))
}

fn is_immutable(code: &str) -> bool {
    code == talon_store::codes::IMMUTABLE || code == talon_store::codes::BUCKET_FIXED
}
