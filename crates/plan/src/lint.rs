//! Checks a plan against the rules that every plan must keep. Run by the tests on every plan they make, and by the
//! executor before it acts: a plan that breaks a rule is a defect and is not executed.

use std::collections::BTreeSet;

use crate::step::{Plan, StepKind};

/// Every rule the plan breaks, in words.
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for step in &plan.steps {
        for before in &step.after {
            if !seen.contains(before) {
                broken.push(format!(
                    "step {} ({}) comes before step {before} that it depends on",
                    step.id,
                    step.kind.name()
                ));
            }
        }
        if !seen.insert(step.id) {
            broken.push(format!("step id {} is used twice", step.id));
        }
    }
    let has = |f: fn(&StepKind) -> bool| plan.steps.iter().any(|s| f(&s.kind));
    let makes = has(|k| {
        matches!(
            k,
            StepKind::CreateBucket(_)
                | StepKind::CreateToken(_)
                | StepKind::Upload(_)
                | StepKind::UploadStub { .. }
                | StepKind::RegisterCard(_)
        )
    });
    let tears_down = has(|k| {
        matches!(
            k,
            StepKind::DeleteWorker { .. }
                | StepKind::DeleteBucket(_)
                | StepKind::EmptyBucket(_)
                | StepKind::DeregisterCard
        )
    });
    if makes && tears_down {
        broken.push("a plan both makes and tears down".to_owned());
    }
    if plan.block.as_ref().is_some_and(|b| b.stalled) && makes {
        broken.push("a stalled plan makes things".to_owned());
    }
    let rolls = has(|k| matches!(k, StepKind::RollToken { .. }));
    let places = has(|k| matches!(k, StepKind::Upload(_) | StepKind::PushSecrets { .. }));
    if rolls && !places {
        broken.push("a token is rolled and its new value brought nowhere".to_owned());
    }
    let uploads = plan
        .steps
        .iter()
        .filter(|s| matches!(s.kind, StepKind::Upload(_) | StepKind::PushSecrets { .. }))
        .count();
    if uploads > 1 {
        broken.push("a plan writes to the Worker more than once".to_owned());
    }
    broken
}
