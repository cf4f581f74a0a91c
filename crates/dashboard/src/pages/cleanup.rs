//! What is being deleted, and what was left over.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use talon_core::Snapshot;
use talon_core::resource::CleanupResult;
use talon_explain::{steps, view};

use super::{Shell, WHILE_MOVING, ask_for_a_pass, timeline};
use crate::app::App;
use crate::cost;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::session::Session;
use crate::ui::{Markup, icon, pill};
use crate::visitor::Role;

/// Agents shown.
const SHOWN: i64 = 100;

struct Step {
    tone: &'static str,
    icon: &'static str,
    label: &'static str,
    word: String,
    detail: String,
    took: String,
    cost: Option<&'static str>,
}

struct Going {
    id: String,
    name: String,
    pill: Markup,
    since: String,
    may_retry: bool,
    steps: Vec<Step>,
    note: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "cleanup.html")]
struct CleanupPage {
    shell: Shell,
    done: Option<&'static str>,
    agents: Vec<Going>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    done: String,
}

/// `GET /cleanup`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let found = app
        .store()
        .glance_cleanup(session.visitor.owner.as_ref(), SHOWN)
        .await?;
    let mut shell = Shell::new(
        &app,
        &session,
        theme,
        "Deleting & leftovers",
        "cleanup",
        "/cleanup".to_owned(),
    );
    if found.iter().any(|s| !s.agent.is_archived()) {
        shell.refresh = WHILE_MOVING;
    }
    render(&CleanupPage {
        shell,
        done: (asked.done == "retry").then_some("Asked for: what failed is tried again now."),
        agents: found.iter().map(|s| going(s, &session)).collect(),
    })
}

fn going(s: &Snapshot, session: &Session) -> Going {
    let archived = s.agent.is_archived();
    let since = s
        .agent
        .status
        .deleted_at
        .or(s.agent.deletion_requested_at)
        .unwrap_or(s.agent.updated_at);
    let ago = talon_explain::age::since(s.now, since);
    Going {
        id: s.agent.id.to_string(),
        name: s.agent.name.to_string(),
        pill: if archived { pill("warn", "warn", "left over") } else { pill("deleting", "trash", "deleting") },
        since: if archived { format!("given up {ago} ago") } else { format!("for {ago}") },
        may_retry: !archived && session.visitor.role >= Role::Operator,
        steps: steps::deleting(s)
            .into_iter()
            .map(|step| {
                let record = s.resources.iter().find(|r| view::kind_label(r.kind) == step.label);
                let (tone, icon, _) = timeline::mark(step.mark);
                Step {
                    tone,
                    icon,
                    label: step.label,
                    word: step.word,
                    detail: step.detail,
                    took: record.filter(|r| r.cleaned_at.is_some()).and_then(|r| (r.cleaned_at? - s.agent.deletion_requested_at?).to_std().ok()).map(timeline::took).unwrap_or_default(),
                    cost: record.filter(|r| r.cleanup_result == Some(CleanupResult::Failed)).and_then(|r| cost::standing(r.kind)),
                }
            })
            .collect(),
        note: archived.then_some("The sweep goes on trying for ever, and corrects this record when it succeeds. Or remove it in Cloudflare's dashboard: the next sweep notices."),
    }
}

/// `POST /agents/{name}/retry`.
pub async fn retry(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    ask_for_a_pass(&app, &name, &posted).await?;
    Ok(Redirect::to("/cleanup?done=retry"))
}
