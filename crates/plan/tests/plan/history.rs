//! Whole histories, from the first look to the last write: what is decided, in which order it is called, and what is
//! written, so that no decision and no record is lost unnoticed.

use std::time::Duration;

use talon_core::spec::DeletionPolicy;

use crate::diary::Diary;
use crate::fixture::{deployed, new_agent};
use crate::reality::Worker;
use crate::scenario;
use crate::stage::{End, Fault, Stage};

/// Goes through it to its end, and tells it: a pass that is like the one before is only counted.
fn told(mut stage: Stage) -> String {
    let mut passes: Vec<(String, usize)> = Vec::new();
    stage.db.diary = Diary::default();
    for _ in 0..100 {
        let end = stage.one_pass();
        let text = format!("{}\n{end:?}", stage.db.diary.take());
        match passes.last_mut().filter(|(last, _)| *last == text) {
            Some((_, times)) => *times += 1,
            None => passes.push((text, 1)),
        }
        match end {
            End::Quiet | End::Stuck => break,
            End::Again(after) => stage.advance(after.max(Duration::from_secs(1))),
        }
    }
    let counted = |(text, times): &(String, usize)| match times {
        1 => text.clone(),
        _ => format!("{text}, {times} times"),
    };
    passes.iter().map(counted).collect::<Vec<_>>().join("\n")
}

fn edited_outside() -> Stage {
    let mut stage = deployed();
    let name = stage.names().worker;
    stage.outside(|r, now| {
        let worker = r.workers.get_mut(&name).unwrap();
        worker.content = "edited".to_owned();
        worker.modified_on = now;
    });
    stage.resync();
    stage
}

#[test]
fn a_change_of_any_kind() {
    for scenario in scenario::all() {
        let name = scenario.name.replace(' ', "_");
        if ["provider", "token_deleted_outside", "delete"].contains(&name.as_str()) {
            insta::assert_snapshot!(name, told(scenario.stage));
        }
    }
}

#[test]
fn a_change_that_lists_do_not_show_yet() {
    for mut scenario in scenario::all() {
        let name = scenario.name.replace(' ', "_");
        let lags = [
            "bundle_and_model",
            "bucket_deleted_outside",
            "card_removed_outside",
            "worker_edited_outside",
        ];
        if lags.contains(&name.as_str()) {
            scenario.stage.lag = Duration::from_secs(29);
            insta::assert_snapshot!(format!("lagging_{name}"), told(scenario.stage));
        }
    }
}

const LATE: Fault = Fault::Late(Duration::from_secs(40));

#[test]
fn a_creation_with_one_bad_answer() {
    for (name, call, fault) in [
        ("create_bucket_lost_and_done", 0, Fault::LostDone),
        ("create_bucket_late", 0, LATE),
        ("create_token_lost_and_done", 1, Fault::LostDone),
        ("create_upload_lost_and_done", 2, Fault::LostDone),
        ("create_upload_lost_and_not_done", 2, Fault::LostNotDone),
    ] {
        let mut stage = new_agent();
        stage.faults.insert(call, fault);
        insta::assert_snapshot!(name, told(stage));
    }
}

#[test]
fn a_creation_whose_fresh_worker_is_listed_without_tags() {
    let mut stage = new_agent();
    stage.reality.tagless = Duration::from_secs(55);
    stage.faults.insert(2, Fault::LostDone);
    insta::assert_snapshot!(told(stage));
}

#[test]
fn an_upload_of_changed_code_with_one_bad_answer() {
    for (name, fault) in [
        ("bundle_upload_lost_and_not_done", Fault::LostNotDone),
        ("bundle_upload_refused", Fault::Refused),
    ] {
        let mut stage = deployed();
        stage.world.bundle.sha256 = "c2".repeat(32);
        stage.faults.insert(0, fault);
        insta::assert_snapshot!(name, told(stage));
    }
}

#[test]
fn a_repair_with_one_bad_answer() {
    for (name, call, fault) in [
        ("repair_roll_late", 0, LATE),
        ("repair_upload_lost_and_done", 1, Fault::LostDone),
        ("repair_upload_refused", 1, Fault::Refused),
    ] {
        let mut stage = edited_outside();
        stage.faults.insert(call, fault);
        insta::assert_snapshot!(name, told(stage));
    }
}

#[test]
fn a_repair_that_lands_after_the_next_one() {
    let mut stage = edited_outside();
    let far = Duration::from_secs(400);
    stage.faults.insert(1, Fault::Late(far));
    insta::assert_snapshot!("before", told(stage.clone()));
    stage.converge();
    stage.resync();
    insta::assert_snapshot!("after", told(stage));
}

#[test]
fn a_push_with_one_bad_answer() {
    for (name, fault) in [
        ("push_lost_and_not_done", Fault::LostNotDone),
        ("push_refused", Fault::Refused),
    ] {
        let mut stage = deployed();
        stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
        stage.faults.insert(0, fault);
        insta::assert_snapshot!(name, told(stage));
    }
}

#[test]
fn a_deletion_that_keeps_the_bucket() {
    let mut stage = deployed();
    stage.edit(|spec| spec.deletion_policy = DeletionPolicy::KeepBucket);
    stage.delete();
    insta::assert_snapshot!(told(stage));
}

#[test]
fn a_deletion_in_the_middle_of_a_creation() {
    for (name, call, fault) in [
        ("delete_after_bucket_refused", 0, Fault::Refused),
        ("delete_after_token_lost_and_done", 1, Fault::LostDone),
        ("delete_after_token_late", 1, LATE),
        ("delete_after_upload_refused", 2, Fault::Refused),
    ] {
        let mut stage = new_agent();
        stage.faults.insert(call, fault);
        stage.one_pass();
        stage.delete();
        insta::assert_snapshot!(name, told(stage));
    }
}

#[test]
fn a_deletion_that_is_refused() {
    let mut stage = deployed();
    stage.delete();
    stage.world.timing.cleanup_deadline = Duration::from_secs(60);
    stage.reality.undeletable = vec!["delete-worker", "empty-bucket", "delete-token"];
    insta::assert_snapshot!(told(stage));
}

#[test]
fn a_deletion_after_a_holder_that_was_frozen() {
    let mut stage = deployed();
    let name = stage.names().worker;
    let ghost = stage.reality.workers[&name].clone();
    stage.delete();
    stage.one_pass();
    stage.db.row.work.unclean_until = Some(stage.now + chrono::TimeDelta::seconds(60));
    stage.outside(|r, now| {
        let (created_on, modified_on) = (now, now);
        let worker = Worker {
            created_on,
            modified_on,
            ..ghost
        };
        r.workers.insert(name, worker);
    });
    insta::assert_snapshot!(told(stage));
}
