//! `talon describe`: everything about one agent on one page.

use talon_core::Snapshot;
use talon_core::event::Event;
use talon_core::task::Task;
use talon_explain::secrets;

use super::{age, safe, table};
use crate::cli::Format;
use crate::view;

/// How times are shown.
type When<'w> = &'w dyn Fn(chrono::DateTime<chrono::Utc>) -> String;

/// The page. Times are relative, with `-o wide` absolute.
pub fn render(s: &Snapshot, tasks: &[Task], events: &[Event], format: Format) -> String {
    let when = |at| {
        if format == Format::Wide {
            age::stamp(at)
        } else {
            age::since(s.now, at)
        }
    };
    let mut page = Page::default();
    head(&mut page, s);
    page.field("Runtime", &runtime(s));
    page.field("Connection", &connection(s, &when));
    page.table(
        "Secrets",
        &["NAME", "SET", "FINGERPRINT", "SOURCE", "STATUS", "UPDATED"],
        &secrets(s, &when),
    );
    let conditions: Vec<Vec<String>> = s
        .conditions
        .iter()
        .map(|c| {
            vec![
                c.condition.kind.to_string(),
                c.condition.status.as_str().to_owned(),
                c.condition.observed_generation.to_string(),
                when(c.last_transition_at),
                c.condition.reason.to_string(),
                safe(&c.condition.message),
            ]
        })
        .collect();
    page.table(
        "Conditions",
        &["TYPE", "STATUS", "GEN", "SINCE", "REASON", "MESSAGE"],
        &conditions,
    );
    let tasks: Vec<Vec<String>> = tasks.iter().map(|t| task(t, &when)).collect();
    page.table(
        "Tasks",
        &["ID", "SESSION", "STATE", "ASKED", "BY", "SENT"],
        &tasks,
    );
    let events: Vec<Vec<String>> = events
        .iter()
        .map(|e| {
            let times = if e.count > 1 {
                format!(" (x{})", e.count)
            } else {
                String::new()
            };
            vec![
                e.event.severity.to_string(),
                e.event.reason.to_string(),
                format!("{}{times}", when(e.last_at)),
                safe(&e.event.object),
                safe(&e.event.message),
            ]
        })
        .collect();
    page.table(
        "Events",
        &["TYPE", "REASON", "AGE", "OBJECT", "MESSAGE"],
        &events,
    );
    if let Some(due) = s.work.next_due_at {
        let text = if due > s.now {
            format!("in {}", age::since(due, s.now))
        } else {
            "now".to_owned()
        };
        page.field("Next pass", &text);
    }
    page.0
}

/// Width of the labels.
const LABEL: usize = 13;

#[derive(Default)]
struct Page(String);

impl Page {
    fn field(&mut self, label: &str, text: &str) {
        let label = format!("{label}:");
        self.0.push_str(format!("{label:<LABEL$}{text}").trim_end());
        self.0.push('\n');
    }

    fn table(&mut self, label: &str, headings: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.field(label, "none");
        }
        for (i, line) in table::render(headings, rows, None).lines().enumerate() {
            if i == 0 {
                self.field(label, line);
            } else {
                self.0.push_str(&format!("{:LABEL$}{line}\n", ""));
            }
        }
    }
}

