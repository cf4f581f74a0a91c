//! What is said of an agent: the table of precedence, in full, and the conditions.

use talon_core::condition::{ConditionType, Reason};
use talon_core::mutation::Mutation;
use talon_core::snapshot::SecretState;
use talon_core::status::DeploymentStatus::{self, Deleting, Deployed, Deploying, Failed, Pending};
use talon_plan::status::{PassFailure, Situation, precedence};
use talon_plan::{Held, HeldScope, Input, SecretProblem};

use crate::diary::Diary;
use crate::fixture::{deployed, new_agent, snapshot, spec, start};
use crate::stage::{End, Fault, Stage};

/// `None`: either.
struct Row {
    deleting: Option<bool>,
    whole: Option<bool>,
    live: Option<bool>,
    deployed_before: Option<bool>,
    stalled: Option<bool>,
    failing_long: Option<bool>,
    begun: Option<bool>,
    status: DeploymentStatus,
}

const ANY: Row = Row {
    deleting: None,
    whole: None,
    live: None,
    deployed_before: None,
    stalled: None,
    failing_long: None,
    begun: None,
    status: Pending,
};

/// Architecture §6, row by row; the first that fits decides. `whole`: live, registered and with its bucket.
const TABLE: [Row; 6] = [
    Row {
        deleting: Some(true),
        status: Deleting,
        ..ANY
    },
    Row {
        live: Some(false),
        stalled: Some(true),
        status: Failed,
        ..ANY
    },
    Row {
        deployed_before: Some(false),
        failing_long: Some(true),
        status: Failed,
        ..ANY
    },
    Row {
        deployed_before: Some(true),
        whole: Some(true),
        status: Deployed,
        ..ANY
    },
    Row {
        begun: Some(true),
        status: Deploying,
        ..ANY
    },
    Row {
        status: Pending,
        ..ANY
    },
];

fn from_table(s: Situation) -> DeploymentStatus {
    let fits = |want: Option<bool>, is: bool| want.is_none_or(|w| w == is);
    let whole = s.live && s.registered && s.stored;
    let row = TABLE.iter().find(|row| {
        fits(row.deleting, s.deleting)
            && fits(row.whole, whole)
            && fits(row.live, s.live)
            && fits(row.deployed_before, s.deployed_before)
            && fits(row.stalled, s.stalled)
            && fits(row.failing_long, s.failing_long)
            && fits(row.begun, s.begun)
    });
    row.expect("the last row fits everything").status
}

#[test]
fn all_256_situations_have_the_status_of_the_table() {
    for bits in 0u16..256 {
        let has = |bit: u16| bits & (1 << bit) != 0;
        let s = Situation {
            deleting: has(0),
            live: has(1),
            registered: has(2),
            stored: has(3),
            deployed_before: has(4),
            stalled: has(5),
            failing_long: has(6),
            begun: has(7),
        };
        assert_eq!(precedence(s), from_table(s), "{s:?}");
    }
}

fn situations() -> Vec<(&'static str, Stage)> {
    let mut blocked = new_agent();
    blocked.edit(|s| s.model = "nonsense".to_owned());
    let mut held = new_agent();
    held.world.held = Some(Held {
        reason: Reason::HeldByOperator,
        message: "m".to_owned(),
        scope: HeldScope::All,
        since: None,
    });
    let mut keyless = new_agent();
    keyless.edit(|s| s.api_key_refs.clear());
    let mut deleting = deployed();
    deleting.delete();
    let mut archived = deleting.clone();
    archived.converge();
    let mut drifted = deployed();
    let bucket = drifted.names().bucket;
    drifted.outside(|r, _| r.lose_bucket(&bucket));
    drifted.resync();
    vec![
        ("new", new_agent()),
        ("deployed", deployed()),
        ("blocked", blocked),
        ("held", held),
        ("keyless", keyless),
        ("deleting", deleting),
        ("archived", archived),
        ("drifted", drifted),
    ]
}

