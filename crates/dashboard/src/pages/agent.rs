//! One agent: why it is as it is, what it consists of, what happened, what it shall be.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use talon_core::Snapshot;
use talon_core::condition::Truth;
use talon_core::event::Severity;
use talon_core::manifest::to_yaml;
use talon_explain::identity::{Difference, differences};
use talon_explain::tree::{self, Node};
use talon_explain::{age, safe, view};
use talon_store::Store;
use talon_store::glance::GlanceEvents;

use super::{
    Shell, WHILE_MOVING, decided, event, find, find_to_change, name_of, sync_mark, timeline, why,
};
use crate::app::App;
use crate::error::{PageError, show as render};
use crate::fields::{Posted, Theme};
use crate::session::Session;
use crate::ui::{Markup, ago, escape, icon, pill, stamp, status_pill};
use crate::visitor::Role;

/// Events shown of an agent.
const EVENTS: i64 = 200;

/// What stands above the tabs.
pub struct Head {
    pub name: String,
    pub owner: String,
    pub pill: Markup,
    pub sync: Markup,
    pub url: Option<String>,
    pub generation: i64,
    pub observed: i64,
    pub age: Markup,
    pub next_pass: Option<String>,
    pub may_act: bool,
    pub archived: bool,
    pub deleting: bool,
    pub suspended: bool,
}

/// A tab.
pub struct Tab {
    pub href: String,
    pub label: &'static str,
    pub chosen: bool,
}

const TABS: [(&str, &str); 7] = [
    ("", "Overview"),
    ("/timeline", "Timeline"),
    ("/events", "Events"),
    ("/config", "Config"),
    ("/secrets", "Secrets"),
    ("/logs", "Logs"),
    ("/history", "History"),
];

/// What every tab shows.
pub struct Base {
    pub shell: Shell,
    pub a: Head,
    pub tabs: Vec<Tab>,
    pub done: Option<&'static str>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    severity: String,
    done: String,
}

impl Asked {
    /// What was just done.
    pub fn done(&self) -> &str {
        &self.done
    }
}

/// What was just done, in words of ours.
fn told(done: &str) -> Option<&'static str> {
    Some(match done {
        "reconcile" => "Asked for: the controller compares the agent with reality now.",
        "suspend" => "Suspended: the controller leaves the agent exactly as it is.",
        "resume" => "Resumed: the controller looks after it again.",
        "applied" => "Written: the controller brings the agent to what you see here.",
        "created" => "Created: the controller deploys it now.",
        "delete" => "Deletion has begun. What becomes of each part is shown here.",
        "secret" => "The key is on the Worker. It was stored nowhere else.",
        _ => return None,
    })
}

pub fn base(
    app: &App,
    session: &Session,
    theme: Theme,
    s: &Snapshot,
    tab: &'static str,
    done: &str,
) -> Base {
    let agent = &s.agent;
    let address = |tab: &str| format!("/agents/{}{tab}", agent.name);
    let label = TABS
        .iter()
        .find(|(t, _)| *t == tab)
        .map_or("", |(_, label)| label);
    let title = format!("{} · {label}", agent.name);
    let mut shell = Shell::new(app, session, theme, title, "agent", address(tab));
    if s.work.lease_owner.is_some()
        || view::agreement(s) != view::Agreement::InSync && !agent.is_archived()
    {
        shell.refresh = WHILE_MOVING;
    }
    Base {
        shell,
        a: Head {
            name: agent.name.to_string(),
            owner: safe(&agent.owner.0),
            pill: if agent.is_archived() {
                pill("gone", "trash", "deleted")
            } else {
                status_pill(agent.status.deployment_status)
            },
            sync: sync_mark(s),
            // Written by the controller; but whoever can write the file can write it, and a link is more than a text.
            url: agent
                .status
                .worker_url
                .clone()
                .filter(|url| url.starts_with("https://") || url.starts_with("http://127.0.0.1")),
            generation: agent.generation.0,
            observed: agent.status.observed_generation.0,
            age: ago(s.now, agent.created_at),
            next_pass: s
                .work
                .next_due_at
                .filter(|_| !agent.is_archived())
                .map(|due| match due > s.now {
                    true => format!("in {}", age::since(due, s.now)),
                    false => "now".to_owned(),
                }),
            may_act: session.visitor.role >= Role::Operator,
            archived: agent.is_archived(),
            deleting: agent.is_deleting(),
            suspended: agent.spec.suspend,
        },
        tabs: TABS
            .iter()
            .map(|(path, label)| Tab {
                href: address(path),
                label,
                chosen: *path == tab,
            })
            .collect(),
        done: told(done),
    }
}

