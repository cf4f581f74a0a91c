//! `GET /agents/{name}/timeline`: the steps, with how long each took.

use askama::Template;
use axum::response::Response;

use super::visit::Visit;
use crate::error::PageError;
use crate::pages::timeline::{self as steps, Shown};
use crate::ui::icon;

#[derive(Template)]
#[template(path = "agent_timeline.html")]
struct TimelineTab {
    heading: &'static str,
    total: String,
    steps: Vec<Shown>,
}

/// `GET /agents/{name}/timeline`.
pub async fn timeline(visit: Visit) -> Result<Response, PageError> {
    let steps::Timeline {
        heading,
        total,
        steps,
    } = steps::of(&visit.snapshot);
    visit.show(
        "/timeline",
        &TimelineTab {
            heading,
            total,
            steps,
        },
    )
}
