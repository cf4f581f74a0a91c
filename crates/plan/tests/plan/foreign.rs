//! Nothing is ours unless it carries our mark: whatever the row says, other people's things stay byte for byte.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use talon_core::TryId;
use talon_core::condition::Reason;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState};
use talon_core::status::DeploymentStatus;

use crate::database::blank;
use crate::fixture::{
    assert_deployed, assert_foreign_untouched, assert_gone, deployed, foreign_bucket,
    foreign_worker, new_agent, start,
};
use crate::stage::{End, Fault, Stage};

/// A time that a record may hold: only settle times lie ahead.
fn time(until: i64) -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop::option::of((-400i64..=until).prop_map(|s| start() + TimeDelta::seconds(s)))
}

fn record(kind: ResourceKind) -> impl Strategy<Value = Option<ResourceRecord>> {
    let state = prop::sample::select(ResourceState::ALL);
    let hash = prop::option::of(prop::sample::select(vec!["0123456789abcdef", "x|y"]));
    let id = prop::option::of(prop::sample::select(vec!["made-up", "their-token"]));
    let cleanup = prop::option::weighted(0.2, prop::sample::select(CleanupResult::ALL));
    let tries = prop::option::of((0u128..2).prop_map(|r| TryId::new(1, r)));
    let times = (time(0), time(90), time(0));
    let parts = (
        state,
        hash.clone(),
        hash,
        id,
        cleanup,
        tries,
        times,
        0i64..4,
    );
    let record = parts.prop_map(
        move |(state, desired, observed, id, cleanup, try_id, times, attempts)| ResourceRecord {
            state: match (kind, state) {
                (ResourceKind::R2Token, s) => s,
                (_, ResourceState::ValueUnplaced) => ResourceState::Present,
                (_, s) => s,
            },
            desired_hash: desired.map(str::to_owned),
            observed_hash: observed.map(str::to_owned),
            external_id: id.map(str::to_owned),
            cleanup_result: cleanup,
            cleaned_at: cleanup.and(times.0),
            try_id,
            intent_at: times.0,
            settle_until: times.1,
            confirmed_at: times.2,
            attempts,
            ..blank(kind, "whatever")
        },
    );
    prop::option::weighted(0.7, record)
}

fn any_row() -> impl Strategy<Value = (Vec<ResourceRecord>, Vec<AuthTokenState>, bool, bool)> {
    let records = ResourceKind::ALL
        .iter()
        .map(|k| record(*k))
        .collect::<Vec<_>>();
    let tokens = prop::collection::vec(prop::sample::select(AuthTokenState::ALL), 0..3);
    (records, tokens, any::<bool>(), any::<bool>()).prop_map(
        |(records, tokens, deleting, named)| {
            (
                records.into_iter().flatten().collect(),
                tokens,
                deleting,
                named,
            )
        },
    )
}

fn with_row(
    records: Vec<ResourceRecord>,
    tokens: &[AuthTokenState],
    deleting: bool,
    named: bool,
) -> Stage {
    let mut stage = new_agent();
    let names = stage.names();
    stage.db.row.resources = records;
    let mut current = false;
    for (i, state) in tokens.iter().enumerate() {
        // The store keeps one current token at most.
        let second = current && *state == AuthTokenState::Current;
        current |= *state == AuthTokenState::Current;
        let state = if second {
            AuthTokenState::Retired
        } else {
            *state
        };
        let try_id = TryId::new(1, i as u128);
        stage.db.row.auth_tokens.push(AuthTokenRecord {
            try_id,
            sha256: "ab".repeat(32),
            state,
            created_at: start(),
        });
    }
    if named {
        stage.db.row.agent.status.worker_name = Some(names.worker);
        stage.db.row.agent.status.r2_bucket = Some(names.bucket);
    }
    if deleting {
        stage.delete();
    }
    stage
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_row_says_things_of_others_under_our_names_stay_as_they_are(
        (records, tokens, deleting, named) in any_row(),
        (worker, tagless, bucket) in any::<(bool, bool, bool)>(),
    ) {
        let mut stage = with_row(records, &tokens, deleting, named);
        let names = stage.names();
        let mut theirs = foreign_worker(start());
        if tagless {
            theirs.tags = None;
        }
        stage.outside(|r, _| {
            if worker {
                r.workers.insert(names.worker.clone(), theirs.clone());
            }
            if bucket {
                r.buckets.insert(names.bucket.clone(), foreign_bucket(start()));
            }
        });
        for _ in 0..30 {
            match stage.one_pass() {
                End::Again(after) => stage.advance(after),
                End::Quiet | End::Stuck => stage.resync(),
            }
            crate::fixture::assert_foreign_untouched(&stage);
            prop_assert!(!worker || stage.reality.workers.get(&names.worker) == Some(&theirs), "{:?}", stage.calls);
            let foreign = foreign_bucket(start());
            prop_assert!(!bucket || stage.reality.buckets.get(&names.bucket) == Some(&foreign), "{:?}", stage.calls);
        }
    }

    #[test]
    fn whatever_the_row_says_an_agent_converges(
        (records, tokens, deleting, named) in any_row(),
    ) {
        let mut stage = with_row(records, &tokens, deleting, named);
        stage.converge();
        crate::fixture::settle(&mut stage);
        if deleting {
            assert_gone(&mut stage);
        } else {
            assert_deployed(&mut stage);
        }
    }
}