fn head(page: &mut Page, s: &Snapshot) {
    let agent = &s.agent;
    let status = &agent.status;
    let none = || "-".to_owned();
    page.field(
        "Name",
        &format!(
            "{}   Owner: {}   ID: {}",
            agent.name,
            safe(&agent.owner.0),
            agent.id
        ),
    );
    page.field(
        "Status",
        &format!(
            "{}  ({}, {}, generation {} observed {})",
            status.deployment_status,
            if view::ready(s) == talon_core::condition::Truth::True {
                "Ready"
            } else {
                "not Ready"
            },
            view::agreement(s).as_str(),
            agent.generation,
            status.observed_generation
        ),
    );
    page.field("Message", &view::message(s));
    if let Some(error) = &status.deployment_error {
        page.field("Error", &safe(error));
    }
    for violation in &agent.violations {
        page.field(
            "Invalid",
            &safe(&format!("{}: {}", violation.pointer, violation.detail)),
        );
    }
    page.field(
        "Worker",
        &format!(
            "{}   {}",
            status.worker_name.as_deref().map_or_else(none, safe),
            status.worker_url.as_deref().map(safe).unwrap_or_default()
        ),
    );
    page.field(
        "R2",
        &format!(
            "bucket {}   token id {}",
            status.r2_bucket.as_deref().map_or_else(none, safe),
            status
                .r2_token_id
                .as_deref()
                .map_or_else(none, |id| view::short_hash(&safe(id)))
        ),
    );
    page.field("Identity", &identity(s));
    let differ: Vec<Vec<String>> = talon_explain::identity::differences(s)
        .into_iter()
        .map(|d| {
            let said = |text: Option<String>| text.unwrap_or_else(none);
            vec![d.part, said(d.deployed), said(d.now)]
        })
        .collect();
    if !differ.is_empty() {
        // What was deployed stays; the Router has moved on.
        let headings = ["PART", "IN IDENTITY.md, AS DEPLOYED", "IN THE ROUTER"];
        page.table("Differs", &headings, &differ);
    }
    page.field(
        "Model",
        &format!(
            "{}   keep-alive {}   {}",
            safe(&agent.spec.model),
            if agent.spec.keep_alive { "on" } else { "off" },
            match agent.spec.visibility {
                talon_core::spec::Visibility::Private => "private",
                talon_core::spec::Visibility::Public => "public",
            }
        ),
    );
    let skills: Vec<String> = agent.spec.skills.iter().map(|k| safe(&k.id)).collect();
    page.field(
        "Skills",
        &if skills.is_empty() {
            "one default skill".to_owned()
        } else {
            skills.join(", ")
        },
    );
    let mut flags = Vec::new();
    if agent.spec.suspend {
        flags.push("suspended");
    }
    if agent.spec.deletion_protected {
        flags.push("protected from deletion");
    }
    if !agent.spec.deletion_policy.is_default() {
        flags.push("deletion keeps the bucket");
    }
    if !flags.is_empty() {
        page.field("Flags", &flags.join(", "));
    }
}

/// What its Worker last said it runs.
fn runtime(s: &Snapshot) -> String {
    let sha = s.contact.as_ref().and_then(|c| c.runtime.as_deref());
    let said = s.presence.as_ref().and_then(|p| p.runtime.as_deref());
    match (sha, said) {
        (None, None) => "not known yet".to_owned(),
        (Some(sha), None) => format!("sha256 {}", view::short_hash(&safe(sha))),
        (None, Some(said)) => safe(said),
        (Some(sha), Some(said)) => {
            format!("{}   sha256 {}", safe(said), view::short_hash(&safe(sha)))
        }
    }
}

fn connection(s: &Snapshot, when: When<'_>) -> String {
    match &s.presence {
        None => "never connected".to_owned(),
        Some(p) if p.connected => format!(
            "connected since {}   Hub session {}   last seen {}",
            when(p.connected_at),
            view::short_hash(&safe(&p.connection_id)),
            when(p.last_seen)
        ),
        Some(p) => format!(
            "not connected since {}   last seen {}",
            p.disconnected_at.map_or_else(|| "-".to_owned(), when),
            when(p.last_seen)
        ),
    }
}

/// What was asked and what was answered is not shown: it is the asker's business.
fn task(t: &Task, when: When<'_>) -> Vec<String> {
    vec![
        t.id.to_string(),
        t.session.to_string(),
        t.state.to_string(),
        when(t.created_at),
        t.asked_by.as_deref().map(safe).unwrap_or_default(),
        format!("{}x", t.attempts),
    ]
}

fn identity(s: &Snapshot) -> String {
    let status = &s.agent.status;
    let Some(sha) = &status.identity_sha256 else {
        return "not compiled yet".to_owned();
    };
    let mut text = format!("sha256 {}", view::short_hash(sha));
    if let Some(at) = status.first_deployed_at {
        text.push_str(&format!(
            "   locked since {} (persona, instructions)",
            age::stamp(at)
        ));
    }
    text
}

fn secrets(s: &Snapshot, when: When<'_>) -> Vec<Vec<String>> {
    secrets::lines(s)
        .into_iter()
        .map(|line| {
            vec![
                line.name,
                if line.set { "yes" } else { "no" }.to_owned(),
                line.fingerprint,
                line.source,
                line.state,
                line.pushed_at.map(when).unwrap_or_default(),
            ]
        })
        .collect()
}
