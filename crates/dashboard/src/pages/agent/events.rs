//! `GET /agents/{name}/events`: what happened, the latest first.

use askama::Template;
use axum::response::Response;
use talon_core::event::{Event, Severity};
use talon_store::glance::GlanceEvents;

use super::visit::Visit;
use crate::error::PageError;
use crate::pages::event;
use crate::ui::icon;

/// Events shown of an agent.
const EVENTS: i64 = 200;

#[derive(Template)]
#[template(path = "agent_events.html")]
struct EventsTab {
    name: String,
    warnings: bool,
    events: Vec<event::Line>,
}

/// What happened to the agent, the oldest first.
pub async fn events_of(visit: &Visit, severity: Option<Severity>) -> Result<Vec<Event>, PageError> {
    let ask = GlanceEvents {
        agent: Some(visit.snapshot.agent.id),
        severity,
        limit: EVENTS,
        ..GlanceEvents::default()
    };
    Ok(visit.app.store().glance_events(&ask).await?)
}

/// `GET /agents/{name}/events`.
pub async fn events(visit: Visit) -> Result<Response, PageError> {
    let warnings = visit.asked.severity == "warning";
    let found = events_of(&visit, warnings.then_some(Severity::Warning)).await?;
    visit.show(
        "/events",
        &EventsTab {
            name: visit.snapshot.agent.name.to_string(),
            warnings,
            events: event::newest_first(found, visit.snapshot.now),
        },
    )
}
