//! `GET /agents/{name}/logs`: what the controller did, as logs are read.

use askama::Template;
use axum::response::Response;

use super::events::events_of;
use super::visit::Visit;
use crate::error::PageError;
use crate::pages::event;

#[derive(Template)]
#[template(path = "agent_logs.html")]
struct LogsTab {
    name: String,
    events: Vec<event::Line>,
}

/// `GET /agents/{name}/logs`.
pub async fn logs(visit: Visit) -> Result<Response, PageError> {
    let found = events_of(&visit, None).await?;
    visit.show(
        "/logs",
        &LogsTab {
            name: visit.snapshot.agent.name.to_string(),
            events: event::oldest_first(found, visit.snapshot.now),
        },
    )
}
