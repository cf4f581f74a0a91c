//! `GET /agents/{name}/history`: the moments of an agent's life.

use askama::Template;
use axum::response::Response;

use super::visit::Visit;
use crate::error::PageError;
use crate::ui::{Markup, ago, icon, stamp};

struct Milestone {
    icon: &'static str,
    what: String,
    when: Markup,
    detail: Markup,
}

#[derive(Template)]
#[template(path = "agent_history.html")]
struct HistoryTab {
    milestones: Vec<Milestone>,
}

/// `GET /agents/{name}/history`.
pub async fn history(visit: Visit) -> Result<Response, PageError> {
    let s = &visit.snapshot;
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
    visit.show("/history", &HistoryTab { milestones })
}
