//! `wait`, `apply --wait`, `reconcile --wait`, while somebody else works.

use talon_core::condition::{ConditionType, Reason, Truth};

use crate::bench::{Bench, MANIFEST};

#[test]
fn applying_and_waiting_prints_transitions_for_a_log() {
    let b = Bench::new();
    b.applied();
    let changed = b.file("agent.yaml", &format!("{MANIFEST}  keepAlive: true\n"));
    let path = changed.display().to_string();
    let child = b.start(
        &["apply", "-f", &path, "--wait"],
        "agent/research-pro pending",
    );
    b.deployed("research-pro");
    let output = child.wait_with_output().expect("its end");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].contains("Z agent/research-pro updated generation=2"),
        "{out}"
    );
    assert!(
        lines[1].contains("Z agent/research-pro deployed elapsed="),
        "{out}"
    );
    assert!(!out.contains('✓'), "{out}");
}

#[test]
fn ready_at_an_earlier_generation_is_not_ready() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    b.talon_reading(
        &["apply", "-f", "-"],
        &format!("{MANIFEST}  keepAlive: true\n"),
    )
    .ends(0);
    b.talon(&["wait", "research-pro", "--timeout", "300ms"])
        .ends(7);
    // Neither is a stall of an earlier one a stall.
    b.stalled("research-pro", Reason::InvalidSpec, "bad");
    b.talon_reading(&["apply", "-f", "-"], MANIFEST).ends(0);
    b.talon(&["wait", "research-pro", "--timeout", "300ms"])
        .ends(7);
}

#[test]
fn a_failed_agent_that_is_still_retried_is_waited_for() {
    let b = Bench::new();
    b.applied();
    b.pass(
        "research-pro",
        vec![b.condition(
            "research-pro",
            ConditionType::Stalled,
            Truth::False,
            Reason::AsExpected,
            "",
        )],
    );
    b.talon(&["wait", "research-pro", "--timeout", "300ms"])
        .ends(7);
}

#[test]
fn reconcile_waits_for_a_pass_that_began_afterwards() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    let child = b.start(
        &["reconcile", "research-pro", "--wait"],
        "agent/research-pro deployed",
    );
    b.until("a request", |b| {
        b.snapshot("research-pro")
            .agent
            .reconcile_requested_at
            .is_some()
    });
    b.deployed("research-pro");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn json_after_waiting_is_one_document() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    let ran = b
        .talon_reading(&["apply", "-f", "-", "--wait", "-o", "json"], MANIFEST)
        .ends(0);
    assert_eq!(
        ran.json()["items"][0]["agent"]["status"]["deploymentStatus"],
        "deployed"
    );
    let quiet = b.talon(&["wait", "research-pro", "-q"]).ends(0);
    assert_eq!(quiet.err, "");
    let late = b.talon(&["wait", "research-pro"]).ends(0);
    assert_eq!(late.err.lines().count(), 1, "old news: {}", late.err);
}

#[test]
fn what_is_deleted_meanwhile_is_not_waited_for() {
    let b = Bench::new();
    b.applied();
    b.talon(&["delete", "research-pro", "--yes"]).ends(0);
    b.talon(&["wait", "research-pro"]).ends(3);
}
