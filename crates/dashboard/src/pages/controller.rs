//! How the controller stands: its queue, its calls, who works, what agents wait for.

use askama::Template;
use axum::extract::State;
use axum::response::{Redirect, Response};
use talon_core::condition::ConditionType;
use talon_explain::{age, safe, why as explain};
use talon_store::access::NewAudit;
use talon_store::glance::Trouble;
use talon_store::{CONTROLLER, EventFilter, Hold, HoldKind, Store};

use super::{Shell, event, health, require};
use crate::app::App;
use crate::chart;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::samples::{Calls, KEPT};
use crate::session::Session;
use crate::ui::{Markup, ago, icon, thousands, with_commands};
use crate::visitor::Role;

struct HoldShown {
    since: Markup,
    reason: String,
    advice: Markup,
    may_release: bool,
}

struct CallsShown {
    used: String,
    meter: Markup,
    chart: Markup,
    pause: Option<String>,
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
    calls: Option<CallsShown>,
    ceiling: String,
    replicas: Vec<ReplicaShown>,
    troubles: Vec<TroubleShown>,
    events: Vec<event::Line>,
}

/// Places of a chart: what is kept, and now.
const PLACES: usize = KEPT + 1;

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
    let (state, counts, hold, events) = tokio::try_join!(
        store.controller_state(),
        store.glance_counts(None),
        Store::hold(&**store),
        Store::events(&**store, &own),
    )?;
    let now = app.samples().sample(&state);
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
        queue_chart: chart::line(&queue, PLACES, "Agents due over the last ten minutes"),
        oldest: state
            .oldest_due
            .map_or_else(|| "none".to_owned(), |at| age::since(state.now, at)),
        scheduled: thousands(state.scheduled),
        failing: thousands(state.failing),
        calls: app
            .samples()
            .calls(&state)
            .map(|c| calls_shown(c, &calls, app.call_ceiling())),
        ceiling: thousands(u64::from(app.call_ceiling())),
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

fn hold_shown(hold: &Hold, session: &Session, now: chrono::DateTime<chrono::Utc>) -> HoldShown {
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

fn calls_shown(calls: Calls, past: &[f64], ceiling: u32) -> CallsShown {
    let share = f64::from(calls.used) / f64::from(ceiling);
    CallsShown {
        used: thousands(u64::from(calls.used)),
        meter: chart::meter(share, &format!("{} of {ceiling} calls used", calls.used)),
        chart: chart::bars(
            past,
            PLACES,
            f64::from(ceiling) * 0.8,
            "Calls over the last ten minutes",
        ),
        pause: calls.paused_for.map(age::short),
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
    if app.store().release_hold().await?.is_some() {
        let entry = NewAudit {
            action: "release_hold".to_owned(),
            object: "controller".to_owned(),
            fields: Vec::new(),
        };
        let actor = posted.session.visitor.actor();
        app.store().audit(&actor, &entry).await?;
    }
    Ok(Redirect::to("/controller"))
}