#[test]
fn a_worker_of_somebody_else_under_our_name_stops_everything_until_it_is_gone() {
    let mut stage = new_agent();
    let name = stage.names().worker;
    stage.outside(|r, now| drop(r.workers.insert(name.clone(), foreign_worker(now))));
    assert_eq!(stage.one_pass(), End::Stuck);
    assert!(stage.calls.is_empty());
    let block = stage.last_plan.block.clone().unwrap();
    assert_eq!((block.reason, block.stalled), (Reason::NameConflict, true));
    assert!(block.message.contains(&name), "{}", block.message);
    let status = &stage.db.row.agent.status;
    assert_eq!(status.deployment_status, DeploymentStatus::Failed);
    assert!(
        status
            .deployment_error
            .as_deref()
            .unwrap()
            .starts_with("NameConflict: ")
    );
    stage.outside(|r, _| r.lose_worker(&name));
    stage.resync();
    stage.converge();
    assert_deployed(&mut stage);
}

#[test]
fn deleting_leaves_a_namesake_alone_and_says_so() {
    let mut stage = new_agent();
    let names = stage.names();
    stage.outside(|r, now| {
        r.workers.insert(names.worker.clone(), foreign_worker(now));
        r.buckets.insert(names.bucket.clone(), foreign_bucket(now));
    });
    stage.delete();
    for _ in 0..5 {
        stage.one_pass();
        stage.resync();
    }
    assert!(stage.calls.is_empty());
    assert!(stage.db.row.agent.is_archived());
    let worker = stage.db.row.resource(ResourceKind::Worker).unwrap();
    assert_eq!(worker.cleanup_result, Some(CleanupResult::AlreadyAbsent));
    assert!(
        worker
            .cleanup_error
            .as_deref()
            .unwrap()
            .contains("not ours")
    );
}

#[test]
fn names_that_somebody_wrote_into_the_row_are_not_believed() {
    for latched in [false, true] {
        let mut stage = if latched { deployed() } else { new_agent() };
        let names = stage.names();
        let status = &mut stage.db.row.agent.status;
        status.worker_name = Some("somebody-else".to_owned());
        status.r2_bucket = Some("photos".to_owned());
        assert_eq!(stage.names(), names);
        stage.edit(|spec| spec.model = "anthropic/claude-opus-4-1".to_owned());
        stage.converge();
        assert_foreign_untouched(&stage);
        stage.delete();
        stage.converge();
        assert_foreign_untouched(&stage);
        assert_gone(&mut stage);
    }
}

/// Hours between the clocks, and how that may change while a call is open.
fn skews() -> Vec<(TimeDelta, TimeDelta)> {
    let hours = [-1, 0, 1].map(TimeDelta::hours);
    let pairs = hours.map(|before| hours.map(|after| (before, after)));
    pairs.into_iter().flatten().collect()
}

#[test]
fn a_bucket_of_ours_is_ours_however_far_the_clocks_are_apart() {
    for (before, after) in skews() {
        for fault in [None, Some(Fault::LostDone)] {
            let mut stage = new_agent();
            stage.reality.ahead = before;
            stage.faults.extend(fault.map(|fault| (0, fault)));
            stage.one_pass();
            stage.reality.ahead = after;
            stage.converge();
            assert_deployed(&mut stage);
            stage.delete();
            stage.converge();
            assert_gone(&mut stage);
        }
    }
}

#[test]
fn an_older_bucket_of_somebody_else_is_theirs_however_far_the_clocks_are_apart() {
    for (before, after) in skews() {
        let mut stage = new_agent();
        let name = stage.names().bucket;
        stage.reality.ahead = before;
        stage.faults.insert(0, Fault::LostNotDone);
        stage.one_pass();
        assert_eq!(stage.calls[0], "create-bucket");
        // No list had shown it yet.
        let mut theirs = foreign_bucket(stage.now);
        theirs.created = start() + before - TimeDelta::minutes(10);
        stage.outside(|r, _| {
            r.buckets.insert(name.clone(), theirs.clone());
        });
        stage.reality.ahead = after;
        stage.resync();
        assert_eq!(stage.one_pass(), End::Stuck, "{before} {after}");
        stage.delete();
        stage.converge();
        assert_eq!(stage.reality.buckets.get(&name), Some(&theirs));
    }
}

#[test]
fn a_deletion_empties_no_bucket_that_no_list_has_shown_to_be_ours() {
    let mut stage = new_agent();
    let name = stage.names().bucket;
    let mut theirs = foreign_bucket(stage.now);
    theirs.created = start() - TimeDelta::minutes(10);
    stage.faults.insert(0, Fault::LostNotDone);
    stage.one_pass();
    assert_eq!(stage.calls[0], "create-bucket");
    stage.outside(|r, _| {
        r.buckets.insert(name.clone(), theirs.clone());
    });
    stage.delete();
    stage.converge();
    assert_eq!(stage.reality.buckets.get(&name), Some(&theirs));
}

/// Whoever can write the file behind SQLite can put any id there, also one that is younger than every list.
#[test]
fn a_recorded_token_id_is_neither_rolled_nor_deleted_before_a_list_shows_it_under_our_name() {
    for state in ResourceState::ALL {
        for deleting in [false, true] {
            let mut stage = deployed();
            let now = stage.now;
            let rows = &mut stage.db.row.resources;
            let token = rows.iter_mut().find(|r| r.kind == ResourceKind::R2Token);
            let token = token.unwrap();
            token.external_id = Some("their-token".to_owned());
            (token.state, token.confirmed_at) = (*state, Some(now));
            if deleting {
                stage.delete();
            }
            // Within the lag of lists, and after.
            stage.one_pass();
            assert_foreign_untouched(&stage);
            stage.converge();
            crate::fixture::settle(&mut stage);
            assert_foreign_untouched(&stage);
            if deleting {
                assert_gone(&mut stage);
            } else {
                assert_deployed(&mut stage);
            }
        }
    }
}
