//! What is told of many agents at once, or of one beside its row: events, leftovers, tasks, who changed it.

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use talon_core::event::{Event, Severity};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::task::Task;
use talon_core::{AgentName, Owner, Snapshot};
use talon_store::access::Audit;
use talon_store::glance::GlanceEvents;
use talon_store::{EventFilter, Leftover, StoreResult, WholeStore};
use utoipa::{IntoParams, ToSchema};

use super::look::must_find;
use super::read::{EventSeverity, EventView};
use crate::App;
use crate::auth::{Caller, Operator, Viewer};
use crate::http::{Answer, Kind, Params, Problem, ProblemBody};

const MAX_EVENTS: i64 = 10_000;
const MAX_TASKS: i64 = 100;
const MAX_NAME: usize = 64;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FleetEventParams {
    /// Only of agents of this name; `talon`: of the controller itself.
    #[param(min_length = 1, max_length = 64)]
    agent: Option<String>,
    /// Only of this owner's agents.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    owner: Option<String>,
    /// Only `Normal` or `Warning` ones.
    #[param(inline)]
    severity: Option<EventSeverity>,
    /// Only those that last happened later.
    after: Option<DateTime<Utc>>,
    /// The latest so many.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<i64>,
}

/// Something that happened, and to whom. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
pub struct FleetEvent {
    /// The agent; `talon` is the controller itself.
    agent: String,
    /// What happened.
    #[serde(flatten)]
    event: EventView,
}

impl From<Event> for FleetEvent {
    fn from(event: Event) -> Self {
        Self {
            agent: event.agent.clone(),
            event: event.into(),
        }
    }
}

/// What happened, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct FleetEventList {
    /// The events.
    items: Vec<FleetEvent>,
}

