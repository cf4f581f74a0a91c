//! Tasks for agents: given by name or by what is needed, answered at the end or as a stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use talon_core::deliver::{Deliver, DeliverError, TaskStream, TaskUpdate};
use talon_core::task::{NewTask, TaskId};
use utoipa::ToSchema;

use super::cards::seen;
use super::search::find;
use super::view::{TaskState, TaskView};
use crate::App;
use crate::auth::{Caller, Operator, Viewer};
use crate::http::{Answer, FieldError, Json, Kind, Problem, ProblemBody};

/// A task as it is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agent": "research-pro", "text": "What is known about X?"}))]
pub struct GiveTask {
    /// The agent that is to do it; or say what is needed in `search`.
    agent: Option<String>,
    /// What is needed, in plain words: the agent that fits best does it.
    search: Option<String>,
    /// What is asked.
    text: String,
    /// The conversation it belongs to; without one, a new one begins.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    session: Option<String>,
    /// Its id, chosen by whoever asks: giving the same task twice is one task. Without one, a new one is made.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    id: Option<String>,
    /// Passed on to the agent as it is.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// After this it fails.
    #[schema(minimum = 1, maximum = 86400)]
    timeout_seconds: Option<u64>,
}

/// A piece of a stream: `event: status` while the agent works, `event: done` at the end.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskEvent {
    /// The task's id.
    id: String,
    /// The agent that does it.
    agent: String,
    /// The conversation it belongs to.
    session: String,
    /// Where it stands.
    state: TaskState,
    /// A piece of the answer; with `done`, the whole answer, or why it failed.
    text: String,
}

/// Whether a cancellation came in time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Canceled {
    /// `false`: it had ended before.
    canceled: bool,
}

/// Gives an agent a task and waits for its end. With `Accept: text/event-stream` the answer comes in pieces, as events
/// `status` and at last `done`. Giving up does not cancel the task.
#[utoipa::path(post, path = "/api/v1/router/tasks", operation_id = "give_task", tag = "router",
    security(("bearer" = ["operator"])), request_body = GiveTask, responses(
    (status = 200, description = "It ended: completed, failed or canceled", content(
        (TaskView = "application/json"),
        (TaskEvent = "text/event-stream"),
    )),
    (status = 404, description = "Nobody of that name, or nobody who fits", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The id is another task's, or the agent is being deleted", content_type = "application/problem+json", body = ProblemBody),
    (status = 422, description = "The task cannot be given as it is", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server has no Hub", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn give(
    State(app): State<App>,
    Operator(caller): Operator,
    headers: HeaderMap,
    body: Json,
) -> Answer<Response> {
    let deliver = hub(&app)?;
    let asked: GiveTask = body.typed()?;
    let task = new_task(&app, &caller, asked).await?;
    let head = Head {
        id: task.id.clone(),
        agent: task.agent.clone(),
        session: task.session.to_string(),
    };
    let updates = deliver.deliver(task).await.map_err(problem)?;
    if wants_stream(&headers) {
        Ok(streamed(app, head, updates))
    } else {
        at_the_end(&app, deliver, head, updates).await
    }
}

/// One task.
#[utoipa::path(get, path = "/api/v1/router/tasks/{id}", operation_id = "get_task", tag = "router",
    security(("bearer" = ["viewer"])),
    params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "The task", body = TaskView),
    (status = 404, description = "No such task", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server has no Hub", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn task(
    State(app): State<App>,
    Viewer(_): Viewer,
    Path(id): Path<String>,
) -> Answer<JsonAnswer<TaskView>> {
    let deliver = hub(&app)?;
    let id = TaskId::parse(&id).map_err(|_| no_task())?;
    let task = deliver.task(&id).await.map_err(problem)?;
    task.map(|task| JsonAnswer(task.into())).ok_or_else(no_task)
}

/// Asks the agent to stop. The task ends `canceled`, whatever the agent says, unless it has ended before.
#[utoipa::path(post, path = "/api/v1/router/tasks/{id}/cancel", operation_id = "cancel_task", tag = "router",
    security(("bearer" = ["operator"])),
    params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "Whether it came in time", body = Canceled),
    (status = 404, description = "No such task", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server has no Hub", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn cancel(
    State(app): State<App>,
    Operator(_): Operator,
    Path(id): Path<String>,
) -> Answer<JsonAnswer<Canceled>> {
    let deliver = hub(&app)?;
    let id = TaskId::parse(&id).map_err(|_| no_task())?;
    if deliver.task(&id).await.map_err(problem)?.is_none() {
        return Err(no_task());
    }
    let canceled = deliver.cancel(&id).await.map_err(problem)?;
    Ok(JsonAnswer(Canceled { canceled }))
}

fn hub(app: &App) -> Answer<&dyn Deliver> {
    match app.deliver() {
        Some(deliver) => Ok(&**deliver),
        None => Err(Problem::new(
            Kind::NotImplemented,
            "this server takes no tasks",
        )),
    }
}

fn no_task() -> Problem {
    Problem::new(Kind::NotFound, "there is no task of this id")
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| {
            accept
                .split(',')
                .any(|range| range.trim().starts_with("text/event-stream"))
        })
}

