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
use talon_core::snapshot::AuthTokenState;
use talon_core::status::DeploymentStatus;
use talon_core::task::{InvalidTaskId, Task, TaskId};
use talon_core::turns::Place;
use talon_router::{MAX_QUERY, RouteError, TaskFor, TaskRequest};
use utoipa::ToSchema;

use super::cards::seen;
use super::view::{TaskState, TaskView};
use crate::App;
use crate::auth::{Admission, Caller, Operator, Viewer};
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
    /// Its id, chosen by whoever asks: giving the same task twice is one task. Without one, a new one is made. Ids and
    /// sessions of a token with an owner are that owner's own: 63 characters at most, and nobody else's.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
    id: Option<String>,
    /// Passed on to the agent as it is.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// After this it fails.
    #[schema(minimum = 1, maximum = 86400)]
    timeout_seconds: Option<u64>,
}

/// A server-sent event of a task: `status` while the agent works, `done` at the end.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskMessage {
    /// `status` or `done`.
    event: String,
    /// In JSON: `id`, `agent`, `session`, `state`, and `text`, a piece of the answer; with `done`, the whole answer, or why it
    /// failed.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// The data of an event.
#[derive(Debug, Serialize)]
struct TaskEvent {
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
        (TaskMessage = "text/event-stream"),
    )),
    (status = 404, description = "Nobody of that name, or nobody who fits", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The id is another task's, or the agent is being deleted or has not run yet", content_type = "application/problem+json", body = ProblemBody),
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
    let place = app.stay(&caller)?;
    let (head, updates) = route(&app, &caller, asked).await?;
    if wants_stream(&headers) {
        Ok(streamed(app, &caller, (head, place), updates))
    } else {
        at_the_end(&app, &caller, deliver, head, updates).await
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
    Viewer(caller): Viewer,
    Path(id): Path<String>,
) -> Answer<JsonAnswer<TaskView>> {
    let deliver = hub(&app)?;
    let task = meant(&caller, deliver, &id).await?;
    Ok(JsonAnswer(shown(&caller, task)))
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
    Operator(caller): Operator,
    Path(id): Path<String>,
) -> Answer<JsonAnswer<Canceled>> {
    let deliver = hub(&app)?;
    let task = meant(&caller, deliver, &id).await?;
    let canceled = deliver.cancel(&task.id).await.map_err(problem)?;
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

/// The id as it is stored; see [`TaskId::chosen_by`].
fn own_id(caller: &Caller, id: &str) -> Result<TaskId, InvalidTaskId> {
    TaskId::chosen_by(caller.owner.as_ref().map(|owner| owner.0.as_str()), id)
}

/// The id as the caller knows it.
fn known_as(caller: &Caller, id: &TaskId) -> String {
    let owner = caller.owner.as_ref().map(|owner| owner.0.as_str());
    id.known_to(owner).to_owned()
}

/// The task that the caller means: one of their own, or, who sees everybody's, any by the id it is stored under.
async fn meant(caller: &Caller, deliver: &dyn Deliver, id: &str) -> Answer<Task> {
    let own = own_id(caller, id).ok();
    let stored = TaskId::parse(id).ok().filter(|_| caller.owner.is_none());
    for id in [own, stored].into_iter().flatten() {
        if let Some(task) = deliver.task(&id).await.map_err(problem)? {
            return Ok(task);
        }
    }
    Err(no_task())
}

fn shown(caller: &Caller, task: Task) -> TaskView {
    let (id, session) = (known_as(caller, &task.id), known_as(caller, &task.session));
    let mut view = TaskView::from(task);
    (view.id, view.session) = (id, session);
    view
}

/// Everything that is wrong with what was asked, at once.
fn request(app: &App, caller: &Caller, asked: GiveTask) -> Answer<(TaskFor, TaskRequest)> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, detail: String| {
        errors.push(FieldError {
            pointer: pointer.to_owned(),
            code: "invalid".to_owned(),
            detail,
        });
    };
    let to = match (asked.agent, asked.search) {
        (Some(agent), None) => Some(TaskFor::Name(agent)),
        (None, Some(query)) => {
            let fits = !query.trim().is_empty() && query.len() <= MAX_QUERY;
            if !fits {
                wrong("/search", format!("must be 1 to {MAX_QUERY} bytes of text"));
            }
            fits.then_some(TaskFor::Search(query))
        }
        _ => {
            wrong(
                "/agent",
                "name an agent, or say in search what is needed; not both".to_owned(),
            );
            None
        }
    };
    if asked.text.trim().is_empty() || asked.text.contains('\0') {
        wrong("/text", "must be text, without NUL characters".to_owned());
    }
    let mut id = |pointer: &str, given: Option<String>| {
        let given = given.unwrap_or_else(|| app.new_id());
        let id = own_id(caller, &given);
        id.map_err(|e| wrong(pointer, e.to_string())).ok()
    };
    let (task_id, session) = (id("/id", asked.id), id("/session", asked.session));
    let metadata = asked.metadata.unwrap_or_else(|| json!({}));
    if !metadata.is_object() {
        wrong("/metadata", "must be an object".to_owned());
    }
    let deadline = match asked.timeout_seconds {
        None => app.config().task_timeout,
        Some(seconds @ 1..=86_400) => Duration::from_secs(seconds),
        Some(_) => {
            wrong("/timeout_seconds", "must be 1 to 86400".to_owned());
            Duration::ZERO
        }
    };
    match (to, task_id, session, errors.is_empty()) {
        (Some(to), Some(id), Some(session), true) => Ok((
            to,
            TaskRequest {
                text: asked.text,
                session: Some(session),
                id: Some(id),
                metadata,
                deadline: Some(deadline),
            },
        )),
        _ => Err(
            Problem::new(Kind::Invalid, "the task cannot be given as it is").with_errors(errors),
        ),
    }
}

/// Hands the task over.
async fn route(app: &App, caller: &Caller, asked: GiveTask) -> Answer<(Head, Box<dyn TaskStream>)> {
    let (to, request) = request(app, caller, asked)?;
    let mut asker = caller.asker();
    if let TaskFor::Name(name) = &to {
        refuse_who_never_ran(app, caller, name).await?;
    }
    let Some(tasks) = app.tasks() else {
        return Err(Problem::new(
            Kind::NotImplemented,
            "this server takes no tasks",
        ));
    };
    let mut ended = None;
    if let TaskFor::Name(name) = &to {
        // Who sees everybody's agents asks in the name of this one's owner.
        match seen(app, caller, name).await? {
            Some(found) => asker.owner = caller.owner.clone().map_or(found.owner, |own| own.0),
            None => {
                let known = tasks.ended(&asker, name, &request).await;
                ended = Some(known.map_err(unrouted)?.ok_or_else(nobody)?);
            }
        }
    }
    let routed = match ended {
        Some(ended) => ended,
        None => tasks.route(&asker, &to, request).await.map_err(unrouted)?,
    };
    let head = Head {
        shown_id: known_as(caller, &routed.task),
        session: known_as(caller, &routed.session),
        id: routed.task,
        agent: routed.agent,
    };
    Ok((head, routed.stream))
}

/// A task for an agent that never ran and holds no token to connect with would wait for nobody. One whom the caller may not
/// see is left to the Router's own answer.
async fn refuse_who_never_ran(app: &App, caller: &Caller, name: &str) -> Answer<()> {
    if seen(app, caller, name).await?.is_none() {
        return Ok(());
    }
    let Some(found) = app.store().get(name, false).await? else {
        return Ok(());
    };
    let mut tokens = found.auth_tokens.iter();
    let runs = found.agent.status.first_deployed_at.is_some()
        || tokens.any(|t| t.state == AuthTokenState::Current);
    if runs || hub(app)?.is_online(name).await.map_err(problem)? {
        return Ok(());
    }
    Err(never_ran(name, found.agent.status.deployment_status))
}

/// The name is that of a row, so that it can be repeated.
fn never_ran(name: &str, status: DeploymentStatus) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!(
            "the agent is {status} and has not run yet, so that nobody would answer; talon why {name} says what it waits for"
        ),
    )
}

