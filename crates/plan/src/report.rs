//! The report that says for each resource what was decided and why.

use serde::Serialize;
use talon_core::resource::ResourceKind;

use crate::step::Plan;

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It is as it should be.
    Keep,
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
    /// Something else comes first.
    Wait,
    /// It is not touched although it is not as desired.
    Refuse,
}

/// What was decided for one resource, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which.
    pub resource: ResourceKind,
    /// What.
    pub action: Action,
    /// For people.
    pub why: String,
}

impl Verdict {
    /// A verdict.
    pub fn new(resource: ResourceKind, action: Action, why: impl Into<String>) -> Self {
        Self {
            resource,
            action,
            why: why.into(),
        }
    }
}

/// The report as it is stored in `agent_work.plan_report`. Stable for an unchanged plan, so that a pass that changes
/// nothing writes nothing.
pub fn to_json(plan: &Plan) -> serde_json::Value {
    serde_json::json!({
        "resources": plan.verdicts,
        "steps": plan.steps.iter().map(|s| serde_json::json!({
            "id": s.id, "step": s.kind.name(), "after": s.after, "why": s.why,
        })).collect::<Vec<_>>(),
        "blocked": plan.block.as_ref().map(|b| serde_json::json!({
            "reason": b.reason, "at": b.at, "message": b.message, "stalled": b.stalled,
        })),
        "held": plan.held.as_ref().map(|h| serde_json::json!({ "reason": h.reason, "message": h.message })),
    })
}