struct Fact {
    label: &'static str,
    value: Markup,
}

struct ConditionLine {
    mark: Markup,
    kind: String,
    reason: String,
    since: Markup,
    message: String,
}

#[derive(Template)]
#[template(path = "agent_overview.html")]
struct Overview {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    why: why::Why,
    tree: Markup,
    facts: Vec<Fact>,
    conditions: Vec<ConditionLine>,
}

/// `GET /agents/{name}`.
pub async fn overview(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let hold = why::hold_for(&session.visitor, Store::hold(&**app.store()).await?);
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "", &asked.done);
    render(&Overview {
        why: why::why(&s, hold.as_ref(), &session.visitor),
        tree: branches(&tree::nodes(&s), true),
        facts: facts(&s),
        conditions: conditions(&s),
        shell,
        a,
        tabs,
        done,
    })
}

/// The tree as a list of lists; what failed stands out.
fn branches(nodes: &[Node], top: bool) -> Markup {
    let mut html = String::new();
    for (at, node) in nodes.iter().enumerate() {
        let (tone, image, said) = match node.good {
            Some(true) => ("good", "check", "in place"),
            Some(false) => ("bad", "cross", "failed"),
            None => ("idle", "dots", "not there, or not known"),
        };
        let class = if node.good == Some(false) {
            " class=\"blocker\""
        } else {
            ""
        };
        let expanded = if node.children.is_empty() {
            ""
        } else {
            " aria-expanded=\"true\""
        };
        let focus = if top && at == 0 { "0" } else { "-1" };
        html.push_str(&format!(
            "<li role=\"treeitem\"{class}{expanded} tabindex=\"{focus}\" aria-selected=\"false\"><div class=\"node\"><span class=\"mark {tone}\">{}</span>\
             <span><span class=\"label\">{}</span> <span class=\"id\">{}</span></span><span class=\"word\"><span class=\"sr\">{said}: </span>{}</span></div>",
            icon(image),
            escape(&node.label),
            escape(&node.name),
            escape(&node.word),
        ));
        if !node.children.is_empty() {
            html.push_str(&format!(
                "<ul role=\"group\">{}</ul>",
                branches(&node.children, false)
            ));
        }
        html.push_str("</li>");
    }
    Markup::trusted(html)
}