/// Everything that is wrong with what was asked, at once; then the agent is looked for.
async fn new_task(app: &App, caller: &Caller, asked: GiveTask) -> Answer<NewTask> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, detail: String| {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            code: "invalid".to_owned(),
            detail,
        });
    };
    if asked.agent.is_some() == asked.search.is_some() {
        wrong(
            "/agent",
            "name an agent, or say in search what is needed; not both".to_owned(),
        );
    }
    let mut id = |pointer: &str, given: Option<String>| match given.map(|g| TaskId::parse(&g)) {
        None => TaskId::parse(&app.new_id()).ok(),
        Some(Ok(id)) => Some(id),
        Some(Err(e)) => {
            wrong(pointer, e.to_string());
            None
        }
    };
    let (task_id, session) = (id("/id", asked.id), id("/session", asked.session));
    let metadata = asked.metadata.unwrap_or_else(|| json!({}));
    if !metadata.is_object() {
        wrong("/metadata", "must be an object".to_owned());
    }
    let timeout = match asked.timeout_seconds {
        None => app.config().task_timeout,
        Some(seconds @ 1..=86_400) => Duration::from_secs(seconds),
        Some(_) => {
            wrong("/timeout_seconds", "must be 1 to 86400".to_owned());
            Duration::ZERO
        }
    };
    let (Some(id), Some(session), true) = (task_id, session, errors.is_empty()) else {
        return Err(
            Problem::new(Kind::Invalid, "the task cannot be given as it is").with_errors(errors),
        );
    };
    let agent = match (asked.agent, asked.search) {
        (Some(agent), _) => match seen(app, caller, &agent).await? {
            Some(_) => agent,
            None => return Err(nobody()),
        },
        (None, query) => {
            let query = query.unwrap_or_default();
            let found = find(app, caller, &query, 1).await?;
            match found.into_iter().next() {
                Some(best) => best.name,
                None => return Err(Problem::new(Kind::NotFound, "no agent fits what is needed")),
            }
        }
    };
    Ok(NewTask {
        id,
        agent,
        session,
        text: asked.text,
        metadata,
        asked_by: None,
        deadline_in: timeout,
    })
}

fn nobody() -> Problem {
    Problem::new(Kind::NotFound, "there is no agent of this name")
}

/// What a refused task is over HTTP.
fn problem(error: DeliverError) -> Problem {
    match error {
        DeliverError::NoSuchAgent(_) => nobody(),
        DeliverError::Deleting(_) => Problem::new(Kind::Conflict, "the agent is being deleted"),
        DeliverError::IdTaken(_) => Problem::new(
            Kind::Conflict,
            "the id is taken by another task: choose another",
        ),
        DeliverError::Busy(_) => Problem::new(
            Kind::TooManyRequests,
            "too many tasks wait for the agent: try again later",
        )
        .retry_after(Duration::from_secs(5)),
        // The Hub's own sentences name limits, never what was sent.
        DeliverError::Invalid(why) => Problem::new(Kind::Invalid, why),
        DeliverError::Unavailable(why) => {
            tracing::warn!(error = %why, "a task could not be taken");
            Problem::new(Kind::Unavailable, "tasks cannot be taken now")
                .retry_after(Duration::from_secs(2))
        }
    }
}

/// Which task a stream speaks of.
struct Head {
    id: TaskId,
    agent: String,
    session: String,
}

impl Head {
    fn event(&self, update: TaskUpdate) -> (&'static str, TaskEvent) {
        let (name, state, text) = match update {
            TaskUpdate::Status { state, text } => ("status", state, text),
            TaskUpdate::Done { state, text } => ("done", state, text),
        };
        let event = TaskEvent {
            id: self.id.to_string(),
            agent: self.agent.clone(),
            session: self.session.clone(),
            state: state.into(),
            text,
        };
        (name, event)
    }
}

async fn at_the_end(
    app: &App,
    deliver: &dyn Deliver,
    head: Head,
    mut updates: Box<dyn TaskStream>,
) -> Answer<Response> {
    while let Some(update) = next(app, &mut *updates).await {
        if matches!(update, TaskUpdate::Done { .. }) {
            break;
        }
    }
    let task = deliver.task(&head.id).await.map_err(problem)?;
    match task {
        Some(task) if task.state.is_final() => {
            Ok((StatusCode::OK, JsonAnswer(TaskView::from(task))).into_response())
        }
        _ => Err(interrupted()),
    }
}

fn interrupted() -> Problem {
    Problem::new(
        Kind::Unavailable,
        "the server stops; the task goes on: ask for it by its id, or give the same task with the same id again",
    )
    .retry_after(Duration::from_secs(2))
}

/// The next update; `None` as well when this server stops.
async fn next(app: &App, updates: &mut dyn TaskStream) -> Option<TaskUpdate> {
    tokio::select! {
        update = updates.next() => update,
        () = app.stopping().cancelled() => None,
    }
}

fn streamed(app: App, head: Head, updates: Box<dyn TaskStream>) -> Response {
    let heartbeat = app.config().heartbeat;
    let events = stream::unfold(Some((app, head, updates)), async |state| {
        let (app, head, mut updates) = state?;
        let update = next(&app, &mut *updates).await?;
        let ends = matches!(update, TaskUpdate::Done { .. });
        let (name, data) = head.event(update);
        // Cannot fail: an event is texts.
        let event = Event::default()
            .event(name)
            .json_data(&data)
            .unwrap_or_default();
        let rest = (!ends).then_some((app, head, updates));
        Some((Ok::<_, Infallible>(event), rest))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(heartbeat))
        .into_response()
}
