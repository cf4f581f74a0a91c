//! Changing parts of an agent by a merge patch (RFC 7396).

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::conditional::Conditional;
use super::look::must_find;
use super::spec::Spec;
use super::write::{PatchAgent, Write, WriteParams, Written, wanted};
use crate::App;
use crate::auth::Operator;
use crate::http::{Answer, Kind, Params, Problem, ProblemBody, is_media_type, read_json};

const MERGE_PATCH: &str = "application/merge-patch+json";

/// Changes parts of an agent by a merge patch.
#[utoipa::path(patch, path = "/api/v1/openclaw/agents/{name}", operation_id = "patch_agent", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The tag of what is changed, or *"),
        ("If-Generation" = Option<i64>, Header, description = "The generation of what is changed")),
    request_body(content = PatchAgent, content_type = "application/merge-patch+json"), responses(
        (status = 200, description = "It is so; with `dryRun`: what would be done", body = Written, headers(("ETag" = String, description = "Its tag"))),
        (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
        (status = 409, description = "The agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
        (status = 412, description = "The agent has changed", content_type = "application/problem+json", body = ProblemBody),
        (status = 422, description = "It can never be so", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn patch(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
    Params(params): Params<WriteParams>,
    conditional: Conditional,
    request: Request,
) -> Answer<Response> {
    if !is_media_type(request.headers(), MERGE_PATCH) {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send a merge patch, as application/merge-patch+json",
        )
        .with_header(
            HeaderName::from_static("accept-patch"),
            HeaderValue::from_static(MERGE_PATCH),
        ));
    }
    let patch = read_json(request.into_body(), &app).await?.value;
    let before = must_find(&app, &caller, &name, false).await?;
    let if_generation = conditional.check(Some(&before))?;
    let mut body = json!({"spec": Spec::from(&before.agent.spec).into_json()});
    merge(&mut body, patch);
    let validation = params.field_validation.unwrap_or_default();
    let wanted = wanted(body, Some(&name), validation)?;
    let write = Write {
        resumes: false,
        app: &app,
        caller: &caller,
        params: &params,
        // What was merged is what was read: if it changes in between, the write is refused.
        if_generation: if_generation.or(Some(before.agent.generation.0)),
        before: Some(before),
    };
    write.run(wanted).await
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}
