//! The HTTP layer: reads a request whole, decides on faults, lets the world answer, writes the log.

use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use crate::admin;
use crate::calllog::{CallClass, CallRecord, loggable};
use crate::connection::DropSwitch;
use crate::faults::{Decision, Fault, Subject};
use crate::operation::{NoRoute, Route, route};
use crate::quota::Standing;
use crate::reply::{ApiError, Reply};
use crate::rest::{self, Request};
use crate::runner::Complaint;
use crate::s3::{self, S3Call};
use crate::shared::Shared;
use crate::tails;

/// Where the REST API lives.
pub(crate) const API_PREFIX: &str = "/client/v4/";
/// Where tests and people steer the simulator.
pub(crate) const ADMIN_PREFIX: &str = "/__admin";
/// No upload is larger than this.
pub(crate) const MAX_BODY: usize = 100 * 1024 * 1024;

/// State of the HTTP layer.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    /// Turns true when the simulator shuts down.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Every path goes to one handler: what a path means is the router's affair in `operation`, so that faults and the log
/// see each call first.
pub(crate) fn router(app: App) -> Router {
    Router::new().fallback(serve).with_state(app)
}

/// What a request is addressed to.
enum Target {
    Rest(Result<Route, NoRoute>),
    S3(S3Call),
}

impl Target {
    fn of(request: &Request) -> Self {
        match request.path.strip_prefix(API_PREFIX) {
            Some(path) => Self::Rest(route(&request.method, path)),
            None => Self::S3(S3Call::of(request)),
        }
    }

    fn operation(&self) -> &'static str {
        match self {
            Self::Rest(Ok(route)) => route.op.endpoint().name,
            Self::Rest(Err(_)) => "none",
            Self::S3(call) => call.op.map_or("none", |op| op.name()),
        }
    }

    fn class(&self, request: &Request) -> CallClass {
        match self {
            Self::Rest(Ok(route)) => route.op.endpoint().class,
            Self::S3(S3Call { op: Some(op), .. }) => op.class(),
            Self::Rest(Err(_)) | Self::S3(S3Call { op: None, .. }) => {
                if request.method.is_safe() {
                    CallClass::Read
                } else {
                    CallClass::Write
                }
            }
        }
    }
}

/// One call on its way through.
struct Call {
    app: App,
    request: Request,
    target: Target,
    standing: Option<Standing>,
    token_id: Option<String>,
    /// What is wrong with uploaded code.
    complaint: OnceLock<ApiError>,
}

async fn serve(
    State(app): State<App>,
    ConnectInfo(switch): ConnectInfo<DropSwitch>,
    request: http::Request<Body>,
) -> Response {
    if request.uri().path().starts_with(tails::PREFIX) {
        return tails::listen(app.shared, app.stopping, request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return respond(ApiError::new(413, 10027, "The request body is too large.").into());
    };
    let request = Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        body,
    };
    if request.path == ADMIN_PREFIX || request.path.starts_with("/__admin/") {
        return respond(admin::answer(&app.shared, &request));
    }
    if request.path == "/" && request.headers.get("authorization").is_none() {
        return respond(Reply::raw(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "A local Cloudflare: REST at /client/v4, S3 at /{bucket}/{key}, steering at /__admin.\n",
        ));
    }
    let target = Target::of(&request);
    let (standing, token_id) = match &target {
        Target::Rest(_) => {
            let token_id = request.bearer().and_then(|value| {
                app.shared
                    .with_world(|w, now| w.token_by_value(value, now).map(|t| t.id.clone()))
            });
            (
                app.shared.count(token_id.as_deref().unwrap_or("unknown")),
                token_id,
            )
        }
        Target::S3(call) => (None, call.access_key(&request)),
    };
    let call = Arc::new(Call {
        app,
        request,
        target,
        standing,
        token_id,
        complaint: OnceLock::new(),
    });
    let running = {
        let switch = switch.clone();
        // On its own: a caller that gives up does not take back what it sent.
        tokio::spawn(async move { call.run(&switch).await })
    };
    running.await.unwrap_or_else(|_| {
        switch.drop_connection();
        Response::new(Body::empty())
    })
}

