//! One agent, its events, its resources.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use talon_core::event::{Event, Severity};
use talon_store::glance::GlanceEvents;
use utoipa::{IntoParams, ToSchema};

use super::conditional::Conditional;
use super::full::{FullAgent, View, encode};
use super::look::{missing, must_find, response};
use super::view::{AgentView, ResourceView, Tagged};
use super::wait::{Goal, WaitParams, until};
use crate::App;
use crate::auth::Viewer;
use crate::http::{Answer, Kind, Params, Problem, ProblemBody};

/// What to show beside live agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Include {
    /// Records of deleted agents.
    Deleted,
}

/// How to read an agent.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadParams {
    /// With `deleted`, also the record of a deleted agent (if no live one has the name).
    #[param(inline)]
    include: Option<Include>,
    /// With `full`, everything that is known of it.
    #[param(inline)]
    view: Option<View>,
    /// Only the agent that has this id, not another that bears its name by now; with `include=deleted`, also its record.
    #[param(format = "uuid")]
    id: Option<String>,
    /// Answer only when the agent is there, needs a person, or time is up; the header `Talon-Wait` says which.
    #[param(inline)]
    wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    timeout: Option<String>,
}

/// An agent; with `view=full`, with everything that is known of it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub enum OneAgent {
    /// As most programs need it.
    Normal(Box<AgentView>),
    /// With everything.
    Full(Box<FullAgent>),
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}", operation_id = "get_agent", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), ReadParams,
        ("If-None-Match" = Option<String>, Header, description = "Tags the client has: 304 if one is the agent's")),
    responses(
        (status = 200, description = "The agent", body = OneAgent, headers(("ETag" = String, description = "Its tag; the full view has none"))),
        (status = 304, description = "The client has it already"),
        (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn agent(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    Params(params): Params<ReadParams>,
    conditional: Conditional,
) -> Answer<Response> {
    let archived = params.include == Some(Include::Deleted);
    let wait = WaitParams {
        wait: params.wait,
        timeout: params.timeout,
    };
    let wait = wait.read(&app, &caller)?;
    let mut snapshot = match params.id.as_deref().map(str::parse) {
        None => must_find(&app, &caller, &name, archived).await?,
        Some(Ok(id)) => app
            .store()
            .load(id)
            .await?
            .filter(|s| caller.sees(&s.agent.owner) && s.agent.name.as_str() == name)
            .filter(|s| archived || !s.agent.is_archived())
            .ok_or_else(missing)?,
        Some(Err(_)) => return Err(Problem::new(Kind::Malformed, "id is no agent's id")),
    };
    let mut ended = None;
    if let Some(waiting) = wait {
        let (later, how) = until(&app, snapshot.agent.id, waiting).await?;
        (snapshot, ended) = (later, Some(how));
    }
    let mut answer = if params.view == Some(View::Full) {
        let no_cache = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        (no_cache, Json(encode(&snapshot))).into_response()
    } else if conditional.has(&Tagged::agent(&snapshot).etag) {
        let mut answer = response(StatusCode::NOT_MODIFIED, &snapshot);
        *answer.body_mut() = axum::body::Body::empty();
        answer.headers_mut().remove(header::CONTENT_TYPE);
        answer
    } else {
        response(StatusCode::OK, &snapshot)
    };
    if let Some(ended) = ended {
        answer.headers_mut().insert("talon-wait", ended.header());
    }
    Ok(answer)
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// The latest so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only `Normal` or `Warning` ones.
    #[param(inline)]
    severity: Option<EventSeverity>,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum EventSeverity {
    /// Expected.
    Normal,
    /// Worth a look.
    Warning,
}

/// Something that happened. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// `Normal` or `Warning`.
    severity: String,
    /// What happened, in one word.
    reason: String,
    /// What it happened to, `kind/name`.
    object: String,
    /// For people.
    message: String,
    /// How often.
    count: i64,
    /// First time.
    first_at: DateTime<Utc>,
    /// Last time.
    last_at: DateTime<Utc>,
}

/// What happened, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// The events.
    items: Vec<EventView>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            severity: event.event.severity.to_string(),
            reason: event.event.reason.to_string(),
            object: event.event.object,
            message: event.event.message,
            count: event.count,
            first_at: event.first_at,
            last_at: event.last_at,
        }
    }
}

/// What happened to an agent, oldest first.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/events", operation_id = "list_events", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), EventParams), responses(
    (status = 200, description = "The events", body = EventList),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn events(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    Params(params): Params<EventParams>,
) -> Answer<Json<EventList>> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::new(Kind::Malformed, "limit must be 1 to 1000"));
    }
    let snapshot = must_find(&app, &caller, &name, true).await?;
    // By id and not by name: others bore it before, perhaps of another owner, and what became of them is told late.
    let ask = GlanceEvents {
        agent: Some(snapshot.agent.id),
        severity: params.severity.map(|severity| match severity {
            EventSeverity::Normal => Severity::Normal,
            EventSeverity::Warning => Severity::Warning,
        }),
        limit,
        ..GlanceEvents::default()
    };
    let events = app.store().glance_events(&ask).await?;
    let items = events.into_iter().map(EventView::from).collect();
    Ok(Json(EventList { items }))
}

/// What was made for an agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourceList {
    /// One of each kind.
    items: Vec<ResourceView>,
}

/// What was made for an agent, and what became of it.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/resources", operation_id = "list_resources", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "Its resources", body = ResourceList),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn resources(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
) -> Answer<impl IntoResponse> {
    let snapshot = must_find(&app, &caller, &name, true).await?;
    let items = snapshot.resources.iter().map(ResourceView::from).collect();
    let no_cache = HeaderValue::from_static("no-cache");
    Ok((
        [(header::CACHE_CONTROL, no_cache)],
        Json(ResourceList { items }),
    ))
}
