//! The Agent Factory: Talon over HTTP. Agents as resources, the Agent Router's search, cards and tasks, the Hub's two
//! addresses, health and metrics.
//!
//! Guarantees
//! - Every error is `application/problem+json` and repeats nothing that was submitted.
//! - Bodies, headers and query strings are never logged.
//! - What one request can cost is bounded in bytes, depth and time; streams end when the server stops.
//! - Without an accepted bearer token only health, the document and the Hub's own addresses answer.
//!
//! Assumes: a store whose database enforces the contract's rules; nothing is decided here that a rule decides there.

mod access;
mod agents;
mod app;
pub mod auth;
mod config;
mod health;
mod http;
mod metrics;
mod network;
mod openapi;
mod proxies;
mod rate;
mod server;
mod stall;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use talon_core::guesses::Guesses;
use talon_core::turns::Turns;
use utoipa_axum::router::OpenApiRouter;

pub use access::{TOKEN_PREFIX, new_api_key, new_token};
pub(crate) use app::App;
pub use app::FactoryParts;
pub use auth::OperatorToken;
pub use config::FactoryConfig;
pub use openapi::document;
pub use proxies::{Network, NoNetwork};
pub use server::{PublicAddress, check_address, serve};
pub use talon_core::turns::Rate;

/// What a client and this server say to each other, beyond plain JSON.
pub mod wire {
    pub use crate::agents::fleet::{HistoryEntry, changes_of, events_of, left_over};
    pub use crate::agents::full::{decode, encode};
    pub use crate::agents::spec::Spec;
}

/// Everything this server answers, to be given to [`serve`].
pub fn routes(parts: FactoryParts, config: FactoryConfig) -> Router {
    let turns = Turns::new(config.allowance(), parts.clock.clone());
    let guesses = Guesses::new(config.guesses, parts.clock.clone());
    routes_counting(parts, config, Arc::new(turns), Arc::new(guesses))
}

/// As [`routes`], with callers and wrong tokens counted by what others in this process count by as well.
pub fn routes_counting(
    parts: FactoryParts,
    config: FactoryConfig,
    turns: Arc<Turns>,
    guesses: Arc<Guesses>,
) -> Router {
    let app = App::new(parts, config, turns, guesses);
    let hub = app.hub().map(talon_hub::Hub::routes);
    let quick = quick_routes().layer(middleware::from_fn_with_state(
        app.clone(),
        http::limit_time,
    ));
    let (router, _) = quick.merge(long_routes()).split_for_parts();
    let mut router = router
        .route("/openapi.json", axum::routing::get(openapi::serve))
        .with_state(app.clone());
    if let Some(hub) = hub {
        router = router.merge(hub);
    }
    router.layer(middleware::from_fn_with_state(app, http::surround))
}

fn quick_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(access::routes())
        .merge(agents::routes())
        .merge(network::routes())
}

fn long_routes() -> OpenApiRouter<App> {
    network::long_routes().merge(agents::long_routes())
}
