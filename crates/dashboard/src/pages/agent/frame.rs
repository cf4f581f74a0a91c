//! What stands around every tab of an agent: its name, how it is, what can be done with it, and the way to the other tabs.

use askama::Template;
use talon_explain::{age, safe, view};

use super::visit::Visit;
use crate::pages::{Shell, WHILE_MOVING, sync_mark};
use crate::ui::{Markup, ago, icon, pill, status_pill};
use crate::visitor::Role;

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

/// A tab within its page.
#[derive(Template)]
#[template(path = "agent.html")]
pub struct Frame {
    shell: Shell,
    a: Head,
    tabs: Vec<Tab>,
    done: Option<&'static str>,
    tab: Markup,
}

impl Frame {
    /// `tab`: as in [`TABS`]; `content`: what it shows.
    pub fn new(visit: &Visit, tab: &'static str, content: Markup) -> Self {
        let address = |tab: &str| format!("/agents/{}{tab}", visit.snapshot.agent.name);
        Self {
            shell: shell(visit, tab, address(tab)),
            a: head(visit),
            tabs: TABS
                .iter()
                .filter(|(path, _)| *path != "/history" || may_read_history(visit))
                .map(|(path, label)| Tab {
                    href: address(path),
                    label,
                    chosen: *path == tab,
                })
                .collect(),
            done: told(&visit.asked.done),
            tab: content,
        }
    }
}

/// Who changed what and from where is for the role that may read it over HTTP.
fn may_read_history(visit: &Visit) -> bool {
    visit.session.visitor.role >= Role::Operator
}

fn shell(visit: &Visit, tab: &'static str, address: String) -> Shell {
    let s = &visit.snapshot;
    let label = TABS
        .iter()
        .find(|(t, _)| *t == tab)
        .map_or("", |(_, label)| label);
    let title = format!("{} · {label}", s.agent.name);
    let mut shell = Shell::new(
        &visit.app,
        &visit.session,
        visit.theme,
        title,
        "agent",
        address,
    );
    if s.work.lease_owner.is_some()
        || view::agreement(s) != view::Agreement::InSync && !s.agent.is_archived()
    {
        shell.refresh = WHILE_MOVING;
    }
    shell
}

fn head(visit: &Visit) -> Head {
    let s = &visit.snapshot;
    let agent = &s.agent;
    Head {
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
            .filter(|url| is_safe_link(url)),
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
        may_act: visit.session.visitor.role >= Role::Operator,
        archived: agent.is_archived(),
        deleting: agent.is_deleting(),
        suspended: agent.spec.suspend,
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

/// Whether a Worker's address may be a link: https, or plain http on this machine (a local Cloudflare).
fn is_safe_link(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else {
        return false;
    };
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => uri
            .authority()
            .is_some_and(|at| at.host() == "127.0.0.1" && !at.as_str().contains('@')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_safe_link;

    #[test]
    fn only_https_and_this_machine_are_links() {
        for good in [
            "https://a.b.workers.dev",
            "http://127.0.0.1:8787/",
            "http://127.0.0.1",
        ] {
            assert!(is_safe_link(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1.evil.example",
            "http://127.0.0.1@evil.example",
            "http://evil.example",
            "javascript:alert(1)",
            "https:",
            "",
        ] {
            assert!(!is_safe_link(bad), "{bad}");
        }
    }
}