#[test]
fn every_condition_is_said_exactly_once_in_every_situation() {
    let failures =
        [(false, false), (true, false), (false, true)].map(|(stalled, throttled)| PassFailure {
            reason: Reason::CloudflareError,
            message: "it did not work".to_owned(),
            stalled,
            throttled,
        });
    for (name, mut stage) in situations() {
        let (snapshot, observed) = stage.observe();
        let world = stage.world.clone();
        let input = Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &world,
        };
        let plan = talon_plan::plan(&input);
        for failure in failures.iter().map(Some).chain([None]) {
            let report = talon_plan::status(&input, &plan, failure);
            let mut kinds: Vec<_> = report.conditions.iter().map(|c| c.kind).collect();
            kinds.sort();
            let mut all = ConditionType::ALL.to_vec();
            all.sort();
            assert_eq!(kinds, all, "{name} {failure:?}");
            let ready = report
                .conditions
                .iter()
                .find(|c| c.kind == ConditionType::Ready)
                .unwrap();
            assert!(
                failure.is_none() || ready.reason != Reason::Deployed,
                "{name}: not ready while failing"
            );
            assert!(
                report.write.observed_generation.is_none() || plan.is_converged(),
                "{name}"
            );
            let failed = report.write.deployment_status == Some(Failed);
            assert_eq!(
                report.write.deployment_error.clone().flatten().is_some(),
                failed,
                "{name} {failure:?}"
            );
        }
    }
}

#[test]
fn a_converged_report_is_stable() {
    let mut stage = deployed();
    let (snapshot, observed) = stage.observe();
    let input = Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    };
    let plan = talon_plan::plan(&input);
    let once = talon_plan::status(&input, &plan, None);
    assert!(
        once.events.is_empty(),
        "nothing happened: {:?}",
        once.events
    );
    assert_eq!(once, talon_plan::status(&input, &plan, None));
}

#[test]
fn failing_becomes_failed_after_ten_minutes_of_which_throttled_time_does_not_count() {
    let mut stage = new_agent();
    stage.reality.undeletable = vec!["create-bucket"];
    let status = |s: &Stage| s.db.row.agent.status.deployment_status;
    let fail = |s: &mut Stage, seconds: u64| {
        s.advance(std::time::Duration::from_secs(seconds));
        assert!(matches!(s.one_pass(), End::Again(_)));
    };
    fail(&mut stage, 0);
    assert_eq!(status(&stage), Deploying);
    fail(&mut stage, 590);
    assert_eq!(status(&stage), Deploying);
    stage.db.row.work.throttled_seconds = 60;
    fail(&mut stage, 30);
    assert_eq!(status(&stage), Deploying);
    fail(&mut stage, 60);
    assert_eq!(status(&stage), Failed);
    assert!(
        stage
            .db
            .row
            .agent
            .status
            .deployment_error
            .as_deref()
            .unwrap()
            .contains("not allowed to")
    );
    stage.reality.undeletable.clear();
    stage.converge();
    assert_eq!(status(&stage), Deployed);
    assert_eq!(stage.db.row.agent.status.deployment_error, None);
}

#[test]
fn an_agent_that_is_live_stays_deployed_while_an_update_is_stuck() {
    let mut stage = deployed();
    let problem = SecretProblem {
        reason: Reason::SecretValueMissing,
        message: "no such variable".to_owned(),
        transient: false,
    };
    stage.keys.insert("OPENAI_API_KEY".to_owned(), Err(problem));
    stage.edit(|s| {
        s.api_key_refs = crate::fixture::refs(&[
            ("openai", "env:TALON_SECRET_X"),
            ("anthropic", "env:TALON_SECRET_ANTHROPIC"),
        ]);
    });
    assert_eq!(stage.one_pass(), End::Stuck);
    let status = &stage.db.row.agent.status;
    assert_eq!(status.deployment_status, Deployed);
    assert!(status.observed_generation < stage.db.row.agent.generation);
    assert_eq!(
        stage.db.condition(ConditionType::Ready).1,
        Reason::OutOfDate
    );
    assert_eq!(
        stage.db.condition(ConditionType::Stalled).1,
        Reason::SecretValueMissing
    );
}

