//! `delete`, and what only asks or says.

use talon_core::resource::CleanupResult;
use talon_core::spec::DeletionPolicy;

use crate::bench::Bench;

#[test]
fn deletion_is_a_request_that_asking_twice_does_not_change() {
    let b = Bench::new();
    b.applied();
    let ran = b.talon(&["delete", "research-pro", "--yes"]).ends(0);
    assert_eq!(ran.out, "agent/research-pro deletion requested\n");
    assert!(b.snapshot("research-pro").agent.is_deleting());
    b.talon(&["delete", "research-pro", "--yes"]).ends(0);
}

#[test]
fn a_dry_run_deletes_nothing() {
    let b = Bench::new();
    b.applied();
    let ran = b
        .talon(&["delete", "research-pro", "--dry-run=server"])
        .ends(0);
    assert!(
        ran.out.contains("would be deleted (dry run)"),
        "{}",
        ran.out
    );
    assert!(!b.snapshot("research-pro").agent.is_deleting());
}

#[test]
fn the_bucket_can_be_kept() {
    let b = Bench::new();
    b.applied();
    b.talon(&["delete", "research-pro", "--yes", "--keep-bucket"])
        .ends(0);
    assert_eq!(
        b.snapshot("research-pro").agent.spec.deletion_policy,
        DeletionPolicy::KeepBucket
    );
}

#[test]
fn waiting_prints_the_result_of_each_resource() {
    let b = Bench::new();
    b.applied();
    let deleting = b.start(
        &["delete", "research-pro", "--yes", "--wait"],
        "research-pro",
    );
    b.until("deletion requested", |b| {
        b.snapshot("research-pro").agent.is_deleting()
    });
    b.archived("research-pro", CleanupResult::AlreadyAbsent);
    let output = deleting.wait_with_output().expect("its end");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    for expected in [
        "✓ R2 bucket",
        "openclaw-bucket",
        "already gone",
        "✓ Record",
        "✓ research-pro deleted",
    ] {
        assert!(out.contains(expected), "{expected} in {out}");
    }
    b.talon(&["get", "research-pro"]).ends(3);
    b.talon(&["get", "research-pro", "--include-deleted"])
        .ends(0);
    let why = b.talon(&["why", "research-pro"]).ends(0);
    assert!(why.out.contains("research-pro was deleted."), "{}", why.out);
}

#[test]
fn mutating_commands_say_what_they_would_do() {
    let b = Bench::new();
    b.applied();
    for args in [
        &["suspend", "research-pro"][..],
        &["resume", "research-pro"],
        &["reconcile", "research-pro"],
        &["hold"],
        &["release-hold"],
    ] {
        let ran = b.talon(&[args, &["--dry-run=server"]].concat()).ends(0);
        assert!(!ran.out.is_empty(), "{args:?}");
    }
    let s = b.snapshot("research-pro");
    assert!(!s.agent.spec.suspend && s.agent.reconcile_requested_at.is_none());
    b.talon(&["suspend", "research-pro"]).ends(0);
    assert!(b.snapshot("research-pro").agent.spec.suspend);
    let again = b.talon(&["suspend", "research-pro"]).ends(0);
    assert!(again.out.contains("unchanged"), "{}", again.out);
    b.talon(&["resume", "research-pro"]).ends(0);
    b.talon(&["reconcile", "research-pro"]).ends(0);
    assert!(
        b.snapshot("research-pro")
            .agent
            .reconcile_requested_at
            .is_some()
    );
}

#[test]
fn dry_runs_for_programs_are_one_document_each() {
    let b = Bench::new();
    b.applied();
    for args in [
        &["delete", "research-pro"][..],
        &["suspend", "research-pro"],
        &["reconcile", "research-pro"],
        &["hold"],
        &["release-hold"],
        &["migrate"],
    ] {
        let ran = b
            .talon(&[args, &["--dry-run=server", "-o", "json"]].concat())
            .ends(0);
        assert_eq!(ran.json()["dryRun"], true, "{args:?}");
    }
    for args in [
        &["suspend", "research-pro"][..],
        &["resume", "research-pro"],
        &["reconcile", "research-pro"],
        &["hold"],
        &["release-hold"],
        &["migrate"],
        &["delete", "research-pro", "--yes"],
    ] {
        b.talon(&[args, &["-o", "json"]].concat()).ends(0).json();
    }
}
