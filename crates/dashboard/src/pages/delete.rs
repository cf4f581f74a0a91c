//! Deleting an agent: what goes, and the name as proof that it is meant.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use talon_core::Snapshot;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_explain::{safe, view};

use super::{Shell, decided, find_to_change, name_of};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::session::Session;
use crate::ui::icon;

struct Part {
    label: &'static str,
    name: String,
}

#[derive(Template)]
#[template(path = "delete.html")]
struct DeletePage {
    shell: Shell,
    name: String,
    protected: bool,
    parts: Vec<Part>,
    wrong: bool,
}

fn page(
    app: &App,
    session: &Session,
    theme: Theme,
    s: &Snapshot,
    wrong: bool,
) -> Result<Response, PageError> {
    let name = s.agent.name.to_string();
    render(&DeletePage {
        shell: Shell::new(
            app,
            session,
            theme,
            format!("Delete {name}"),
            "agent",
            format!("/agents/{name}/delete"),
        ),
        protected: s.agent.spec.deletion_protected,
        parts: s
            .resources
            .iter()
            .filter(|r| r.state != ResourceState::Absent && r.kind != ResourceKind::WorkerRoute)
            .map(|r| Part {
                label: view::kind_label(r.kind),
                name: safe(&r.name),
            })
            .collect(),
        name,
        wrong,
    })
}

/// `GET /agents/{name}/delete`.
pub async fn ask(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
) -> Result<Response, PageError> {
    let s = find_to_change(&app, &session, &name).await?;
    page(&app, &session, theme, &s, false)
}

/// `POST /agents/{name}/delete`.
pub async fn confirmed(
    State(app): State<App>,
    theme: Theme,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    if posted.fields.get("confirm").trim() != s.agent.name.as_str() {
        let mut response = page(&app, &posted.session, theme, &s, true)?;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(response);
    }
    app.store()
        .request_deletion_as(
            &posted.session.visitor.actor(),
            name_of(&s),
            decided(&s),
            posted.fields.ticked("keep_bucket"),
        )
        .await?;
    Ok(Redirect::to(&format!("/agents/{name}/timeline?done=delete")).into_response())
}