#[test]
fn without_a_look_only_what_the_row_alone_tells_is_said() {
    let down = |stalled| PassFailure {
        reason: Reason::CloudflareError,
        message: "nobody answers".to_owned(),
        stalled,
        throttled: false,
    };
    let said = |row: &talon_core::Snapshot, stalled| {
        let mutations = talon_plan::blind(row, &talon_plan::Timing::default(), &down(stalled));
        mutations.into_iter().find_map(|m| match m {
            Mutation::Status(write) => write.deployment_status,
            _ => None,
        })
    };
    let mut row = snapshot(spec());
    assert_eq!(said(&row, false), None);
    assert_eq!(said(&row, true), Some(Failed));
    row.work.failing_since = Some(start() - chrono::TimeDelta::minutes(11));
    assert_eq!(
        said(&row, false),
        Some(Failed),
        "never there, and failing for long"
    );
    row.agent.status.first_deployed_at = Some(start());
    assert_eq!(said(&row, true), None, "it may well be live");
    row.agent.deletion_requested_at = Some(start());
    assert_eq!(said(&row, false), Some(Deleting));
}

/// All that is said, in every situation and after every kind of pass.
#[test]
fn reports_of_every_situation() {
    let failure = |stalled, throttled| PassFailure {
        reason: Reason::CloudflareError,
        message: "it did not work".to_owned(),
        stalled,
        throttled,
    };
    let passes = [
        ("went well", None),
        ("failed", Some(failure(false, false))),
        ("stalled", Some(failure(true, false))),
        ("throttled", Some(failure(false, true))),
    ];
    let mut more = situations();
    let mut unsettled = new_agent();
    unsettled.faults.insert(2, Fault::LostNotDone);
    unsettled.one_pass();
    more.push(("unsettled", unsettled));
    let mut edited = deployed();
    let worker = edited.names().worker;
    edited.outside(|r, now| {
        let worker = r.workers.get_mut(&worker).unwrap();
        worker.content = "edited".to_owned();
        worker.modified_on = now;
    });
    edited.resync();
    more.push(("edited", edited));
    let mut pushing = deployed();
    pushing.db.row.secrets[0].state = SecretState::Pushing;
    more.push(("pushing", pushing));
    let mut changing = deployed();
    changing.edit(|s| s.keep_alive = !s.keep_alive);
    more.push(("changing", changing));
    let mut stalled = deployed();
    stalled.edit(|s| s.model = "nonsense".to_owned());
    stalled.one_pass();
    let mut goes_on = stalled.clone();
    goes_on.edit(|s| s.model = spec().model);
    more.extend([
        ("stalled before", stalled),
        ("stalled before and goes on", goes_on),
    ]);
    let mut held = deployed();
    held.world.held = Some(Held {
        reason: Reason::HeldByOperator,
        message: "m".to_owned(),
        scope: HeldScope::All,
        since: None,
    });
    held.edit(|s| s.keep_alive = !s.keep_alive);
    held.one_pass();
    more.push(("held before", held));
    let mut out = String::new();
    for (name, mut stage) in more {
        let (snapshot, observed) = stage.observe();
        let input = Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &stage.world,
        };
        let plan = talon_plan::plan(&input);
        for (pass, failure) in &passes {
            let report = talon_plan::status(&input, &plan, failure.as_ref());
            let mut diary = Diary::default();
            diary.writes(&snapshot, &report.into_mutations());
            out.push_str(&format!("{name}, {pass}\n{}\n", diary.take()));
        }
    }
    insta::assert_snapshot!(out);
}
