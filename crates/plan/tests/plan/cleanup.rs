//! Deleting an agent: every subset of what is already gone, refused or came back; exact results for each resource.

use std::time::Duration;

use talon_core::condition::{ConditionType, Reason};
use talon_core::event::EventReason;
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::spec::DeletionPolicy;
use talon_core::status::DeploymentStatus;

use crate::fixture::{assert_foreign_untouched, assert_gone, deployed, new_agent, settle};
use crate::stage::{End, Fault, Stage};

const KINDS: [ResourceKind; 5] = [
    ResourceKind::Worker,
    ResourceKind::R2Objects,
    ResourceKind::R2Bucket,
    ResourceKind::R2Token,
    ResourceKind::AgentCard,
];

fn results(stage: &Stage) -> Vec<Option<CleanupResult>> {
    KINDS.iter().map(|k| stage.db.cleanup(*k)).collect()
}

#[test]
fn everything_goes_in_order_and_is_looked_for_once_more() {
    let mut stage = deployed();
    let bucket = stage.names().bucket;
    stage.outside(|r, _| r.buckets.get_mut(&bucket).unwrap().objects = 3);
    stage.delete();
    stage.converge();
    assert_eq!(
        stage.calls,
        [
            "delete-worker",
            "empty-bucket",
            "delete-bucket",
            "delete-token",
            "deregister-card"
        ]
    );
    assert_eq!(
        stage.list_reads, 1,
        "lists from after the last deletion, and no other"
    );
    assert_eq!(results(&stage), [Some(CleanupResult::Deleted); 5]);
    assert_gone(&mut stage);
    assert_eq!(
        stage.db.told(EventReason::Archived),
        ["everything is cleaned up; the row is kept for billing"]
    );
}

#[test]
fn every_subset_already_gone_is_told_exactly() {
    let calm = deployed();
    for gone in 0u8..16 {
        // Seen as gone by a list, or not: the answers to the calls decide.
        for looked in [false, true] {
            let mut stage = calm.clone();
            let names = stage.names();
            let has = |bit: u8| gone & (1 << bit) != 0;
            stage.outside(|r, _| {
                if has(0) {
                    r.workers.remove(&names.worker);
                }
                if has(1) {
                    r.buckets.remove(&names.bucket);
                }
                if has(2) {
                    r.tokens.retain(|t| t.name != names.token);
                }
                if has(3) {
                    r.card = None;
                }
            });
            if looked {
                stage.resync();
            }
            stage.delete();
            stage.converge();
            assert_gone(&mut stage);
            let result = |bit| {
                if has(bit) {
                    CleanupResult::AlreadyAbsent
                } else {
                    CleanupResult::Deleted
                }
            };
            let want = [result(0), result(1), result(1), result(2), result(3)].map(Some);
            assert_eq!(results(&stage), want, "gone {gone:04b}, looked {looked}");
        }
    }
}

#[test]
fn every_subset_refused_is_left_over_and_the_rest_goes() {
    let calm = deployed();
    let calls = [
        "delete-worker",
        "empty-bucket",
        "delete-bucket",
        "delete-token",
        "deregister-card",
    ];
    for refused in 1u8..32 {
        let mut stage = calm.clone();
        let has = |i: usize| refused & (1 << i) != 0;
        let bucket = stage.names().bucket;
        stage.outside(|r, _| r.buckets.get_mut(&bucket).unwrap().objects = 3);
        stage.reality.undeletable = calls
            .iter()
            .enumerate()
            .filter(|(i, _)| has(*i))
            .map(|(_, c)| *c)
            .collect();
        stage.delete();
        for _ in 0..400 {
            if let End::Again(after) = stage.one_pass() {
                stage.advance(after.max(Duration::from_secs(10)));
            }
            if stage.db.row.agent.is_archived() {
                break;
            }
        }
        assert!(
            stage.db.row.agent.is_archived(),
            "archived with its leftovers: {refused:05b}"
        );
        let waited = stage.now - stage.db.row.agent.deletion_requested_at.unwrap();
        assert!(
            waited >= chrono::TimeDelta::seconds(600),
            "the deadline is waited for"
        );
        stage.resync();
        assert_eq!(stage.one_pass(), End::Quiet);
        assert_foreign_untouched(&stage);
        for (i, kind) in KINDS.iter().enumerate() {
            let got = stage.db.cleanup(*kind);
            let record = stage.db.row.resource(*kind).cloned();
            let error = record.as_ref().and_then(|r| r.cleanup_error.as_deref());
            if i == 2 && has(1) {
                assert_eq!(got, Some(CleanupResult::Failed), "{refused:05b}");
                assert_eq!(error, Some("not tried: its objects could not be removed"));
            } else if has(i) {
                assert_eq!(got, Some(CleanupResult::Failed), "{kind} {refused:05b}");
                assert_eq!(error, Some("not allowed to"));
            } else {
                assert_eq!(got, Some(CleanupResult::Deleted), "{kind} {refused:05b}");
            }
        }
        let told = stage.db.told(EventReason::Archived).join("");
        for kind in KINDS
            .iter()
            .filter(|k| stage.db.cleanup(**k) == Some(CleanupResult::Failed))
        {
            assert!(
                told.contains(kind.as_str()),
                "{kind} is not named in {told}"
            );
        }
        assert_eq!(
            stage.db.condition(ConditionType::Reconciling).1,
            Reason::LeftOver
        );
        assert_eq!(
            stage.db.row.agent.status.deployment_status,
            DeploymentStatus::Deleting
        );
    }
}

