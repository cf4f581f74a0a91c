//! What a write would do.

use serde::Serialize;
use talon_core::{AgentSpec, Snapshot};
use talon_plan::spec_diff::{self, Effect, FieldChange, Stage};
use talon_store::ApplyOutcome;
use utoipa::ToSchema;

use crate::agents::spec::shown;
use crate::agents::view::AgentView;

/// What a write would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct WritePlan {
    /// `created`, `updated` or `unchanged`.
    pub outcome: String,
    /// The generation before; 0: there is none.
    pub generation: i64,
    /// Field by field.
    pub changes: Vec<Change>,
}

/// What a write answers: the agent or, for a dry run, the plan.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub enum Written {
    /// It is so.
    Agent(Box<AgentView>),
    /// It would be so.
    Plan(WritePlan),
}

/// One field that differs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// Where: `spec.model`, `spec.skills[research].tags`.
    pub field: String,
    /// What is there, short.
    pub from: Option<String>,
    /// What will be there, short.
    pub to: Option<String>,
    /// What it causes: `router_only`, `secret_push`, `first_upload`, `first_bucket`, `behaviour` or `immutable`.
    pub effect: String,
}

impl From<FieldChange> for Change {
    fn from(change: FieldChange) -> Self {
        let effect = match change.effect {
            Effect::RouterOnly => "router_only",
            Effect::SecretPush => "secret_push",
            Effect::FirstUpload => "first_upload",
            Effect::FirstBucket => "first_bucket",
            Effect::Behaviour => "behaviour",
            Effect::Immutable => "immutable",
        };
        // Names of skills and providers stand in brackets or are lower-case: only our own names are turned.
        let (name, rest) = match change.field.split_once('[') {
            Some((name, rest)) => match rest.rsplit_once(']') {
                Some((inner, tail)) => (shown(name), format!("[{inner}]{}", shown(tail))),
                None => (shown(name), String::new()),
            },
            None => (shown(&change.field), String::new()),
        };
        Self {
            field: name + &rest,
            from: change.from,
            to: change.to,
            effect: effect.to_owned(),
        }
    }
}

/// What writing this spec would do.
pub fn write_plan(before: Option<&Snapshot>, spec: &AgentSpec, outcome: ApplyOutcome) -> WritePlan {
    let changes = before.map(|s| spec_diff::diff(&s.agent.spec, spec, Stage::of(s)));
    WritePlan {
        outcome: match outcome {
            ApplyOutcome::Created => "created",
            ApplyOutcome::Updated => "updated",
            ApplyOutcome::Unchanged => "unchanged",
        }
        .to_owned(),
        generation: before.map_or(0, |s| s.agent.generation.0),
        changes: changes.into_iter().flatten().map(Change::from).collect(),
    }
}
