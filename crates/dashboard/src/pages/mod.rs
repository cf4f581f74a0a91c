//! The pages. Each file holds a page: what it reads, what it shows, and what can be done from it.

pub mod access;
pub mod agent;
pub mod audit;
pub mod cleanup;
pub mod controller;
pub mod delete;
pub mod edit;
pub mod event;
pub mod fleet;
pub mod health;
pub mod names;
pub mod sign_in;
pub mod timeline;
pub mod why;

use talon_core::{AgentName, Snapshot};
use talon_explain::view::{self, Agreement};
use talon_store::fleet::Decided;

use crate::app::App;
use crate::assets::Addresses;
use crate::error::PageError;
use crate::fields::{Posted, Theme};
use crate::session::Session;
use crate::ui::{Markup, icon};
use crate::visitor::{Role, Visitor};

/// What every page within the frame shows.
pub struct Shell {
    /// Of the window.
    pub title: String,
    /// Which place of the navigation it belongs to.
    pub section: &'static str,
    /// Who looks.
    pub visitor: Visitor,
    /// What forms must carry.
    pub csrf: String,
    /// The colours that were chosen.
    pub theme: Theme,
    /// How far the change feed was when the page was made.
    pub seq: i64,
    /// After how many seconds the page asks anew, whatever the stream says.
    pub refresh: u32,
    /// Where it stands, to come back to.
    pub path: String,
    /// The files it loads.
    pub assets: Addresses,
}

/// How often a page asks anew while something is under way on it that makes no entry in the change feed.
pub const WHILE_MOVING: u32 = 1;
/// How often otherwise.
pub const WHILE_STILL: u32 = 15;

impl Shell {
    pub fn new(
        app: &App,
        session: &Session,
        theme: Theme,
        title: impl Into<String>,
        section: &'static str,
        path: String,
    ) -> Self {
        Self {
            title: title.into(),
            section,
            visitor: session.visitor.clone(),
            csrf: session.csrf.clone(),
            theme,
            seq: app.seen().borrow().seq,
            refresh: WHILE_STILL,
            path,
            assets: Addresses,
        }
    }
}

/// Refuses whoever may not do at least this.
pub fn require(session: &Session, role: Role) -> Result<(), PageError> {
    if session.visitor.role >= role {
        Ok(())
    } else {
        Err(PageError::forbidden(
            "The role of your token does not allow this. Nothing was done.",
        ))
    }
}

/// The agent of this name, living or archived last, if the visitor may see it.
pub async fn find(app: &App, session: &Session, name: &str) -> Result<Snapshot, PageError> {
    let found = app.store().get(name, true).await?;
    found
        .filter(|s| session.visitor.sees(&s.agent.owner))
        .ok_or_else(PageError::not_found)
}

/// The living agent of this name, if the visitor may see and change it.
pub async fn find_to_change(
    app: &App,
    session: &Session,
    name: &str,
) -> Result<Snapshot, PageError> {
    require(session, Role::Operator)?;
    let found = find(app, session, name).await?;
    if found.agent.is_archived() {
        return Err(PageError::refused(
            "The agent was deleted; its record is kept for billing only.",
        ));
    }
    Ok(found)
}

/// Makes a pass of it due, in the visitor's name.
pub async fn ask_for_a_pass(app: &App, name: &str, posted: &Posted) -> Result<Snapshot, PageError> {
    let s = find_to_change(app, &posted.session, name).await?;
    let actor = posted.session.visitor.actor();
    app.store()
        .request_reconcile_as(&actor, name_of(&s), decided(&s))
        .await?;
    Ok(s)
}

/// The name of an agent that was found.
pub fn name_of(s: &Snapshot) -> &AgentName {
    &s.agent.name
}

/// That a write is about the agent that was found, at whatever generation.
pub fn decided(s: &Snapshot) -> Option<Decided> {
    Some(Decided {
        id: s.agent.id,
        generation: None,
    })
}

/// Whether it is as its row says, as icon and word.
pub fn sync_mark(s: &Snapshot) -> Markup {
    let agreement = view::agreement(s);
    let (tone, image) = match agreement {
        Agreement::InSync => ("good", "check"),
        Agreement::OutOfDate => ("", "dots"),
        Agreement::Drifted => ("warn", "drift"),
        Agreement::Deleting | Agreement::Deleted => ("", "trash"),
    };
    Markup::trusted(format!(
        "<span class=\"sync {tone}\">{}{}</span>",
        icon(image),
        agreement.as_str()
    ))
}

/// A part of a query string.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if !value.is_empty() {
            out.append_pair(name, value);
        }
    }
    let text = out.finish();
    if text.is_empty() {
        text
    } else {
        format!("?{text}")
    }
}