#[test]
fn a_row_that_never_got_anywhere_is_archived_without_a_call() {
    let mut stage = new_agent();
    stage.delete();
    let plan = stage.plan();
    assert!(!plan.steps.is_empty() && plan.archiving().is_none());
    stage.converge();
    assert!(stage.calls.is_empty());
    assert_eq!(results(&stage), [Some(CleanupResult::AlreadyAbsent); 5]);
    assert_gone(&mut stage);
}

#[test]
fn a_bucket_is_kept_on_wish() {
    let mut stage = deployed();
    stage.edit(|spec| spec.deletion_policy = DeletionPolicy::KeepBucket);
    stage.delete();
    stage.converge();
    assert_gone(&mut stage);
    let bucket = stage.names().bucket;
    assert!(stage.reality.buckets.contains_key(&bucket));
    assert_eq!(
        stage.db.cleanup(ResourceKind::R2Objects),
        Some(CleanupResult::Kept)
    );
    assert_eq!(
        stage.db.cleanup(ResourceKind::R2Bucket),
        Some(CleanupResult::Kept)
    );
    assert!(!stage.calls.contains(&"empty-bucket"));
}

#[test]
fn a_large_bucket_is_emptied_in_slices() {
    let mut stage = deployed();
    let bucket = stage.names().bucket;
    stage.outside(|r, _| r.buckets.get_mut(&bucket).unwrap().objects = 4500);
    stage.delete();
    stage.converge();
    assert_gone(&mut stage);
    assert_eq!(
        stage.calls.iter().filter(|c| **c == "empty-bucket").count(),
        5
    );
    assert_eq!(
        stage
            .calls
            .iter()
            .filter(|c| **c == "delete-worker")
            .count(),
        1
    );
}

#[test]
fn deletion_at_any_moment_of_a_creation_leaves_nothing_whatever_lands_later() {
    let clean = {
        let mut stage = new_agent();
        stage.converge();
        stage.calls
    };
    for keep in [DeletionPolicy::Delete, DeletionPolicy::KeepBucket] {
        // The Router's answers do not get lost: its card stands in the same database.
        for (index, call) in clean
            .iter()
            .enumerate()
            .filter(|(_, c)| **c != "register-card")
        {
            for fault in [
                Fault::LostNotDone,
                Fault::LostDone,
                Fault::Late(Duration::from_secs(50)),
                Fault::Late(Duration::from_secs(89)),
            ] {
                for lag in [0, 29] {
                    for pause in [0, 55] {
                        let mut stage = new_agent();
                        stage.edit(|spec| spec.deletion_policy = keep);
                        stage.lag = Duration::from_secs(lag);
                        stage.faults.insert(index, fault);
                        let _ = stage.one_pass();
                        stage.advance(Duration::from_secs(pause));
                        stage.delete();
                        stage.converge();
                        settle(&mut stage);
                        println!("{call} {fault:?} lag {lag} pause {pause} {keep:?}");
                        assert_gone(&mut stage);
                    }
                }
            }
        }
    }
}

#[test]
fn a_worker_that_comes_back_after_its_deletion_is_deleted_again() {
    let mut stage = deployed();
    let names = stage.names();
    let ghost = stage.reality.workers[&names.worker].clone();
    stage.delete();
    // A holder that was frozen before its lease ended wakes up and uploads once more.
    stage.db.row.work.unclean_until = Some(stage.now + chrono::TimeDelta::seconds(60));
    let before = stage.clone();
    stage.crash = Some(crate::stage::CrashAt {
        instruction: stage.instructions + 7,
        flight: None,
        pause: Duration::from_secs(1),
    });
    assert!(stage.pass().is_err(), "{:?}", before.calls);
    stage.crash = None;
    stage.db.row.work.unclean_until = Some(stage.now + chrono::TimeDelta::seconds(60));
    stage.outside(|r, now| {
        let worker = crate::reality::Worker {
            created_on: now,
            modified_on: now,
            ..ghost
        };
        r.workers.insert(names.worker.clone(), worker);
    });
    stage.converge();
    assert_gone(&mut stage);
}

