//! The numbers on top of the controller's page, each with how it went in the last minutes.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_explain::{age, safe};

use crate::chart;
use crate::gauge::{Calls, CloudToken};
use crate::samples::{KEPT, Sample};
use crate::ui::{Markup, ago, pill, thousands};

/// Places of a chart: what is kept, and now.
pub const PLACES: usize = KEPT + 1;

/// A clock that differs by more makes leases and deadlines end at other times than they seem to.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(2);

/// A token that ends sooner wants a look.
const TOKEN_ENDS_SOON: TimeDelta = TimeDelta::days(14);

/// Calls to Cloudflare.
pub struct CallsShown {
    pub used: String,
    pub meter: Markup,
    pub chart: Markup,
    pub pause: Option<String>,
}

/// How long passes take.
pub struct PassesShown {
    pub p50: String,
    pub p99: String,
    pub count: String,
    pub chart: Markup,
}

/// How the database answers.
pub struct DatabaseShown {
    pub took: String,
    pub chart: Markup,
    pub clock: String,
    pub clock_is_off: bool,
    pub change: String,
}

/// How the token for Cloudflare stands.
pub struct TokenShown {
    pub state: Markup,
    pub ends: String,
    pub ends_soon: bool,
    pub permissions: Vec<String>,
    pub readable: bool,
    pub missing: Vec<&'static str>,
    pub asked: Markup,
}

pub fn calls(calls: Calls, past: &[f64], ceiling: u32) -> CallsShown {
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

pub fn passes(past: &[Sample]) -> Option<PassesShown> {
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
pub fn database(past: &[Sample], seq: i64, now: DateTime<Utc>) -> DatabaseShown {
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

pub fn token(token: CloudToken, now: DateTime<Utc>) -> TokenShown {
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
