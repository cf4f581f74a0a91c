//! The secrets of an agent: names, fingerprints, sources; and a field that takes a value and never shows one.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use talon_explain::secrets;

use super::agent::{Asked, Base, Head, Tab, base};
use super::{Shell, find, require};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::session::Session;
use crate::ui::{Markup, ago, icon, pill};
use crate::visitor::Role;

struct Line {
    name: String,
    set: Markup,
    fingerprint: String,
    source: String,
    state: String,
    updated: Markup,
}

struct SetForm {
    refused: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "agent_secrets.html")]
struct SecretsPage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    lines: Vec<Line>,
    set: Option<SetForm>,
}

/// `GET /agents/{name}/secrets`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/secrets", asked.done());
    let lines = secrets::lines(&s)
        .into_iter()
        .map(|line| Line {
            name: line.name,
            set: if line.set {
                pill("good", "check", "set")
            } else {
                pill("warn", "warn", "not set")
            },
            fingerprint: line.fingerprint,
            source: line.source,
            state: line.state,
            updated: line.pushed_at.map(|at| ago(s.now, at)).unwrap_or_default(),
        })
        .collect();
    let set = (!s.agent.is_deleting()).then(|| SetForm {
        refused: if session.visitor.role < Role::SecretWriter {
            Some("Setting a key takes the role secret-writer.")
        } else {
            Some("Keys are given by reference here: spec.apiKeyRefs in the manifest. This server takes no values.")
        },
    });
    render(&SecretsPage {
        shell,
        a,
        tabs,
        done,
        lines,
        set,
    })
}

/// `POST /agents/{name}/secrets`.
pub async fn set(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    require(&posted.session, Role::SecretWriter)?;
    find(&app, &posted.session, &name).await?;
    Err(PageError::refused(
        "This server takes no values: give the key by reference. What was sent was dropped.",
    ))
}
