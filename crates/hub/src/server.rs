//! The Hub's two addresses: `/ws/agents`, where agents connect, and `/auth/agent-token`, where an API key is traded for a
//! short token.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{API_KEY_PREFIX, Holder, Presented, sha256_hex};
use crate::config::RateLimit;
use crate::connection::{self, Places};
use crate::rate::Meter;
use crate::shared::Shared;

/// Read at once from a socket. Small, because every idle connection has one.
const READ_BUFFER: usize = 4 * 1024;
/// Gathered before it is written to a socket.
const WRITE_BUFFER: usize = 16 * 1024;
/// Largest request for a token.
const MAX_BODY: usize = 4 * 1024;

#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    trades: Arc<Mutex<Meter>>,
}

/// The routes, to be merged into a server.
pub fn routes(shared: Arc<Shared>) -> Router {
    let per_second = shared.config.trades_per_second;
    let trades = RateLimit {
        frames: per_second,
        frames_burst: per_second.max(1.0),
        bytes: f64::MAX,
        bytes_burst: f64::MAX,
    };
    let trades = Arc::new(Mutex::new(Meter::new(&trades)));
    Router::new()
        .route("/ws/agents", get(connect))
        .route(
            "/auth/agent-token",
            post(trade).layer(DefaultBodyLimit::max(MAX_BODY)),
        )
        .with_state(Server { shared, trades })
}

/// The query of `/ws/agents`. Has no `Debug`.
#[derive(Deserialize)]
struct ConnectQuery {
    token: Option<String>,
}

async fn connect(
    State(server): State<Server>,
    Query(query): Query<ConnectQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let shared = server.shared;
    let places = (
        shared.connections.clone().try_acquire_owned(),
        shared.unregistered.clone().try_acquire_owned(),
    );
    let (Ok(connection), Ok(unregistered)) = places else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
    };
    if shared.stopping.is_cancelled() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the Hub restarts");
    }
    let places = Places {
        connection,
        unregistered,
    };
    let token = query.token.and_then(Presented::new);
    let limit = shared.config.max_frame;
    upgrade
        .max_message_size(limit)
        .max_frame_size(limit)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .on_upgrade(move |socket| {
            let tasks = shared.tasks.clone();
            tasks.track_future(connection::serve(shared, socket, token, places))
        })
}

/// `{"api_key":"sai_…"}` → `{"token","expires_in"}`. 401: no such key, expired or revoked; 403: not an API key at all.
async fn trade(State(server): State<Server>, body: Bytes) -> Response {
    let within_rate = server
        .trades
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .frame(0);
    if !within_rate {
        return refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    }
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let Some(api_key) = body.as_ref().and_then(|b| b.get("api_key")?.as_str()) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "the body is no {\"api_key\":\"…\"}",
        );
    };
    if !api_key.starts_with(API_KEY_PREFIX) {
        return refuse(StatusCode::FORBIDDEN, "this is no API key");
    }
    let shared = &server.shared;
    match shared.store.api_key(&sha256_hex(api_key)).await {
        Ok(Some(key)) => {
            let lifetime = shared.config.token_lifetime;
            let holder = Holder {
                owner: key.owner,
                key: key.id,
            };
            let token = shared.key.sign(&holder, shared.clock.now(), lifetime);
            let answer = json!({"token": token, "expires_in": lifetime.as_secs()});
            answer_json(StatusCode::OK, &answer)
        }
        Ok(None) => refuse(
            StatusCode::UNAUTHORIZED,
            "unknown, expired or revoked API key",
        ),
        Err(e) => {
            tracing::warn!(error = %e, "an API key could not be looked up");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable")
        }
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    answer_json(status, &json!({ "error": why }))
}

fn answer_json(status: StatusCode, body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    (status, headers, body.to_string()).into_response()
}
