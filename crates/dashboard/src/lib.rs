//! The dashboard: a fleet at a glance, why an agent is stuck and what to do, rendered by the server and embedded in the
//! binary.
//!
//! Guarantees
//! - Every page and every action works without JavaScript; script adds live updates and shortcuts.
//! - Nothing is loaded from elsewhere, nothing is inlined: the content security policy allows neither.
//! - Whatever people, models or Cloudflare wrote is escaped. No secret value is ever shown; one that is entered goes to
//!   Cloudflare and nowhere else.
//! - A visitor sees and changes agents of their own owner only; what is not theirs does not exist.
//! - Changes are taken only from a page of the same session.
//! - A visitor asks as often, and has as many pages open, as their token may over HTTP.
//!
//! Assumes: tokens of the HTTP API in the database. Decides nothing that the database's rules decide.

mod admission;
mod app;
mod assets;
mod chart;
mod commands;
mod cost;
mod error;
mod feed;
mod fields;
mod gauge;
mod headers;
mod pages;
mod samples;
mod session;
mod stream;
mod ui;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use talon_core::turns::Turns;

use crate::app::App;
pub use crate::app::DashboardParts;
pub use crate::gauge::{Calls, CloudToken, Gauge, Passes};
pub use crate::headers::CONTENT_SECURITY_POLICY;

/// A form may hold a manifest, percent-encoded, beside its other fields.
const MAX_FORM: usize = 4 * 1024 * 1024;

/// The dashboard, ready to be served.
pub struct Dashboard {
    app: App,
}

impl Dashboard {
    /// Must be made within a runtime: it begins to follow the database.
    pub fn new(parts: DashboardParts) -> Self {
        Self {
            app: App::new(parts, None),
        }
    }

    /// As [`Dashboard::new`], and counts its visitors' requests among those that their tokens make elsewhere.
    pub fn counting(parts: DashboardParts, turns: Arc<Turns>) -> Self {
        Self {
            app: App::new(parts, Some(turns)),
        }
    }

    /// The path of a page that signs in, once and within a quarter of an hour, as the token with this SHA-256: for
    /// whoever starts everything on their own machine.
    pub fn one_time_path(&self, token_sha256: &str) -> String {
        format!("/sign-in/{}", self.app.one_time_code(token_sha256))
    }

    /// Everything it answers: `/`, and what lies below `/agents`, `/ui` and the pages' own paths. To be merged beside the
    /// routes of the HTTP API.
    pub fn routes(&self) -> Router {
        use pages::{access, agent, audit, cleanup, controller, delete, edit, fleet, sign_in};
        Router::new()
            .route("/", get(fleet::show))
            .route("/cleanup", get(cleanup::show))
            .route("/controller", get(controller::show))
            .route("/controller/release", post(controller::release))
            .route("/audit", get(audit::show))
            .route("/access", get(access::show).post(access::make))
            .route("/access/{id}/revoke", post(access::revoke))
            .route("/new", get(edit::new).post(edit::new_posted))
            .route("/agents/{name}", get(agent::overview))
            .route("/agents/{name}/timeline", get(agent::timeline))
            .route("/agents/{name}/events", get(agent::events))
            .route("/agents/{name}/logs", get(agent::logs::show))
            .route("/agents/{name}/logs/stream", get(agent::logs::stream))
            .route("/agents/{name}/config", get(agent::config))
            .route("/agents/{name}/history", get(agent::history))
            .route(
                "/agents/{name}/secrets",
                get(agent::secrets::show).post(agent::secrets::set),
            )
            .route("/agents/{name}/edit", get(edit::edit).post(edit::posted))
            .route(
                "/agents/{name}/delete",
                get(delete::ask).post(delete::confirmed),
            )
            .route("/agents/{name}/reconcile", post(agent::reconcile))
            .route("/agents/{name}/suspend", post(agent::suspend))
            .route("/agents/{name}/resume", post(agent::resume))
            .route("/agents/{name}/retry", post(cleanup::retry))
            .route("/sign-in", get(sign_in::ask).post(sign_in::posted))
            .route("/sign-in/{code}", get(sign_in::once))
            .route("/sign-out", post(sign_in::out))
            .route("/theme", post(sign_in::theme))
            .route("/ui/stream", get(stream::serve))
            .route("/ui/assets/{file}", get(assets::serve))
            .layer(DefaultBodyLimit::max(MAX_FORM))
            .layer(middleware::from_fn(headers::add))
            .with_state(self.app.clone())
    }
}
