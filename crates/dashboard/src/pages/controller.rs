//! How the controller stands: its queue, its calls, who works, what agents wait for.

mod gauges;

use askama::Template;
use axum::extract::State;
use axum::response::{Redirect, Response};
use chrono::{DateTime, Utc};
use talon_core::condition::ConditionType;
use talon_explain::{age, safe, why as explain};
use talon_store::glance::Trouble;
use talon_store::{CONTROLLER, EventFilter, Hold, HoldKind, Store};

use super::{Shell, event, health, require};
use crate::app::App;
use crate::chart;
use crate::commands::with_commands;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::samples::answer_time;
use crate::session::Session;
use crate::ui::{Markup, ago, icon, thousands};
use crate::visitor::Role;

struct HoldShown {
    since: Markup,
    reason: String,
    advice: Markup,
    may_release: bool,
}

struct ReplicaShown {
    holder: String,
    agents: String,
    duties: String,
    until: String,
}

struct TroubleShown {
    tone: &'static str,
    icon: &'static str,
    kind: String,
    reason: String,
    agents: String,
    do_this: Markup,
}

#[derive(Template)]
#[template(path = "controller.html")]
struct ControllerPage {
    shell: Shell,
    banner: Markup,
    hold: Option<HoldShown>,
    due: String,
    working: String,
    queue_chart: Markup,
    oldest: String,
    scheduled: String,
    failing: String,
    calls: Option<gauges::CallsShown>,
    ceiling: String,
    passes: Option<gauges::PassesShown>,
    database: gauges::DatabaseShown,
    token: Option<gauges::TokenShown>,
    replicas: Vec<ReplicaShown>,
    troubles: Vec<TroubleShown>,
    events: Vec<event::Line>,
}

/// Events shown.
const EVENTS: i64 = 20;

/// Speaks of everybody's agents.
fn for_operators(session: &Session) -> Result<(), PageError> {
    if session.visitor.owner.is_some() {
        return Err(PageError::forbidden(
            "This page speaks of everybody's agents; your token sees those of one owner.",
        ));
    }
    Ok(())
}

/// `GET /controller`.
pub async fn show(
    State(app): State<App>,
    session: Session,
    theme: Theme,
) -> Result<Response, PageError> {
    for_operators(&session)?;
    let store = app.store();
    let own = EventFilter {
        agent: Some(CONTROLLER.to_owned()),
        limit: EVENTS,
        ..EventFilter::default()
    };
    let (state, counts, hold, events, answered) = tokio::try_join!(
        store.controller_state(),
        store.glance_counts(None),
        Store::hold(&**store),
        Store::events(&**store, &own),
        answer_time(&**store),
    )?;
    let now = app.samples().look(&state, answered);
    let mut past = app.samples().all();
    past.push(now);
    let queue: Vec<f64> = past.iter().map(|s| s.due as f64).collect();
    let calls: Vec<f64> = past
        .iter()
        .map(|s| f64::from(s.calls.unwrap_or(0)))
        .collect();
    let mut shell = Shell::new(
        &app,
        &session,
        theme,
        "Controller",
        "controller",
        "/controller".to_owned(),
    );
    shell.refresh = 3;
    render(&ControllerPage {
        shell,
        banner: health::sentence(&counts, &state, hold.as_ref(), &session.visitor),
        hold: hold
            .as_ref()
            .map(|hold| hold_shown(hold, &session, state.now)),
        due: thousands(state.due),
        working: thousands(now.working),
        queue_chart: chart::line(
            &queue,
            gauges::PLACES,
            "Agents due over the last ten minutes",
        ),
        oldest: state
            .oldest_due
            .map_or_else(|| "none".to_owned(), |at| age::since(state.now, at)),
        scheduled: thousands(state.scheduled),
        failing: thousands(state.failing),
        calls: app
            .samples()
            .calls(&state)
            .map(|c| gauges::calls(c, &calls, app.call_ceiling())),
        ceiling: thousands(u64::from(app.call_ceiling())),
        passes: gauges::passes(&past),
        database: gauges::database(&past, app.seen().borrow().seq, state.now),
        token: app
            .gauge()
            .and_then(|gauge| gauge.token())
            .map(|token| gauges::token(token, Utc::now())),
        replicas: state
            .replicas
            .iter()
            .map(|r| ReplicaShown {
                holder: safe(&r.holder),
                agents: health::agents(r.agents),
                duties: if r.duties.is_empty() {
                    "none".to_owned()
                } else {
                    safe(&r.duties.join(", "))
                },
                until: format!("in {}", age::since(r.until, state.now)),
            })
            .collect(),
        troubles: state.troubles.iter().map(trouble_shown).collect(),
        events: event::newest_first(events, state.now),
    })
}

fn hold_shown(hold: &Hold, session: &Session, now: DateTime<Utc>) -> HoldShown {
    let advice = match hold.kind {
        HoldKind::MassChange => {
            "Look before you release: the fleet's deleting and failed agents, and the warnings below, say what vanished or is to go."
        }
        HoldKind::RestoredDatabase => {
            "The database is older than it was. Make sure that it is the one you want."
        }
        HoldKind::Operator => "Somebody asked for it. Release it when they are done.",
    };
    HoldShown {
        since: ago(now, hold.since),
        reason: safe(&hold.reason),
        advice: with_commands(advice),
        may_release: session.visitor.role >= Role::Admin,
    }
}

fn trouble_shown(trouble: &Trouble) -> TroubleShown {
    let (tone, icon) = match trouble.kind {
        ConditionType::Stalled => ("bad", "cross"),
        ConditionType::Held => ("warn", "pause"),
        ConditionType::Throttled => ("idle", "clock"),
        ConditionType::Drifted => ("warn", "drift"),
        _ => ("busy", "turn"),
    };
    let advice = explain::advice("NAME", trouble.reason);
    TroubleShown {
        tone,
        icon,
        kind: trouble.kind.to_string(),
        reason: trouble.reason.to_string(),
        agents: thousands(trouble.agents),
        do_this: with_commands(advice.first().map_or("", String::as_str)),
    }
}

/// `POST /controller/release`.
pub async fn release(State(app): State<App>, posted: Posted) -> Result<Redirect, PageError> {
    for_operators(&posted.session)?;
    require(&posted.session, Role::Admin)?;
    app.store()
        .release_hold_as(&posted.session.visitor.actor())
        .await?;
    Ok(Redirect::to("/controller"))
}
