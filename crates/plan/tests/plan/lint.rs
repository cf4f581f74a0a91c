//! Every rule of the linter speaks up when it alone is broken.

use talon_core::cloud::{BucketRef, NewToken};
use talon_core::condition::Reason;
use talon_core::spec::Jurisdiction;
use talon_plan::step::StepId;
use talon_plan::{Block, Plan, Step, StepKind, lint};

fn step(id: StepId, after: &[StepId], kind: StepKind) -> Step {
    Step {
        id,
        kind,
        after: after.to_vec(),
        rebuilds: false,
        why: String::new(),
    }
}

fn create_token() -> StepKind {
    StepKind::CreateToken(NewToken {
        name: "token".to_owned(),
        bucket: "bucket".to_owned(),
        jurisdiction: Jurisdiction::Default,
    })
}

fn push() -> StepKind {
    StepKind::PushSecrets {
        worker: "worker".to_owned(),
        set: Vec::new(),
        unset: Vec::new(),
    }
}

fn empty_bucket() -> StepKind {
    StepKind::EmptyBucket(BucketRef {
        name: "bucket".to_owned(),
        jurisdiction: Jurisdiction::Default,
    })
}

fn roll() -> StepKind {
    StepKind::RollToken {
        id: "id".to_owned(),
        name: "token".to_owned(),
    }
}

fn of(steps: Vec<Step>) -> Plan {
    Plan {
        steps,
        ..Plan::default()
    }
}

#[test]
fn every_rule_alone() {
    let stalled = |stalled, steps| Plan {
        block: Some(Block {
            reason: Reason::NameConflict,
            at: "Worker".to_owned(),
            message: String::new(),
            stalled,
        }),
        ..of(steps)
    };
    let cases = [
        (
            of(vec![step(0, &[], create_token()), step(1, &[0], push())]),
            "",
        ),
        (
            of(vec![step(0, &[1], create_token()), step(1, &[], push())]),
            "step 0 (create-token) comes before step 1 that it depends on",
        ),
        (
            of(vec![step(0, &[], create_token()), step(0, &[], push())]),
            "step id 0 is used twice",
        ),
        (
            of(vec![
                step(0, &[], create_token()),
                step(1, &[], empty_bucket()),
            ]),
            "a plan both makes and tears down",
        ),
        (
            stalled(true, vec![step(0, &[], create_token())]),
            "a stalled plan makes things",
        ),
        (stalled(true, vec![step(0, &[], empty_bucket())]), ""),
        (stalled(false, vec![step(0, &[], create_token())]), ""),
        (
            of(vec![step(0, &[], roll())]),
            "a token is rolled and its new value brought nowhere",
        ),
        (of(vec![step(0, &[], roll()), step(1, &[0], push())]), ""),
        (
            of(vec![step(0, &[], push()), step(1, &[], push())]),
            "a plan writes to the Worker more than once",
        ),
    ];
    for (plan, broken) in cases {
        assert_eq!(lint(&plan).join("; "), broken, "{plan:#?}");
    }
}
