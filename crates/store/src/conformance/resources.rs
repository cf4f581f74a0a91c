//! The records of what was made: intents, outcomes, cleanup.

use std::time::Duration;

use talon_core::mutation::{Cleanup, Intent, Mutation, Outcome, ResourceWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};

use super::support::{Bench, bucket, try_id, worker};

pub(super) async fn unnamed_columns_stay(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let full = ResourceWrite {
        external_id: Some(Some("ext".to_owned())),
        try_id: Some(try_id(1)),
        desired_hash: Some("d".to_owned()),
        observed_hash: Some(Some("o".to_owned())),
        version_id: Some(Some("v".to_owned())),
        ..worker(ResourceState::Unknown)
    };
    let first = bench.resource(&claim, full).await;
    assert_eq!(first.kind, ResourceKind::Worker);
    assert_eq!(first.name, "some-worker");
    assert_eq!(first.try_id, Some(try_id(1)));
    let second = bench.resource(&claim, worker(ResourceState::Present)).await;
    assert_eq!(second.state, ResourceState::Present);
    assert_eq!(second.external_id.as_deref(), Some("ext"));
    assert_eq!(second.desired_hash.as_deref(), Some("d"));
    assert_eq!(second.observed_hash.as_deref(), Some("o"));
    assert_eq!(second.version_id.as_deref(), Some("v"));
    assert_eq!(second.try_id, Some(try_id(1)));
    let cleared = ResourceWrite {
        external_id: Some(None),
        observed_hash: Some(None),
        version_id: Some(None),
        ..worker(ResourceState::Present)
    };
    let third = bench.resource(&claim, cleared).await;
    assert_eq!(
        (third.external_id, third.observed_hash, third.version_id),
        (None, None, None)
    );
    assert_eq!(third.desired_hash.as_deref(), Some("d"));
    bench
        .write(&claim, Mutation::Resource(bucket(ResourceState::Present)))
        .await;
    assert_eq!(bench.snap(id).await.resources.len(), 2);
}

pub(super) async fn outcomes_count(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let write = |outcome| ResourceWrite {
        outcome: Some(outcome),
        ..worker(ResourceState::Absent)
    };
    let failed = |m: &str| write(Outcome::Failed(m.to_owned()));
    bench.resource(&claim, failed("one")).await;
    let two = bench.resource(&claim, failed("two")).await;
    assert_eq!((two.attempts, two.last_error.as_deref()), (2, Some("two")));
    let kept = bench.resource(&claim, worker(ResourceState::Present)).await;
    assert_eq!(
        (kept.attempts, kept.last_error.as_deref()),
        (2, Some("two"))
    );
    let ok = bench.resource(&claim, write(Outcome::Ok)).await;
    assert_eq!((ok.attempts, ok.last_error), (0, None));
}

fn open(secs: u64) -> ResourceWrite {
    ResourceWrite {
        intent: Some(Intent::Open {
            settle_in: Duration::from_secs(secs),
        }),
        ..worker(ResourceState::Unknown)
    }
}

pub(super) async fn intents_open_once(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let first = bench.resource(&claim, open(90)).await;
    let at = first.intent_at.unwrap();
    assert_eq!((first.settle_until.unwrap() - at).num_seconds(), 90);
    bench.tick(id).await;
    let second = bench.resource(&claim, open(90)).await;
    assert_eq!(second.intent_at, Some(at), "the first open intent counts");
    assert!(second.settle_until > first.settle_until);
    let shorter = bench.resource(&claim, open(10)).await;
    assert_eq!(
        shorter.settle_until, second.settle_until,
        "it never comes earlier"
    );
}

pub(super) async fn intents_settle_and_clear(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let opened = bench.resource(&claim, open(90)).await;
    let settled = ResourceWrite {
        intent: Some(Intent::Settled),
        ..worker(ResourceState::Present)
    };
    let there = bench.resource(&claim, settled).await;
    assert_eq!(
        (there.intent_at, there.settle_until),
        (opened.intent_at, None)
    );
    bench.tick(id).await;
    let again = bench.resource(&claim, open(90)).await;
    assert!(
        again.intent_at > opened.intent_at,
        "a new intent, for the last one is closed"
    );
    let cleared = ResourceWrite {
        intent: Some(Intent::Cleared),
        ..worker(ResourceState::Absent)
    };
    let gone = bench.resource(&claim, cleared).await;
    assert_eq!((gone.intent_at, gone.settle_until), (None, None));
    assert_eq!(gone.state, ResourceState::Absent);
}

pub(super) async fn confirmation(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let plain = bench.resource(&claim, worker(ResourceState::Present)).await;
    assert_eq!(plain.confirmed_at, None);
    let confirmed = || ResourceWrite {
        confirmed: true,
        ..worker(ResourceState::Present)
    };
    let first = bench.resource(&claim, confirmed()).await.confirmed_at;
    assert!(first.is_some());
    bench.tick(id).await;
    let kept = bench.resource(&claim, worker(ResourceState::Present)).await;
    assert_eq!(kept.confirmed_at, first);
    assert!(bench.resource(&claim, confirmed()).await.confirmed_at > first);
}

pub(super) async fn cleanup_results(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let write = |result, error: Option<&str>| ResourceWrite {
        cleanup: Some(Cleanup {
            result,
            error: error.map(str::to_owned),
        }),
        ..bucket(ResourceState::Present)
    };
    let failed = bench
        .resource(&claim, write(CleanupResult::Failed, Some("not empty")))
        .await;
    assert_eq!(failed.cleanup_result, Some(CleanupResult::Failed));
    assert_eq!(failed.cleanup_error.as_deref(), Some("not empty"));
    assert_eq!(failed.cleaned_at, None);
    for result in [
        CleanupResult::Deleted,
        CleanupResult::AlreadyAbsent,
        CleanupResult::Kept,
    ] {
        let done = bench.resource(&claim, write(result, None)).await;
        assert_eq!(done.cleanup_result, Some(result));
        assert_eq!(done.cleanup_error, None);
        assert!(done.cleaned_at.is_some());
    }
    let back = bench
        .resource(&claim, write(CleanupResult::Failed, Some("it came back")))
        .await;
    assert_eq!(
        (back.cleaned_at, back.cleanup_error.as_deref()),
        (None, Some("it came back"))
    );
}