fn nobody() -> Problem {
    Problem::new(Kind::NotFound, "there is no agent of this name")
}

/// What a failure of the Hub is over HTTP.
fn problem(error: DeliverError) -> Problem {
    unrouted(error.into())
}

/// What a refused task is over HTTP. The Router's own sentences may repeat a name or an id: only those about limits, which
/// do not, are passed on.
fn unrouted(error: RouteError) -> Problem {
    match error {
        RouteError::NoSuchAgent(_) => nobody(),
        RouteError::NobodyFound => Problem::new(
            Kind::NotFound,
            "no agent was found that can do this; say it in other words, or name an agent",
        ),
        RouteError::NotHere => Problem::new(
            Kind::NotImplemented,
            "this server has no search: name an agent",
        ),
        RouteError::Deleting(_) => Problem::new(Kind::Conflict, "the agent is being deleted"),
        RouteError::IdTaken(_) => Problem::new(
            Kind::Conflict,
            "the id is taken by another task: choose another",
        ),
        RouteError::Busy(_) => Problem::new(
            Kind::TooManyRequests,
            "too many tasks wait for the agent: try again later",
        )
        .retry_after(Duration::from_secs(5)),
        RouteError::Invalid(why) => Problem::new(Kind::Invalid, why),
        RouteError::Unavailable(why) => {
            tracing::warn!(error = %why, "a task could not be taken");
            Problem::new(Kind::Unavailable, "tasks cannot be taken now")
                .retry_after(Duration::from_secs(2))
        }
    }
}

