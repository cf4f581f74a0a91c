//! What can be done with an agent by one button.

use axum::extract::{Path, State};
use axum::response::Redirect;
use talon_core::Snapshot;

use crate::app::App;
use crate::error::PageError;
use crate::fields::Posted;
use crate::pages::{decided, find_to_change, name_of};

fn back(s: &Snapshot, done: &str) -> Redirect {
    Redirect::to(&format!("/agents/{}?done={done}", s.agent.name))
}

/// `POST /agents/{name}/reconcile`.
pub async fn reconcile(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store()
        .request_reconcile_as(&posted.session.visitor.actor(), name_of(&s), decided(&s))
        .await?;
    Ok(back(&s, "reconcile"))
}

/// `POST /agents/{name}/suspend`.
pub async fn suspend(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store()
        .set_suspend_as(
            &posted.session.visitor.actor(),
            name_of(&s),
            decided(&s),
            true,
        )
        .await?;
    Ok(back(&s, "suspend"))
}

/// `POST /agents/{name}/resume`.
pub async fn resume(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store()
        .set_suspend_as(
            &posted.session.visitor.actor(),
            name_of(&s),
            decided(&s),
            false,
        )
        .await?;
    Ok(back(&s, "resume"))
}
