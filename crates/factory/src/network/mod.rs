//! The Agent Router over HTTP: search, public cards, who is online, and tasks.

mod cards;
mod online;
mod search;
mod tasks;
mod view;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

/// What answers within the time of an ordinary request.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(search::search))
        .routes(routes!(cards::card))
        .routes(routes!(online::online))
        .routes(routes!(tasks::task))
        .routes(routes!(tasks::cancel))
}

/// What takes as long as a task does.
pub fn long_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tasks::give))
}