/// Which task a stream speaks of.
struct Head {
    /// As it is stored.
    id: TaskId,
    /// As its caller knows it.
    shown_id: String,
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
            id: self.shown_id.clone(),
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
    caller: &Caller,
    deliver: &dyn Deliver,
    head: Head,
    mut updates: Box<dyn TaskStream>,
) -> Answer<Response> {
    let mut admission = Admission::of(caller, app);
    loop {
        let mut next = std::pin::pin!(next(app, &mut *updates));
        let update = loop {
            admission.require(app).await?;
            tokio::select! {
                update = next.as_mut() => break update,
                () = admission.is_due() => {}
            }
        };
        match update {
            Some(TaskUpdate::Status { .. }) => {}
            Some(TaskUpdate::Done { .. }) | None => break,
        }
    }
    let task = deliver.task(&head.id).await.map_err(problem)?;
    match task {
        Some(task) if task.state.is_final() => {
            Ok((StatusCode::OK, JsonAnswer(shown(caller, task))).into_response())
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

fn streamed(
    app: App,
    caller: &Caller,
    (head, place): (Head, Place<String>),
    updates: Box<dyn TaskStream>,
) -> Response {
    let heartbeat = app.config().heartbeat;
    let admission = Admission::of(caller, &app);
    let events = stream::unfold(
        Some((app, admission, (head, place), updates)),
        async |state| {
            let (app, mut admission, (head, place), mut updates) = state?;
            let update = {
                let mut next = std::pin::pin!(next(&app, &mut *updates));
                loop {
                    if !admission.holds(&app).await {
                        return None;
                    }
                    tokio::select! {
                        update = next.as_mut() => break update?,
                        () = admission.is_due() => {}
                    }
                }
            };
            let ends = matches!(update, TaskUpdate::Done { .. });
            let (name, data) = head.event(update);
            // Cannot fail: an event is texts.
            let event = Event::default()
                .event(name)
                .json_data(&data)
                .unwrap_or_default();
            let rest = (!ends).then_some((app, admission, (head, place), updates));
            Some((Ok::<_, Infallible>(event), rest))
        },
    );
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(heartbeat))
        .into_response()
}
