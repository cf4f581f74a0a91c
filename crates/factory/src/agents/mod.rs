//! Agents as resources: read, written, watched.

mod actions;
mod attempt;
mod conditional;
mod create;
mod delete;
mod feed;
mod list;
mod look;
mod patch;
mod plan;
mod read;
mod replace;
mod secrets;
mod spec;
mod view;
mod wait;
mod watch;
mod write;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use feed::Feed;
pub use look::actor;
pub use spec::components;

/// Where agents live.
pub const AGENTS: &str = "/api/v1/openclaw/agents";

/// What takes as long as its calls to Cloudflare, and must tell what became of them. Each part has a limit of its own: the
/// body, the database, the calls, the wait.
pub fn long_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create::create))
        .routes(routes!(secrets::set, secrets::unset))
        .routes(routes!(secrets::rotate_auth))
}

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(
            read::agent,
            replace::replace,
            patch::patch,
            delete::delete
        ))
        .routes(routes!(plan::last_plan, plan::plan))
        .routes(routes!(read::events))
        .routes(routes!(read::resources))
        .routes(routes!(secrets::list))
        .routes(routes!(actions::reconcile))
        .routes(routes!(actions::suspend))
        .routes(routes!(actions::resume))
        .routes(routes!(
            actions::hold,
            actions::set_hold,
            actions::release_hold
        ))
}
