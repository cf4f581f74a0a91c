//! `GET /agents/{name}`: why it is as it is, what it consists of, how it stands.

use askama::Template;
use axum::response::Response;
use talon_store::Store;

use super::conditions::{self, ConditionLine};
use super::facts::{self, Fact};
use super::tree::branches;
use super::visit::Visit;
use crate::error::PageError;
use crate::pages::why;
use crate::ui::{Markup, icon};

#[derive(Template)]
#[template(path = "agent_overview.html")]
struct Overview {
    name: String,
    why: why::Why,
    tree: Markup,
    facts: Vec<Fact>,
    conditions: Vec<ConditionLine>,
}

/// `GET /agents/{name}`.
pub async fn overview(visit: Visit) -> Result<Response, PageError> {
    let (s, visitor) = (&visit.snapshot, &visit.session.visitor);
    let hold = Store::hold(&**visit.app.store()).await?;
    visit.show(
        "",
        &Overview {
            name: s.agent.name.to_string(),
            why: why::why(s, hold.as_ref(), visitor),
            tree: branches(&talon_explain::tree::nodes(s), true),
            facts: facts::of(s),
            conditions: conditions::of(s),
        },
    )
}