fn facts(s: &Snapshot) -> Vec<Fact> {
    let (spec, status) = (&s.agent.spec, &s.agent.status);
    let text = |label, value: &str| Fact {
        label,
        value: Markup::trusted(escape(&safe(value))),
    };
    let code = |label, value: &str| Fact {
        label,
        value: Markup::trusted(format!("<code>{}</code>", escape(&safe(value)))),
    };
    let mut facts = vec![
        code("Model", &spec.model),
        text(
            "Visibility",
            if spec.visibility == talon_core::spec::Visibility::Public {
                "public"
            } else {
                "private"
            },
        ),
        text("Keep-alive", if spec.keep_alive { "on" } else { "off" }),
        text(
            "Skills",
            &match spec.skills.as_slice() {
                [] => "one default skill".to_owned(),
                list => list
                    .iter()
                    .map(|k| k.id.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        ),
    ];
    if let Some(sha) = &status.identity_sha256 {
        facts.push(code(
            "IDENTITY.md",
            &format!("sha256 {}", view::short_hash(sha)),
        ));
    }
    if let Some(at) = status.first_deployed_at {
        facts.push(Fact {
            label: "Locked since",
            value: ago(s.now, at),
        });
    }
    if let Some(presence) = &s.presence {
        facts.push(Fact {
            label: "Hub",
            value: match presence.connected {
                true => Markup::trusted(format!(
                    "connected {} ago",
                    ago(s.now, presence.connected_at)
                )),
                false => {
                    Markup::trusted(format!("last seen {} ago", ago(s.now, presence.last_seen)))
                }
            },
        });
    }
    if let Some(account) = &status.cloudflare_account {
        facts.push(code("Account", account));
    }
    facts.push(code("Id", &s.agent.id.to_string()));
    let flags = [
        (spec.suspend, "suspended"),
        (spec.deletion_protected, "protected from deletion"),
        (
            !spec.deletion_policy.is_default(),
            "deletion keeps the bucket",
        ),
    ];
    for (_, flag) in flags.iter().filter(|(on, _)| *on) {
        facts.push(text("Flag", flag));
    }
    facts
}

fn conditions(s: &Snapshot) -> Vec<ConditionLine> {
    s.conditions
        .iter()
        .map(|stored| {
            let c = &stored.condition;
            use talon_core::condition::ConditionType as T;
            // Of these, it is good that they do not hold.
            let bad_if_true = matches!(c.kind, T::Stalled | T::Held | T::Throttled | T::Drifted);
            let calm = matches!(c.kind, T::Reconciling | T::HubConnected);
            let (tone, image) = match (c.status, bad_if_true, calm) {
                (Truth::True, false, _) | (Truth::False, true, _) => ("good", "check"),
                (Truth::True, true, _) => ("bad", "cross"),
                (Truth::False, false, true) | (Truth::Unknown, ..) => ("idle", "dots"),
                (Truth::False, false, false) => ("warn", "warn"),
            };
            ConditionLine {
                mark: Markup::trusted(format!(
                    "<span class=\"mark {tone}\">{}<span class=\"sr\">{}</span></span>",
                    icon(image),
                    c.status.as_str()
                )),
                kind: format!("{} {}", c.kind, c.status.as_str()),
                reason: c.reason.to_string(),
                since: ago(s.now, stored.last_transition_at),
                message: safe(&c.message),
            }
        })
        .collect()
}

#[derive(Template)]
#[template(path = "agent_timeline.html")]
struct TimelinePage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    heading: &'static str,
    total: String,
    steps: Vec<timeline::Shown>,
}

/// `GET /agents/{name}/timeline`.
pub async fn timeline(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/timeline", &asked.done);
    let timeline::Timeline {
        heading,
        total,
        steps,
    } = timeline::of(&s);
    render(&TimelinePage {
        shell,
        a,
        tabs,
        done,
        heading,
        total,
        steps,
    })
}

#[derive(Template)]
#[template(path = "agent_events.html")]
struct EventsPage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    warnings: bool,
    events: Vec<event::Line>,
}

async fn events_of(
    app: &App,
    s: &Snapshot,
    severity: Option<Severity>,
) -> Result<Vec<talon_core::event::Event>, PageError> {
    let ask = GlanceEvents {
        agent: Some(s.agent.id),
        severity,
        limit: EVENTS,
        ..GlanceEvents::default()
    };
    Ok(app.store().glance_events(&ask).await?)
}

/// `GET /agents/{name}/events`.
pub async fn events(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let warnings = asked.severity == "warning";
    let found = events_of(&app, &s, warnings.then_some(Severity::Warning)).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/events", &asked.done);
    let events = event::newest_first(found, s.now);
    render(&EventsPage {
        shell,
        a,
        tabs,
        done,
        warnings,
        events,
    })
}

#[derive(Template)]
#[template(path = "agent_logs.html")]
struct LogsPage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    events: Vec<event::Line>,
}

/// `GET /agents/{name}/logs`.
pub async fn logs(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let found = events_of(&app, &s, None).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/logs", &asked.done);
    let events = event::oldest_first(found, s.now);
    render(&LogsPage {
        shell,
        a,
        tabs,
        done,
        events,
    })
}

struct LongText {
    label: &'static str,
    value: String,
    lock: Option<String>,
}

#[derive(Template)]
#[template(path = "agent_config.html")]
struct ConfigPage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    texts: Vec<LongText>,
    yaml: String,
    diverged: Vec<Difference>,
}

/// Why persona and instructions cannot change, if they cannot.
pub fn locked(s: &Snapshot) -> Option<String> {
    let at = s.agent.status.first_deployed_at?;
    Some(format!(
        "Fixed since {}: part of the identity that was deployed. Create a new agent to change it.",
        at.format("%Y-%m-%d %H:%M")
    ))
}

