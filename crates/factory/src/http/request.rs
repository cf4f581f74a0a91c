//! Around every request: an id, a line in the log (method, route, status, time: never a body, a header or a query), and
//! problems written out.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::problem::{Kind, Problem};
use crate::App;

/// The header that carries the id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id, logs it, and writes problems out.
pub async fn surround(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = app.new_id();
    let method = request.method().clone();
    // The route and not the path: a path may hold anything.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let started = Instant::now();
    let mut response = written(next.run(request).await, &id);
    let took = started.elapsed();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let status = response.status();
    app.metrics().count(&method, &route, status, took);
    tracing::debug!(%method, route, status = status.as_u16(), ms = took.as_millis(), request = %id, "answered");
    response
}

/// Writes out a problem that a handler gave, and makes one of any other error that has no body of ours.
fn written(mut response: Response, id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if problem.kind() == Kind::Internal {
            tracing::error!(request = %id, "a request met an internal error");
        }
        return problem.render(id);
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let content = response.headers().get(header::CONTENT_TYPE);
    let ours = content.is_some_and(|c| c.as_bytes().starts_with(b"application/"));
    if ours {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let problem = of_status(status);
    match allow {
        Some(allow) => problem.with_header(header::ALLOW, allow),
        None => problem,
    }
    .render(id)
}

/// What the framework refused by itself.
fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(Kind::NotFound, "nothing is at this path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            Kind::MethodNotAllowed,
            "this path does not take this method",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Kind::TooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            Kind::UnsupportedMediaType,
            "the body has another media type",
        ),
        status if status.is_server_error() => {
            Problem::new(Kind::Internal, "something went wrong here")
        }
        _ => Problem::new(Kind::Malformed, "the request cannot be read"),
    }
}

/// Ends a request that takes too long to answer. What it asked for may still happen; streams are timed only until they
/// begin, and whoever asked to wait has that time on top.
pub async fn limit_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let config = app.config();
    let query = request.uri().query().unwrap_or_default();
    let waits = query.split('&').any(|pair| pair.starts_with("wait="));
    let limit = if waits {
        config.request_timeout + config.max_wait
    } else {
        config.request_timeout
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            Kind::Unavailable,
            "the answer takes too long; what was asked for may have happened or not: look before you repeat it",
        )
        .retry_after(Duration::from_secs(2))
        .into_response(),
    }
}
