//! The fleet at a glance.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use talon_core::Snapshot;
use talon_core::status::DeploymentStatus;
use talon_explain::{safe, view};
use talon_store::Store;
use talon_store::glance::{GlanceEvents, GlancePage};

use super::{Shell, event, health, query, sync_mark, why};
use crate::app::App;
use crate::chart;
use crate::error::{PageError, show as render};
use crate::fields::Theme;
use crate::session::Session;
use crate::ui::{Markup, ago, icon, status_icon, status_pill, thousands};

/// Agents on a page.
const PAGE: i64 = 50;
/// Agents that want a look and are shown with what to do.
const ATTENTION: usize = 6;
/// Deleted agents that left something behind, shown with them.
const LEFT_OVER: usize = 2;
/// Events shown.
const EVENTS: i64 = 14;

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    q: String,
    status: String,
    show: String,
    after: String,
}

/// The same, understood.
struct Filter {
    status: Option<DeploymentStatus>,
    attention: bool,
    text: String,
}

impl Filter {
    fn is_narrow(&self) -> bool {
        self.status.is_some() || self.attention || !self.text.is_empty()
    }

    fn address(&self, after: &str) -> String {
        let status = self.status.map_or("", DeploymentStatus::as_str);
        let show = if self.attention { "attention" } else { "" };
        format!(
            "/{}",
            query(&[
                ("status", status),
                ("show", show),
                ("q", &self.text),
                ("after", after)
            ])
        )
    }
}

struct Card {
    status: &'static str,
    icon: &'static str,
    count: String,
    share: Markup,
    href: String,
    chosen: bool,
}

struct Row {
    name: String,
    owner: Option<String>,
    status: Markup,
    sync: Markup,
    message: String,
    age: Markup,
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    shell: Shell,
    banner: Markup,
    cards: Vec<Card>,
    attention: Vec<why::Attention>,
    wanting: String,
    more: u64,
    heading: &'static str,
    filter: Filter,
    rows: Vec<Row>,
    range: String,
    first: String,
    next: Option<String>,
    paged: bool,
    page_size: i64,
    events: Vec<event::Line>,
}

/// `GET /`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let filter = Filter {
        status: asked.status.parse().ok(),
        attention: asked.show == "attention",
        text: talon_core::text::clip(asked.q.trim(), 100),
    };
    let owner = session.visitor.owner.as_ref();
    let store = app.store();
    let ask = GlancePage {
        owner: owner.cloned(),
        status: filter.status,
        attention: filter.attention,
        text: Some(filter.text.clone()).filter(|text| !text.is_empty()),
        after: Some(asked.after.clone()).filter(|after| !after.is_empty()),
        limit: PAGE + 1,
    };
    let recent = GlanceEvents {
        owner: owner.cloned(),
        limit: EVENTS,
        ..GlanceEvents::default()
    };
    let wanting = wanting(&**store, owner);
    let (counts, mut page, events, state, hold, wanting, left) = tokio::try_join!(
        store.glance_counts(owner),
        store.glance_page(&ask),
        store.glance_events(&recent),
        store.controller_state(),
        Store::hold(&**store),
        wanting,
        store.glance_left_over(owner, LEFT_OVER as i64),
    )?;
    let more_pages = page.len() as i64 > PAGE;
    page.truncate(PAGE as usize);
    let next = page
        .last()
        .filter(|_| more_pages)
        .map(|last| filter.address(last.agent.name.as_str()));
    let living = wanting.iter().take(ATTENTION);
    let shown_of_living = living.len() as u64;
    let attention: Vec<_> = living
        .chain(&left)
        .map(|s| why::attention(s, &session.visitor))
        .collect();
    let path = filter.address(&asked.after);
    let mut shell = Shell::new(&app, &session, theme, "Fleet", "fleet", path);
    if page.iter().any(is_moving) {
        shell.refresh = super::WHILE_MOVING * 3;
    }
    render(&FleetPage {
        shell,
        banner: health::sentence(&counts, &state, hold.as_ref(), &session.visitor),
        cards: DeploymentStatus::ALL
            .into_iter()
            .map(|status| Card {
                status: status.as_str(),
                icon: status_icon(status),
                count: thousands(counts.of(status)),
                share: chart::share(counts.of(status) as f64 / counts.total().max(1) as f64),
                href: match filter.status == Some(status) {
                    true => "/".to_owned(),
                    false => format!("/?status={status}"),
                },
                chosen: filter.status == Some(status),
            })
            .collect(),
        more: counts.attention.saturating_sub(shown_of_living),
        wanting: thousands(counts.attention + left.len() as u64),
        attention: if filter.is_narrow() || !asked.after.is_empty() {
            Vec::new()
        } else {
            attention
        },
        heading: match (filter.attention, filter.status) {
            (true, _) => "Agents that want a look",
            (false, Some(_)) => "Agents of this status",
            (false, None) => "All agents",
        },
        range: range(&page, more_pages, filter.is_narrow(), counts.total()),
        rows: page
            .iter()
            .map(|s| row(s, session.visitor.owner.is_none()))
            .collect(),
        first: filter.address(""),
        next,
        paged: !asked.after.is_empty(),
        page_size: PAGE,
        filter,
        events: event::newest_first(events, state.now),
    })
}

/// Failed ones first, then whoever else wants a look.
async fn wanting(
    store: &dyn talon_store::WholeStore,
    owner: Option<&talon_core::Owner>,
) -> talon_store::StoreResult<Vec<Snapshot>> {
    let ask = GlancePage {
        owner: owner.cloned(),
        status: Some(DeploymentStatus::Failed),
        limit: ATTENTION as i64,
        ..GlancePage::default()
    };
    let mut found = store.glance_page(&ask).await?;
    if found.len() < ATTENTION {
        let others = GlancePage {
            status: None,
            attention: true,
            limit: 2 * ATTENTION as i64,
            ..ask
        };
        for s in store.glance_page(&others).await? {
            if found.iter().all(|f| f.agent.id != s.agent.id) {
                found.push(s);
            }
        }
    }
    Ok(found)
}

fn is_moving(s: &Snapshot) -> bool {
    s.work.lease_owner.is_some()
        || matches!(
            s.agent.status.deployment_status,
            DeploymentStatus::Deploying | DeploymentStatus::Deleting
        )
}

fn range(page: &[Snapshot], more: bool, narrow: bool, total: u64) -> String {
    match (page.first(), page.last()) {
        (Some(first), Some(last)) if more || page.len() > 10 => {
            let whole = if narrow {
                String::new()
            } else {
                format!(" of {}", thousands(total))
            };
            format!(
                "{}{whole}: {} to {}",
                page.len(),
                first.agent.name,
                last.agent.name
            )
        }
        (Some(_), _) => format!("{} shown", page.len()),
        (None, _) => String::new(),
    }
}

fn row(s: &Snapshot, with_owner: bool) -> Row {
    let owner = &s.agent.owner;
    Row {
        name: s.agent.name.to_string(),
        owner: (with_owner && *owner != talon_core::Owner::default()).then(|| safe(&owner.0)),
        status: status_pill(s.agent.status.deployment_status),
        sync: sync_mark(s),
        message: view::message(s),
        age: ago(s.now, s.agent.created_at),
    }
}
