//! The reports people read (`agent_work.plan_report`, `talon plan`), for the main scenarios.

use talon_core::condition::Reason;
use talon_plan::{Held, HeldScope, SecretProblem, report};

use crate::fixture::{deployed, foreign_worker, new_agent};
use crate::scenario;
use crate::stage::{Fault, Stage};

fn shown(stage: &mut Stage) -> String {
    let plan = stage.plan();
    let json = report::to_json(&plan);
    let mut out = String::new();
    for r in json["resources"].as_array().unwrap() {
        let word = |k: &str| r[k].as_str().unwrap_or_default().to_owned();
        out.push_str(&format!(
            "{:12} {:7} {}\n",
            word("resource"),
            word("action"),
            word("why")
        ));
    }
    for s in json["steps"].as_array().unwrap() {
        let after: Vec<String> = s["after"]
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        let (step, why) = (s["step"].as_str().unwrap(), s["why"].as_str().unwrap());
        out.push_str(&format!(
            "{} {step} after [{}]: {why}\n",
            s["id"],
            after.join(", ")
        ));
    }
    for key in ["blocked", "held"] {
        if !json[key].is_null() {
            out.push_str(&format!("{key}: {}\n", json[key]));
        }
    }
    if let Some(recheck) = plan.recheck_in {
        out.push_str(&format!("again in {recheck:?}\n"));
    }
    out.push_str(
        &plan
            .needs
            .iter()
            .map(|n| format!("needs {n:?}\n"))
            .collect::<String>(),
    );
    out
}

#[test]
fn reports_of_every_scenario() {
    for mut scenario in scenario::all() {
        insta::assert_snapshot!(scenario.name.replace(' ', "_"), shown(&mut scenario.stage));
    }
}

#[test]
fn report_of_a_converged_agent() {
    insta::assert_snapshot!(shown(&mut deployed()));
}

#[test]
fn reports_of_what_stands_still() {
    let mut suspended = deployed();
    suspended.edit(|s| s.suspend = true);
    insta::assert_snapshot!("suspended", shown(&mut suspended));

    let mut invalid = new_agent();
    invalid.edit(|s| {
        s.model = "nonsense".to_owned();
        s.persona = String::new();
    });
    insta::assert_snapshot!("invalid", shown(&mut invalid));

    let mut keyless = new_agent();
    keyless.edit(|s| s.api_key_refs.clear());
    insta::assert_snapshot!("awaiting_keys", shown(&mut keyless));

    let mut lost_key = new_agent();
    let message = "env:TALON_SECRET_ANTHROPIC is not set".to_owned();
    let problem = SecretProblem {
        reason: Reason::SecretValueMissing,
        message,
        transient: false,
    };
    lost_key
        .keys
        .insert("ANTHROPIC_API_KEY".to_owned(), Err(problem));
    insta::assert_snapshot!("key_missing", shown(&mut lost_key));

    let mut namesake = new_agent();
    let name = namesake.names().worker;
    namesake.outside(|r, now| drop(r.workers.insert(name, foreign_worker(now))));
    insta::assert_snapshot!("name_conflict", shown(&mut namesake));

    let mut held = new_agent();
    let message = "somebody said so".to_owned();
    held.world.held = Some(Held {
        reason: Reason::HeldByOperator,
        message,
        scope: HeldScope::All,
        since: None,
    });
    insta::assert_snapshot!("held", shown(&mut held));
}

#[test]
fn report_while_the_outcome_of_an_upload_is_open() {
    let mut stage = new_agent();
    stage.faults.insert(2, Fault::LostNotDone);
    stage.one_pass();
    insta::assert_snapshot!(shown(&mut stage));
}
