//! `GET /agents/{name}/history`: the versions of an agent, who made them, and the moments of its life.

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use talon_core::Snapshot;
use talon_core::event::{Event, EventReason};
use talon_explain::safe;
use talon_store::access::Audit;

use super::events::events_of;
use super::visit::Visit;
use crate::error::PageError;
use crate::pages::names::{Names, action};
use crate::pages::require;
use crate::ui::{Markup, ago, icon, stamp};
use crate::visitor::Role;

/// Entries of the audit log that are looked at.
const ENTRIES: i64 = 500;

struct Milestone {
    icon: &'static str,
    what: String,
    /// Names of changed fields.
    fields: Vec<String>,
    generation: Option<i64>,
    /// Who, and from where.
    who: Option<(String, Option<String>)>,
    when: Markup,
    moment: Markup,
}

#[derive(Template)]
#[template(path = "agent_history.html")]
struct HistoryTab {
    milestones: Vec<Milestone>,
}

/// Something that happened, before it is put into words that show how long ago.
struct Moment {
    at: DateTime<Utc>,
    icon: &'static str,
    what: String,
    fields: Vec<String>,
    generation: Option<i64>,
    who: Option<(String, Option<String>)>,
}

impl Moment {
    fn plain(at: DateTime<Utc>, icon: &'static str, what: impl Into<String>) -> Self {
        Self {
            at,
            icon,
            what: what.into(),
            fields: Vec::new(),
            generation: None,
            who: None,
        }
    }
}

/// `GET /agents/{name}/history`.
pub async fn history(visit: Visit) -> Result<Response, PageError> {
    // It shows who changed what and from where, as the HTTP API does to this role and no other.
    require(&visit.session, Role::Operator)?;
    let s = &visit.snapshot;
    let names = Names::read(&visit.app, &visit.session).await?;
    let log = log_of(&visit).await?;
    let mut moments = changes(s, log, &names);
    moments.extend(versions(events_of(&visit, None).await?));
    moments.extend(turns(s));
    // Of one moment, the latest cause comes first, as they were gathered.
    moments.sort_by_key(|moment| std::cmp::Reverse(moment.at));
    let milestones = moments
        .into_iter()
        .map(|moment| Milestone {
            icon: moment.icon,
            what: moment.what,
            fields: moment.fields,
            generation: moment.generation,
            who: moment.who,
            when: ago(s.now, moment.at),
            moment: stamp(moment.at),
        })
        .collect();
    visit.show("/history", &HistoryTab { milestones })
}

/// What the audit log has about the agent, newest first. Keys and followed Workers stood under another spelling once.
async fn log_of(visit: &Visit) -> Result<Vec<Audit>, PageError> {
    let agent = &visit.snapshot.agent;
    let store = visit.app.store();
    // The row keeps its time to the microsecond, the log perhaps to the millisecond.
    let since = agent.created_at - TimeDelta::milliseconds(1);
    let mut log = store
        .audit_about(agent.name.as_str(), since, ENTRIES)
        .await?;
    let earlier = format!("agent/{}", agent.name);
    log.extend(store.audit_about(&earlier, since, ENTRIES).await?);
    // The hold over everything stands under a name that an agent may bear.
    log.retain(|entry| !matches!(entry.action.as_str(), "hold" | "release_hold"));
    log.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    Ok(log)
}

fn makes_a_generation(entry: &Audit) -> bool {
    matches!(entry.action.as_str(), "insert" | "update" | "delete")
}

/// What people changed. Generations are counted only if the log reaches back to the beginning: it is pruned in time.
fn changes(s: &Snapshot, log: Vec<Audit>, names: &Names) -> Vec<Moment> {
    let specs = log.iter().filter(|e| makes_a_generation(e)).count();
    let whole = i64::try_from(specs).is_ok_and(|specs| specs == s.agent.generation.0);
    let mut generation = s.agent.generation.0;
    log.into_iter()
        .map(|entry| {
            let counted = makes_a_generation(&entry);
            let moment = Moment {
                at: entry.at,
                icon: match entry.action.as_str() {
                    "insert" => "plus",
                    "delete" => "trash",
                    "update" => "edit",
                    "reconcile" | "cleanup_retry" => "turn",
                    _ => "key",
                },
                what: capital(&action(&entry.action)),
                fields: entry.fields.iter().map(|field| safe(field)).collect(),
                generation: (counted && whole).then_some(generation),
                who: Some((names.who(&entry.actor), entry.source.as_deref().map(safe))),
            };
            generation -= i64::from(counted);
            moment
        })
        .collect()
}

/// What went live.
fn versions(events: Vec<Event>) -> Vec<Moment> {
    events
        .into_iter()
        .filter_map(|event| {
            let what = match event.event.reason {
                EventReason::Uploaded => "Worker uploaded",
                EventReason::Deployed => "Deployed",
                EventReason::TokenRolled => "R2 token rolled",
                _ => return None,
            };
            let mut moment = Moment::plain(event.last_at, "turn", what);
            moment.fields = vec![safe(&event.event.message)];
            moment.who = Some(("controller".to_owned(), None));
            Some(moment)
        })
        .collect()
}

/// The turns of its life that stand in its row.
fn turns(s: &Snapshot) -> Vec<Moment> {
    let agent = &s.agent;
    let moments = [
        (
            agent.status.first_deployed_at,
            "lock",
            "First deployed: persona and instructions are fixed from here on",
        ),
        (
            agent.secret_ref_discarded_at,
            "key",
            "Something that was no reference was thrown away",
        ),
        (
            agent.status.deleted_at,
            "check",
            "Deleted; the record is kept for billing",
        ),
    ];
    moments
        .into_iter()
        .filter_map(|(at, icon, what)| Some(Moment::plain(at?, icon, what)))
        .collect()
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
