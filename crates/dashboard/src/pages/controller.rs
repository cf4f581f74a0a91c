//! How the controller stands: its queue, its calls, who works, what agents wait for.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};
use talon_core::condition::ConditionType;
use talon_explain::{age, safe, why as explain};
use talon_store::glance::Trouble;
use talon_store::{CONTROLLER, EventFilter, Hold, HoldKind, Store};

use super::{Shell, event, health, require};
use crate::app::App;
use crate::chart;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::gauge::{Calls, CloudToken};
use crate::samples::{KEPT, Sample, answer_time};
use crate::session::Session;
use crate::ui::{Markup, ago, icon, pill, thousands, with_commands};
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

struct PassesShown {
    p50: String,
    p99: String,
    count: String,
    chart: Markup,
}

struct DatabaseShown {
    took: String,
    chart: Markup,
    clock: String,
    clock_is_off: bool,
    change: String,
}

struct TokenShown {
    state: Markup,
    ends: String,
    ends_soon: bool,
    permissions: Vec<String>,
    readable: bool,
    missing: Vec<&'static str>,
    asked: Markup,
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
    passes: Option<PassesShown>,
    database: DatabaseShown,
    token: Option<TokenShown>,
    replicas: Vec<ReplicaShown>,
    troubles: Vec<TroubleShown>,
    events: Vec<event::Line>,
}

/// Places of a chart: what is kept, and now.
const PLACES: usize = KEPT + 1;

/// Events shown.
const EVENTS: i64 = 20;

/// A clock that differs by more makes leases and deadlines end at other times than they seem to.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(2);

/// A token that ends sooner wants a look.
const TOKEN_ENDS_SOON: TimeDelta = TimeDelta::days(14);

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
        passes: passes_shown(&past),
        database: database_shown(&past, app.seen().borrow().seq, state.now),
        token: app
            .gauge()
            .and_then(|gauge| gauge.token())
            .map(|token| token_shown(token, Utc::now())),
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

fn milliseconds(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

fn passes_shown(past: &[Sample]) -> Option<PassesShown> {
    let now = past.last()?.passes?;
    let p99: Vec<f64> = past
        .iter()
        .map(|s| s.passes.map_or(0.0, |p| p.p99.as_secs_f64()))
        .collect();
    Some(PassesShown {
        p50: milliseconds(now.p50),
        p99: milliseconds(now.p99),
        count: thousands(now.count as u64),
        chart: chart::line(&p99, PLACES, "p99 of passes over the last ten minutes"),
    })
}

/// `now`: the database's clock, as it just said.
fn database_shown(past: &[Sample], seq: i64, now: DateTime<Utc>) -> DatabaseShown {
    let took: Vec<f64> = past.iter().map(|s| s.database.as_secs_f64()).collect();
    let off = Utc::now() - now;
    let clock_is_off = off.abs() > CLOCKS_DIFFER;
    DatabaseShown {
        took: past
            .last()
            .map(|s| milliseconds(s.database))
            .unwrap_or_default(),
        chart: chart::line(&took, PLACES, "Answer times over the last ten minutes"),
        clock: match clock_is_off {
            true => format!(
                "its clock differs from this machine's by {} s",
                off.num_seconds().abs()
            ),
            false => "its clock agrees with this machine's".to_owned(),
        },
        clock_is_off,
        change: thousands(u64::try_from(seq).unwrap_or(0)),
    }
}

fn token_shown(token: CloudToken, now: DateTime<Utc>) -> TokenShown {
    let active = token.status.as_deref() == Ok("active");
    let ends_soon = token
        .expires_on
        .is_some_and(|at| at - now < TOKEN_ENDS_SOON);
    let state = match token.status {
        Ok(_) if active && token.missing.is_empty() => pill("good", "check", "active"),
        Ok(_) if active => pill("warn", "warn", "lacks a permission"),
        Ok(word) => pill("bad", "cross", &safe(&word)),
        Err(said) => pill("warn", "warn", &safe(&said)),
    };
    TokenShown {
        state,
        ends: match token.expires_on {
            None => "never ends".to_owned(),
            Some(at) if at <= now => format!("ended {} ago", age::since(now, at)),
            Some(at) => format!("ends in {}", age::since(at, now)),
        },
        ends_soon,
        readable: token.permissions.is_some(),
        permissions: token
            .permissions
            .unwrap_or_default()
            .iter()
            .map(|name| safe(name))
            .collect(),
        missing: token.missing,
        asked: ago(now, token.asked_at),
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