/// What happened, to whichever agent, oldest first. A token with an owner is told of that owner's agents only.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "list_fleet_events", tag = "agents",
    security(("bearer" = ["viewer"])), params(FleetEventParams), responses(
    (status = 200, description = "The events", body = FleetEventList),
))]
pub async fn events(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Params(params): Params<FleetEventParams>,
) -> Answer<Json<FleetEventList>> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=MAX_EVENTS).contains(&limit) {
        let detail = format!("limit must be 1 to {MAX_EVENTS}");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let is_name = |name: &String| {
        (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    if !params.agent.as_ref().is_none_or(is_name) {
        let detail = format!("agent must be 1 to {MAX_NAME} characters of one line");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let severity = params.severity.map(|severity| match severity {
        EventSeverity::Normal => Severity::Normal,
        EventSeverity::Warning => Severity::Warning,
    });
    let owner = owner(&caller, params.owner.as_deref())?;
    let filter = EventFilter {
        agent: params.agent,
        severity,
        after: params.after,
        limit,
    };
    let found = events_of(&**app.store(), owner, filter).await?;
    let items = found.into_iter().map(FleetEvent::from).collect();
    Ok(Json(FleetEventList { items }))
}

/// What happened, oldest first; with an owner, to that owner's agents only, the latest so many of theirs.
pub async fn events_of(
    store: &dyn WholeStore,
    owner: Option<Owner>,
    filter: EventFilter,
) -> StoreResult<Vec<Event>> {
    let Some(owner) = owner else {
        return store.events(&filter).await;
    };
    let agent = match &filter.agent {
        None => None,
        // Not every text can be asked for: a database may refuse a NUL.
        Some(name) if AgentName::parse(name).is_err() => return Ok(Vec::new()),
        Some(name) => match store.get(name, true).await? {
            Some(s) if s.agent.owner == owner => Some(s.agent.id),
            Some(_) | None => return Ok(Vec::new()),
        },
    };
    let ask = GlanceEvents {
        owner: Some(owner),
        agent,
        severity: filter.severity,
        limit: filter.limit,
    };
    let mut found = store.glance_events(&ask).await?;
    found.retain(|event| filter.after.is_none_or(|after| event.last_at > after));
    Ok(found)
}

/// Whose agents are spoken of: the caller's own, or whose they ask for.
fn owner(caller: &Caller, wanted: Option<&str>) -> Answer<Option<Owner>> {
    let wanted = match wanted.map(Owner::parse) {
        None => return Ok(caller.owner.clone()),
        Some(Some(owner)) => owner,
        Some(None) => {
            return Err(Problem::new(
                Kind::Malformed,
                "owner has not the shape of one",
            ));
        }
    };
    if !caller.sees(&wanted) {
        return Err(Problem::new(
            Kind::Forbidden,
            "the token is for another owner's agents",
        ));
    }
    Ok(Some(wanted))
}

/// Something that cleanup could not remove.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Leftover)]
pub struct LeftoverView {
    /// The id of the agent that it belonged to.
    #[schema(format = "uuid")]
    agent_id: String,
    /// That agent's name.
    agent: String,
    /// What it is.
    #[schema(value_type = String)]
    kind: ResourceKind,
    /// Its name at Cloudflare.
    name: String,
    /// Its id, if known.
    external_id: Option<String>,
    /// Why it is left.
    error: Option<String>,
}

impl From<Leftover> for LeftoverView {
    fn from(left: Leftover) -> Self {
        Self {
            agent_id: left.agent_id.to_string(),
            agent: left.agent,
            kind: left.kind,
            name: left.name,
            external_id: left.external_id,
            error: left.error,
        }
    }
}

/// What cleanup left behind, by agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeftoverList {
    /// The things.
    items: Vec<LeftoverView>,
}

/// Most agents whose leftovers are told of.
const MOST_LEFT_OVER: i64 = 1_000;

/// What cleanup left behind of an owner's (none: of everybody's) agents, of a thousand at most: those deleted last.
pub async fn left_over(
    store: &dyn WholeStore,
    owner: Option<&Owner>,
) -> StoreResult<Vec<Leftover>> {
    let mut found = Vec::new();
    for snapshot in store.glance_left_over(owner, MOST_LEFT_OVER).await? {
        let agent = snapshot.agent;
        for resource in snapshot.resources {
            if resource.cleanup_result == Some(CleanupResult::Failed) {
                found.push(Leftover {
                    agent_id: agent.id,
                    agent: agent.name.to_string(),
                    kind: resource.kind,
                    name: resource.name,
                    external_id: resource.external_id,
                    jurisdiction: agent.spec.r2.jurisdiction,
                    error: resource.cleanup_error,
                });
            }
        }
    }
    Ok(found)
}

/// What the cleanup of deleted agents left behind, and is still tried to be removed.
#[utoipa::path(get, path = "/api/v1/leftovers", operation_id = "list_leftovers", tag = "agents",
    security(("bearer" = ["viewer"])), responses((status = 200, description = "What is left", body = LeftoverList)))]
pub async fn leftovers(
    State(app): State<App>,
    Viewer(caller): Viewer,
) -> Answer<Json<LeftoverList>> {
    let left = left_over(&**app.store(), caller.owner.as_ref()).await?;
    let items = left.into_iter().map(LeftoverView::from).collect();
    Ok(Json(LeftoverList { items }))
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TaskListParams {
    /// The latest so many.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
}

/// A task without what was asked and answered, which is its asker's business. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskSummary {
    /// Its id.
    id: String,
    /// The conversation it belongs to.
    session: String,
    /// Where it stands.
    state: String,
    /// The agent that asked; null: a person.
    asked_by: Option<String>,
    /// How often it was sent to the agent.
    attempts: i64,
    /// When it was stored.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Task> for TaskSummary {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.into(),
            session: task.session.into(),
            state: task.state.to_string(),
            asked_by: task.asked_by,
            attempts: task.attempts,
            created_at: task.created_at,
            finished_at: task.finished_at,
        }
    }
}

/// The latest tasks of an agent, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskSummaryList {
    /// The tasks.
    items: Vec<TaskSummary>,
}

