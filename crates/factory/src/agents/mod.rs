//! Agents as resources: read, written, watched.

mod actions;
mod attempt;
mod callback;
mod conditional;
mod create;
mod delete;
mod feed;
pub mod fleet;
pub mod full;
mod list;
mod logs;
mod look;
mod patch;
mod plan;
mod read;
mod replace;
mod secrets;
pub mod spec;
mod view;
mod wait;
mod watch;
mod write;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use callback::SeenCallbacks;
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
        .routes(routes!(logs::logs))
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
        .routes(routes!(fleet::events))
        .routes(routes!(fleet::leftovers))
        .routes(routes!(fleet::tasks))
        .routes(routes!(fleet::history))
        .routes(routes!(read::resources))
        .routes(routes!(secrets::list))
        .routes(routes!(actions::reconcile))
        .routes(routes!(callback::deployment_callback))
        .routes(routes!(actions::suspend))
        .routes(routes!(actions::resume))
        .routes(routes!(
            actions::hold,
            actions::set_hold,
            actions::release_hold
        ))
}
