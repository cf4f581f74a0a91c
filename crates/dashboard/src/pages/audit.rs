//! Who changed what, when and from where: the audit log. Names of fields, never a value.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use chrono::Utc;
use serde::Deserialize;
use talon_core::AgentName;
use talon_explain::safe;
use talon_store::access::Audit;

use super::names::{Names, action};
use super::{Shell, require};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::Theme;
use crate::session::Session;
use crate::ui::{Markup, ago, icon, stamp};
use crate::visitor::Role;

/// Entries that are looked through.
const SEARCHED: i64 = 2_000;
/// Entries on a page.
const PAGE: usize = 100;

struct Line {
    when: Markup,
    moment: Markup,
    who: String,
    from: String,
    action: String,
    object: String,
    /// Where the object is shown, if it is an agent.
    href: Option<String>,
    fields: Vec<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    text: String,
    lines: Vec<Line>,
    searched: i64,
    fits: usize,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    q: String,
}

/// It speaks of every owner's agents.
fn for_admins(session: &Session) -> Result<(), PageError> {
    require(session, Role::Admin)?;
    if !session.visitor.may_audit() {
        return Err(PageError::forbidden(
            "The audit log speaks of everybody's agents; your token sees those of one owner.",
        ));
    }
    Ok(())
}

/// `GET /audit`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    for_admins(&session)?;
    let text = talon_core::text::clip(asked.q.trim(), 100);
    let names = Names::read(&app, &session).await?;
    let wanted = text.to_lowercase();
    let lines: Vec<Line> = app
        .store()
        .audit_log(SEARCHED)
        .await?
        .into_iter()
        .map(|entry| line(entry, &names))
        .filter(|line| wanted.is_empty() || line.holds(&wanted))
        .collect();
    render(&AuditPage {
        shell: Shell::new(&app, &session, theme, "Audit", "audit", "/audit".to_owned()),
        fits: lines.len(),
        lines: lines.into_iter().take(PAGE).collect(),
        text,
        searched: SEARCHED,
    })
}

impl Line {
    fn holds(&self, text: &str) -> bool {
        let words = [&self.who, &self.from, &self.action, &self.object];
        let mut all = words.into_iter().chain(&self.fields);
        all.any(|word| word.to_lowercase().contains(text))
    }
}

fn line(entry: Audit, names: &Names) -> Line {
    let of_agent = matches!(
        entry.action.as_str(),
        "insert"
            | "update"
            | "delete"
            | "reconcile"
            | "cleanup_retry"
            | "set_secret"
            | "unset_secret"
            | "rotate_auth"
            | "follow_worker"
    );
    Line {
        when: ago(Utc::now(), entry.at),
        moment: stamp(entry.at),
        who: names.who(&entry.actor),
        from: entry.source.as_deref().map(safe).unwrap_or_default(),
        action: action(&entry.action),
        // As it was written down earlier.
        href: AgentName::parse(entry.object.strip_prefix("agent/").unwrap_or(&entry.object))
            .ok()
            .filter(|_| of_agent)
            .map(|name| format!("/agents/{name}/history")),
        object: safe(&entry.object),
        fields: entry.fields.iter().map(|field| safe(field)).collect(),
    }
}