/// The latest tasks of an agent, newest first, without what was asked and answered.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/tasks", operation_id = "list_agent_tasks", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"), TaskListParams), responses(
    (status = 200, description = "The tasks", body = TaskSummaryList),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn tasks(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    Params(params): Params<TaskListParams>,
) -> Answer<Json<TaskSummaryList>> {
    let limit = params.limit.unwrap_or(20);
    if !(1..=MAX_TASKS).contains(&limit) {
        let detail = format!("limit must be 1 to {MAX_TASKS}");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let snapshot = must_find(&app, &caller, &name, true).await?;
    let found = app.store().recent_tasks(&name, limit).await?;
    // Others bore the name before, perhaps of another owner.
    let own = found
        .into_iter()
        .filter(|task| task.created_at >= snapshot.agent.created_at);
    let items = own.map(TaskSummary::from).collect();
    Ok(Json(TaskSummaryList { items }))
}

/// A change of an agent; never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// The generation that it led to; null if it changed none.
    pub generation: Option<i64>,
    /// Who: `operator`, `token:` and an id, or a user of the database.
    pub actor: String,
    /// From where, if it came over HTTP.
    pub source: Option<String>,
    /// `insert`, `update`, `delete`, or another word.
    pub action: String,
    /// Names of the changed fields.
    pub fields: Vec<String>,
}

/// The changes of an agent, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// The changes.
    items: Vec<HistoryEntry>,
}

/// Most changes of one agent that are told: of one that has more, the latest.
const MOST_CHANGES: i64 = 1_000;

/// The changes of an agent, oldest first, each with the generation that it led to; of more than a thousand, the latest. What
/// an earlier agent of the name went through is none of it. Only its own entries of the audit log are read, however much
/// else is logged.
pub async fn changes_of(
    store: &dyn WholeStore,
    snapshot: &Snapshot,
) -> StoreResult<Vec<HistoryEntry>> {
    let agent = &snapshot.agent;
    // The row keeps its time to the microsecond, the log perhaps to the millisecond.
    let since = agent.created_at - TimeDelta::milliseconds(1);
    let name = agent.name.as_str();
    let mut log = store.audit_about(name, since, MOST_CHANGES).await?;
    // Logs go back to when some actions wrote an agent's name as that of its document.
    let document = format!("agent/{name}");
    let before = store.audit_about(&document, since, MOST_CHANGES).await?;
    for entry in before.into_iter().rev() {
        let later = log.iter().take_while(|other| other.at > entry.at).count();
        log.insert(later, entry);
    }
    log.truncate(usize::try_from(MOST_CHANGES).unwrap_or(usize::MAX));
    Ok(history_of(snapshot, log))
}

/// The same, of what the log says about the agent, newest first.
pub(in crate::agents) fn history_of(snapshot: &Snapshot, log: Vec<Audit>) -> Vec<HistoryEntry> {
    let mut generation = snapshot.agent.generation.0;
    let mut items = Vec::new();
    for entry in log {
        // The hold over everything stands under a name that an agent may bear.
        if matches!(entry.action.as_str(), "hold" | "release_hold") {
            continue;
        }
        let counts = matches!(entry.action.as_str(), "insert" | "update" | "delete");
        let is_first = entry.action == "insert";
        items.push(HistoryEntry {
            at: entry.at,
            generation: counts.then_some(generation),
            actor: entry.actor,
            source: entry.source,
            action: entry.action,
            fields: entry.fields,
        });
        if is_first {
            break;
        }
        generation -= i64::from(counts);
    }
    items.reverse();
    items
}

/// Who changed an agent, when, and which fields, oldest first; as far as the audit log reaches back.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/history", operation_id = "get_history", tag = "agents",
    security(("bearer" = ["operator"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "The changes", body = History),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn history(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(name): Path<String>,
) -> Answer<Json<History>> {
    let snapshot = must_find(&app, &caller, &name, true).await?;
    let items = changes_of(&**app.store(), &snapshot).await?;
    Ok(Json(History { items }))
}