/// `GET /agents/{name}/config`.
pub async fn config(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/config", &asked.done);
    let lines = |text: &str| talon_core::text::for_terminal_lines(text).into_owned();
    let spec = &s.agent.spec;
    let mut texts = vec![
        LongText {
            label: "Persona",
            value: lines(&spec.persona),
            lock: locked(&s),
        },
        LongText {
            label: "Instructions",
            value: lines(&spec.instructions),
            lock: locked(&s),
        },
    ];
    if let Some(md) = &s.agent.status.identity_md {
        let lock = locked(&s).map(|_| "As deployed".to_owned());
        texts.push(LongText {
            label: "IDENTITY.md",
            value: lines(md),
            lock,
        });
    }
    let diverged = differences(&s);
    let yaml = shown_yaml(&s);
    render(&ConfigPage {
        shell,
        a,
        tabs,
        done,
        texts,
        yaml,
        diverged,
    })
}

/// The manifest, without anything in it that is no reference: it may be a pasted key.
pub fn shown_yaml(s: &Snapshot) -> String {
    let mut spec = s.agent.spec.clone();
    spec.api_key_refs
        .retain(|_, reference| reference.parse().is_some());
    talon_core::text::for_terminal_lines(&to_yaml(&s.agent.name, &s.agent.owner, &spec))
        .into_owned()
}

struct Milestone {
    icon: &'static str,
    what: String,
    when: Markup,
    detail: Markup,
}

#[derive(Template)]
#[template(path = "agent_history.html")]
struct HistoryPage {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    milestones: Vec<Milestone>,
}

/// `GET /agents/{name}/history`.
pub async fn history(
    State(app): State<App>,
    session: Session,
    theme: Theme,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let s = find(&app, &session, &name).await?;
    let Base {
        shell,
        a,
        tabs,
        done,
    } = base(&app, &session, theme, &s, "/history", &asked.done);
    let agent = &s.agent;
    let mut moments = vec![(Some(agent.created_at), "plus", "Created".to_owned())];
    if agent.generation.0 > 1 {
        let what = format!("Spec changed, now generation {}", agent.generation);
        moments.push((Some(agent.updated_at), "edit", what));
    }
    moments.extend([
        (
            agent.status.first_deployed_at,
            "lock",
            "First deployed: persona and instructions are fixed".to_owned(),
        ),
        (
            agent.reconcile_requested_at,
            "turn",
            "Somebody last asked for a pass".to_owned(),
        ),
        (
            agent.secret_ref_discarded_at,
            "key",
            "Something that was no reference was thrown away".to_owned(),
        ),
        (
            agent.deletion_requested_at,
            "trash",
            "Deletion requested".to_owned(),
        ),
        (
            agent.status.deleted_at,
            "check",
            "Deleted; the record is kept for billing".to_owned(),
        ),
    ]);
    let mut milestones: Vec<_> = moments
        .into_iter()
        .filter_map(|(at, image, what)| Some((at?, image, what)))
        .collect();
    milestones.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let milestones = milestones
        .into_iter()
        .map(|(at, icon, what)| Milestone {
            icon,
            what,
            when: ago(s.now, at),
            detail: stamp(at),
        })
        .collect();
    render(&HistoryPage {
        shell,
        a,
        tabs,
        done,
        milestones,
    })
}

fn back(s: &Snapshot, done: &str) -> Redirect {
    Redirect::to(&format!("/agents/{}?done={done}", s.agent.name))
}

/// `POST /agents/{name}/reconcile`.
pub async fn reconcile(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store().request_reconcile(name_of(&s)).await?;
    Ok(back(&s, "reconcile"))
}

/// `POST /agents/{name}/suspend`.
pub async fn suspend(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store()
        .set_suspend_as(
            &posted.session.visitor.actor(),
            name_of(&s),
            decided(&s),
            true,
        )
        .await?;
    Ok(back(&s, "suspend"))
}

/// `POST /agents/{name}/resume`.
pub async fn resume(
    State(app): State<App>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Redirect, PageError> {
    let s = find_to_change(&app, &posted.session, &name).await?;
    app.store()
        .set_suspend_as(
            &posted.session.visitor.actor(),
            name_of(&s),
            decided(&s),
            false,
        )
        .await?;
    Ok(back(&s, "resume"))
}