impl Call {
    async fn run(self: Arc<Self>, switch: &DropSwitch) -> Response {
        if let Some(standing) = self.standing.filter(|s| s.limited) {
            let reply = throttled(Some(standing.reset));
            return self.finish(reply, None, None);
        }
        let decision = self.app.shared.decide(&Subject {
            operation: self.target.operation(),
            method: self.request.method.as_str(),
            path: &self.request.path,
            class: self.target.class(&self.request),
        });
        let Decision { latency_ms, fault } = decision;
        let name = match (&fault, latency_ms) {
            (Some(fault), _) => Some(fault.name()),
            (None, 0) => None,
            (None, _) => Some("latency"),
        };
        if latency_ms > 0 && !self.sleep(latency_ms).await {
            return self.drop_connection(switch, None, name);
        }
        self.try_code().await;
        match fault {
            None | Some(Fault::Latency { .. }) => {
                let reply = self.carry_out();
                let done = Some(reply.status.as_u16());
                self.finish(reply, done, name)
            }
            Some(Fault::Duplicate) => {
                self.carry_out();
                let reply = self.carry_out();
                let done = Some(reply.status.as_u16());
                self.finish(reply, done, name)
            }
            Some(Fault::Status {
                status,
                html,
                code,
                after_commit,
            }) => {
                let done = after_commit.then(|| self.carry_out().status.as_u16());
                self.finish(broken(status, html, code), done, name)
            }
            Some(Fault::Throttle { retry_after }) => {
                self.finish(throttled(retry_after), None, name)
            }
            Some(Fault::ResetBefore) => self.drop_connection(switch, None, name),
            Some(Fault::ResetAfter) => {
                let done = self.carry_out().status.as_u16();
                self.drop_connection(switch, Some(done), name)
            }
            Some(Fault::TimeoutBefore) => {
                self.record(None, None, None, name);
                self.hang(switch).await
            }
            Some(Fault::TimeoutAfter { answer_after_ms }) => {
                let reply = self.carry_out();
                self.record(None, Some(reply.status.as_u16()), reply.code, name);
                match answer_after_ms {
                    Some(ms) if self.sleep(ms).await => respond(reply),
                    Some(_) | None => self.hang(switch).await,
                }
            }
            Some(Fault::LandLate { after_ms }) => {
                self.record(None, None, None, name);
                let late = Arc::clone(&self);
                // On its own: it must land even when the caller has gone.
                tokio::spawn(async move {
                    if late.sleep(after_ms).await {
                        let reply = late.carry_out();
                        late.record(
                            None,
                            Some(reply.status.as_u16()),
                            reply.code,
                            Some("landed_late"),
                        );
                    }
                });
                self.hang(switch).await
            }
        }
    }

    /// Runs the code of an upload once, before the world hears of it: that takes longer than the world may be held.
    async fn try_code(&self) {
        let shared = &self.app.shared;
        let Target::Rest(Ok(route)) = &self.target else {
            return;
        };
        if !shared.runner().runs_code() {
            return;
        }
        let candidate =
            shared.with_world(|world, now| rest::candidate(world, &self.request, route, now));
        if let Some((worker, version)) = candidate
            && let Err(complaint) = shared.runner().validate(&worker, &version).await
        {
            let existed = |class: &str| {
                shared.with_world(|world, _| {
                    let known = world.catalog().workers.get(&worker);
                    known.is_some_and(|w| w.classes.contains_key(class))
                })
            };
            let refusal = match complaint {
                Complaint::DoesNotStart(message) => ApiError::invalid_script(message),
                Complaint::LacksClass(class) if existed(&class) => ApiError::new(
                    400,
                    10064,
                    format!(
                        "New version of script does not export class '{class}' which is depended on by existing Durable Objects."
                    ),
                ),
                Complaint::LacksClass(class) => ApiError::new(
                    400,
                    10070,
                    format!(
                        "Cannot apply new-class migration to class '{class}' that is not exported by script."
                    ),
                ),
            };
            let _ = self.complaint.set(refusal);
        }
    }

