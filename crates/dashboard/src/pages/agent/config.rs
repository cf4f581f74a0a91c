//! `GET /agents/{name}/config`: what the agent shall be, and what of it is fixed.

use askama::Template;
use axum::response::Response;
use talon_core::Snapshot;
use talon_core::manifest::to_yaml;

use super::divergence;
use super::visit::Visit;
use crate::error::PageError;
use crate::ui::icon;

struct LongText {
    label: &'static str,
    value: String,
    lock: Option<String>,
}

#[derive(Template)]
#[template(path = "agent_config.html")]
struct ConfigTab {
    texts: Vec<LongText>,
    yaml: String,
    diverged: Option<Vec<divergence::Line>>,
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
pub async fn config(visit: Visit) -> Result<Response, PageError> {
    let s = &visit.snapshot;
    let lines = |text: &str| talon_core::text::for_terminal_lines(text).into_owned();
    let spec = &s.agent.spec;
    let mut texts = vec![
        LongText {
            label: "Persona",
            value: lines(&spec.persona),
            lock: locked(s),
        },
        LongText {
            label: "Instructions",
            value: lines(&spec.instructions),
            lock: locked(s),
        },
    ];
    if let Some(md) = &s.agent.status.identity_md {
        let lock = locked(s).map(|_| "As deployed".to_owned());
        texts.push(LongText {
            label: "IDENTITY.md",
            value: lines(md),
            lock,
        });
    }
    visit.show(
        "/config",
        &ConfigTab {
            texts,
            yaml: shown_yaml(s),
            diverged: divergence::of(s),
        },
    )
}

/// The manifest, without anything in it that is no reference: it may be a pasted key.
pub fn shown_yaml(s: &Snapshot) -> String {
    let mut spec = s.agent.spec.clone();
    spec.api_key_refs
        .retain(|_, reference| reference.parse().is_some());
    talon_core::text::for_terminal_lines(&to_yaml(&s.agent.name, &s.agent.owner, &spec))
        .into_owned()
}
