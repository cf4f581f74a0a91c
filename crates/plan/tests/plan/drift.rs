//! What is changed behind our back is put right within one resync, with an event that names it.

use talon_core::condition::ConditionType;
use talon_core::event::EventReason;
use talon_core::secret::names as secret_names;

use crate::fixture::{assert_deployed, deployed};
use crate::reality::Reality;
use crate::stage::{Fault, Stage};

fn repaired(change: impl FnOnce(&mut Reality, &talon_plan::desired::Names)) -> Stage {
    let mut stage = deployed();
    let names = stage.names();
    stage.outside(|r, _| change(r, &names));
    stage.resync();
    stage.converge();
    stage
}

/// What somebody does to a Worker.
type Edit = fn(&mut crate::reality::Worker);

fn assert_told(stage: &Stage, word: &str) {
    let told = stage.db.told(EventReason::DriftDetected);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(word), "{told:?} does not speak of {word}");
}

#[test]
fn a_deleted_worker_is_made_again_with_all_it_had() {
    let mut stage = repaired(|r, n| r.lose_worker(&n.worker));
    assert_eq!(
        stage.calls,
        ["roll-token", "upload", "enable-route", "register-card"]
    );
    assert_told(&stage, &stage.names().worker);
    assert_deployed(&mut stage);
}

#[test]
fn a_deleted_bucket_is_made_again_and_nothing_else() {
    let mut stage = repaired(|r, n| r.lose_bucket(&n.bucket));
    assert_eq!(stage.calls, ["create-bucket"]);
    assert_told(&stage, &stage.names().bucket);
    assert_deployed(&mut stage);
}

#[test]
fn a_deleted_token_is_replaced_and_pushed_in_one_call() {
    let mut stage = repaired(|r, n| r.tokens.retain(|t| t.name != n.token));
    assert_eq!(stage.calls, ["create-token", "push-secrets"]);
    assert_told(&stage, "R2 token");
    assert_deployed(&mut stage);
}

#[test]
fn a_removed_card_is_registered_again() {
    let mut stage = repaired(|r, _| r.card = None);
    assert_eq!(stage.calls, ["register-card"]);
    assert_told(&stage, "Agent Card");
    assert_deployed(&mut stage);
}

#[test]
fn a_worker_edited_in_any_way_is_uploaded_again() {
    let edits: [(&str, Edit); 6] = [
        ("code", |w| w.content = "export default {}".to_owned()),
        ("code and tags", |w| {
            w.content = "export default {}".to_owned();
            w.tags = Some(Vec::new());
        }),
        ("a variable", |w| {
            drop(w.plain.insert("AGENT_NAME".to_owned(), "other".to_owned()))
        }),
        ("a variable more", |w| {
            drop(w.plain.insert("DEBUG".to_owned(), "1".to_owned()))
        }),
        ("a secret less", |w| {
            drop(w.secrets.remove(secret_names::AUTH_TOKEN))
        }),
        ("the bucket", |w| w.bucket = "photos".to_owned()),
    ];
    for (name, edit) in edits {
        let mut stage = deployed();
        let worker = stage.names().worker;
        stage.outside(|r, now| {
            let w = r.workers.get_mut(&worker).unwrap();
            edit(w);
            w.modified_on = now;
        });
        stage.resync();
        stage.converge();
        assert_eq!(
            stage.calls,
            ["roll-token", "upload", "register-card"],
            "{name}"
        );
        assert_told(&stage, &worker);
        assert!(stage.settings_reads <= 1, "{name}");
        assert_deployed(&mut stage);
    }
}

#[test]
fn a_worker_that_was_only_touched_costs_one_read_and_no_call() {
    let mut stage = deployed();
    let worker = stage.names().worker;
    stage.outside(|r, now| r.workers.get_mut(&worker).unwrap().modified_on = now);
    stage.resync();
    stage.converge();
    assert!(stage.calls.is_empty());
    assert_eq!(stage.settings_reads, 1);
    assert!(stage.db.told(EventReason::DriftDetected).is_empty());
    assert_deployed(&mut stage);
    assert_eq!(stage.settings_reads, 1, "the new baseline is remembered");
}

/// A push changes `modified_on` and so hides who wrote; the etag, which covers the code alone, still tells.
#[test]
fn code_edited_between_a_push_of_ours_and_the_next_list_is_seen() {
    for answer in [None, Some(Fault::LostDone)] {
        let mut stage = deployed();
        let worker = stage.names().worker;
        stage.faults.extend(answer.map(|fault| (0, fault)));
        stage.edit(|s| s.model = "anthropic/claude-opus-4-6".to_owned());
        // The pass sees only the lists from before its own call.
        stage.one_pass();
        assert_eq!(stage.calls, ["push-secrets"], "{answer:?}");
        stage.outside(|r, now| {
            let w = r.workers.get_mut(&worker).unwrap();
            w.content = "export default {}".to_owned();
            w.modified_on = now;
        });
        stage.resync();
        stage.converge();
        assert_told(&stage, &worker);
        assert!(
            stage.calls.contains(&"upload"),
            "{answer:?} {:?}",
            stage.calls
        );
        assert_deployed(&mut stage);
    }
}

#[test]
fn a_push_of_ours_alone_is_no_drift() {
    let mut stage = deployed();
    stage.edit(|s| s.model = "anthropic/claude-opus-4-6".to_owned());
    stage.converge();
    stage.resync();
    stage.converge();
    assert_eq!(stage.calls, ["push-secrets"]);
    assert_eq!(stage.settings_reads, 0);
    assert!(stage.db.told(EventReason::DriftDetected).is_empty());
}

#[test]
fn a_second_token_of_our_name_is_dropped_and_the_recorded_one_kept() {
    let mut stage = deployed();
    let name = stage.names().token;
    let recorded = stage.db.row.agent.status.r2_token_id.clone();
    stage.outside(|r, now| {
        let token = crate::reality::Token {
            id: "second".to_owned(),
            name,
            value: "v".to_owned(),
            issued: now,
        };
        r.tokens.insert(0, token);
    });
    stage.resync();
    stage.converge();
    assert_eq!(stage.calls, ["drop-token"]);
    assert_eq!(stage.db.row.agent.status.r2_token_id, recorded);
    assert_deployed(&mut stage);
}

#[test]
fn while_it_is_repaired_the_condition_says_so() {
    let mut stage = deployed();
    let bucket = stage.names().bucket;
    stage.outside(|r, _| r.lose_bucket(&bucket));
    stage.resync();
    stage.reality.undeletable = vec!["create-bucket"];
    stage.one_pass();
    let (truth, _, message) = stage.db.condition(ConditionType::Drifted);
    assert_eq!(truth, "True");
    assert!(message.contains(&bucket), "{message}");
}

#[test]
fn lists_that_come_back_empty_once_destroy_nothing() {
    let mut stage = deployed();
    let names = stage.names();
    let (worker, bucket) = (
        stage.reality.workers[&names.worker].clone(),
        stage.reality.buckets[&names.bucket].clone(),
    );
    let kept = std::mem::replace(&mut stage.reality, Reality::new());
    stage.reality.card.clone_from(&kept.card);
    stage.resync();
    stage.plan();
    stage.reality = kept;
    stage.converge();
    crate::fixture::settle(&mut stage);
    assert_deployed(&mut stage);
    assert_eq!(
        stage.reality.buckets[&names.bucket], bucket,
        "the bucket is the same"
    );
    assert_eq!(
        stage.reality.workers[&names.worker].script_tag, worker.script_tag,
        "and so is the Worker"
    );
}