    /// Lets the world answer.
    fn carry_out(&self) -> Reply {
        if let Some(complaint) = self.complaint.get() {
            return complaint.clone().into();
        }
        self.app.shared.with_world(|world, now| match &self.target {
            Target::Rest(route) => rest::answer(world, &self.request, route, now),
            Target::S3(call) => s3::answer(world, &self.request, call, now),
        })
    }

    /// Writes the log and answers.
    fn finish(&self, mut reply: Reply, done: Option<u16>, fault: Option<&str>) -> Response {
        self.record(Some(reply.status.as_u16()), done, reply.code, fault);
        if let Some(standing) = self.standing {
            for (name, value) in standing.headers() {
                reply = reply.header(name, value);
            }
        }
        respond(reply)
    }

    fn drop_connection(
        &self,
        switch: &DropSwitch,
        done: Option<u16>,
        fault: Option<&str>,
    ) -> Response {
        self.record(None, done, None, fault);
        switch.drop_connection();
        Response::new(Body::empty())
    }

    /// Never answers; lets go when the simulator stops.
    async fn hang(&self, switch: &DropSwitch) -> Response {
        self.stopped().await;
        switch.drop_connection();
        Response::new(Body::empty())
    }

    async fn stopped(&self) {
        let mut stopping = self.app.stopping.clone();
        if stopping.wait_for(|stop| *stop).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Waits; false if the simulator stops meanwhile.
    async fn sleep(&self, ms: u64) -> bool {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => true,
            () = self.stopped() => false,
        }
    }

    fn record(
        &self,
        status: Option<u16>,
        world_status: Option<u16>,
        code: Option<i64>,
        fault: Option<&str>,
    ) {
        let shared = &self.app.shared;
        let path = loggable(&self.request.path, self.request.query.as_deref());
        tracing::debug!(
            operation = self.target.operation(),
            method = %self.request.method,
            path,
            status,
            fault,
            "call"
        );
        shared.record(CallRecord {
            seq: 0,
            at: shared.clock.now(),
            operation: self.target.operation().to_owned(),
            method: self.request.method.to_string(),
            path,
            class: self.target.class(&self.request),
            status,
            world_status,
            code,
            token_id: self.token_id.clone(),
            fault: fault.map(str::to_owned),
        });
    }
}

fn throttled(retry_after: Option<u64>) -> Reply {
    let reply = Reply::from(ApiError::new(
        429,
        971,
        "Please wait and consider throttling your request speed",
    ));
    match retry_after {
        Some(seconds) => reply.header("retry-after", seconds.to_string()),
        None => reply,
    }
}

fn broken(status: u16, html: bool, code: Option<i64>) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if html {
        return Reply::raw(
            status,
            "text/html; charset=UTF-8",
            format!(
                "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1><p>cloudflare</p></body></html>\n"
            ),
        );
    }
    let code = code.unwrap_or(10002);
    let mut reply = Reply::json(
        status,
        &json!({
            "success": false,
            "errors": [{"code": code, "message": "An internal error prevented this request from being carried out."}],
            "messages": [],
            "result": null,
        }),
    );
    reply.code = Some(code);
    reply
}

pub(crate) fn respond(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&reply.content_type) {
        headers.insert(http::header::CONTENT_TYPE, value);
    }
    headers.insert("server", HeaderValue::from_static("cloudflare"));
    headers.insert("cf-ray", HeaderValue::from_static("0000000000000000-SIM"));
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_ref()),
            HeaderValue::from_str(&value),
        ) {
            headers.insert(name, value);
        }
    }
    response
}