#[test]
fn tokens_refused_beside_the_recorded_one_are_left_over_after_as_many_rounds() {
    for refused in [
        &["token-b"] as &[&str],
        &["token-b", "token-c"],
        &["own", "token-b"],
    ] {
        let mut stage = deployed();
        stage.world.timing.cleanup_deadline = Duration::ZERO;
        let name = stage.names().token;
        let own = stage.reality.tokens.iter().find(|t| t.name == name);
        let own = own.unwrap().id.clone();
        let ids: Vec<String> = (refused.iter())
            .map(|id| if *id == "own" { &own } else { *id }.to_owned())
            .collect();
        stage.outside(|r, now| {
            for id in ["token-b", "token-c"] {
                r.tokens.push(crate::reality::Token {
                    id: id.to_owned(),
                    name: name.clone(),
                    value: "value".to_owned(),
                    issued: now,
                });
            }
            r.immortal_tokens = ids.clone();
        });
        stage.resync();
        stage.delete();
        for _ in 0..100 {
            if let End::Again(after) = stage.one_pass() {
                stage.advance(after.max(Duration::from_secs(10)));
            }
            if stage.db.row.agent.is_archived() {
                break;
            }
        }
        assert!(stage.db.row.agent.is_archived(), "{refused:?}");
        let rounds = stage.calls.iter().filter(|c| **c == "delete-token").count();
        assert_eq!(rounds, 3, "{refused:?}: {:?}", stage.calls);
        let record = stage.db.row.resource(ResourceKind::R2Token).cloned();
        let record = record.unwrap();
        assert_eq!(record.cleanup_result, Some(CleanupResult::Failed));
        assert_eq!(record.cleanup_error.as_deref(), Some("NotAllowed"));
        assert_eq!(record.cleaned_at, None);
        let mut there: Vec<_> = stage.reality.tokens.iter().collect();
        there.retain(|t| t.name == name);
        assert!(there.iter().all(|t| ids.contains(&t.id)), "{there:?}");
        assert_eq!(there.len(), ids.len());
        for kind in KINDS.iter().filter(|k| **k != ResourceKind::R2Token) {
            assert_eq!(stage.db.cleanup(*kind), Some(CleanupResult::Deleted));
        }
        let told = stage.db.told(EventReason::Archived).join("");
        assert!(told.contains(&format!("r2_token {name}")), "{told}");
    }
}

#[test]
fn what_was_deleted_stays_so_when_an_old_list_has_it_deleted_once_more() {
    let mut stage = deployed();
    stage.delete();
    stage.converge();
    let names = stage.names();
    let snapshot = stage.db.load(stage.now);
    let cx = talon_plan::effect::StepCx {
        snapshot: &snapshot,
        try_id: &talon_core::TryId::new(1, 1),
        auth_sha256: None,
        token_name: &names.token,
        settle: Duration::ZERO,
        cloud_now: None,
    };
    let step = talon_plan::StepKind::DeleteToken {
        ids: vec!["token-late".to_owned()],
        name: names.token.clone(),
    };
    let writes = talon_plan::effect::done(&step, &talon_plan::effect::Answer::WasAbsent, &cx);
    stage.db.commit(stage.now, &writes);
    assert_eq!(
        stage.db.cleanup(ResourceKind::R2Token),
        Some(CleanupResult::Deleted)
    );
}

#[test]
fn the_row_is_not_archived_before_what_waits_for_a_look_had_its_round() {
    let mut stage = deployed();
    stage.world.timing.cleanup_deadline = Duration::ZERO;
    stage.reality.undeletable = vec!["delete-worker"];
    // Made anew after the lists at hand were fetched.
    let name = stage.names().token;
    let _ = stage.observe();
    stage.advance(Duration::from_secs(1));
    let now = stage.now;
    for token in stage.reality.tokens.iter_mut().filter(|t| t.name == name) {
        token.id = "token-new".to_owned();
        token.issued = now;
    }
    for record in &mut stage.db.row.resources {
        if record.kind == ResourceKind::R2Token {
            record.external_id = Some("token-new".to_owned());
            record.confirmed_at = Some(now);
        }
    }
    stage.outside(|_, _| {});
    stage.delete();
    let pass = |stage: &mut Stage| {
        if let End::Again(after) = stage.one_pass() {
            stage.advance(after.max(Duration::from_secs(1)));
        }
    };
    for _ in 0..5 {
        pass(&mut stage);
        assert!(!stage.db.row.agent.is_archived(), "the token was not tried");
    }
    stage.resync();
    for _ in 0..5 {
        pass(&mut stage);
    }
    assert!(stage.db.row.agent.is_archived());
    let deleted = Some(CleanupResult::Deleted);
    let want = [
        Some(CleanupResult::Failed),
        deleted,
        deleted,
        deleted,
        deleted,
    ];
    assert_eq!(results(&stage), want);
}

#[test]
fn a_token_that_an_incomplete_list_left_out_is_deleted_when_it_is_listed_again() {
    let mut stage = deployed();
    let name = stage.names().token;
    let tokens = stage.reality.tokens.clone();
    stage.outside(|r, _| r.tokens.retain(|t| t.name != name));
    stage.resync();
    stage.delete();
    assert_ne!(stage.one_pass(), End::Stuck);
    assert_eq!(
        stage.db.cleanup(ResourceKind::R2Token),
        Some(CleanupResult::AlreadyAbsent)
    );
    assert!(!stage.db.row.agent.is_archived(), "not looked again yet");
    stage.outside(|r, _| r.tokens = tokens);
    stage.resync();
    stage.converge();
    assert_gone(&mut stage);
    assert_eq!(
        stage.db.cleanup(ResourceKind::R2Token),
        Some(CleanupResult::Deleted)
    );
}
