//! What can be done with an agent by one button.

use axum::extract::{Path, State};
use axum::response::Redirect;
use talon_core::Snapshot;

use crate::app::App;
use crate::error::PageError;
use crate::fields::Posted;
use crate::pages::{ask_for_a_pass, decided, find_to_change, name_of};

fn back(s: &Snapshot, done: &str) -> Redirect {
    Redirect::to(&format!("/agents/{}?done={done}", s.agent.name))
}

/// `POST /agents/{name}/reconcile`.
pub async fn reconcile(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = ask_for_a_pass(&app, &name, &posted).await?;
    Ok(back(&s, "reconcile"))
}

/// `POST /agents/{name}/suspend`.
pub async fn suspend(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = set_suspended(&app, &name, &posted, true).await?;
    Ok(back(&s, "suspend"))
}

/// `POST /agents/{name}/resume`.
pub async fn resume(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = set_suspended(&app, &name, &posted, false).await?;
    Ok(back(&s, "resume"))
}

async fn set_suspended(
    app: &App,
    name: &str,
    posted: &Posted,
    suspended: bool,
) -> Result<Snapshot, PageError> {
    let s = find_to_change(app, &posted.session, name).await?;
    let actor = posted.session.visitor.actor();
    app.store()
        .set_suspend_as(&actor, name_of(&s), decided(&s), suspended)
        .await?;
    Ok(s)
}
