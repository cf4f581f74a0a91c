//! The published exit codes, one by one.

use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::resource::CleanupResult;

use crate::bench::{Bench, MANIFEST, command, run};

#[test]
fn success_is_0() {
    let b = Bench::new();
    b.applied();
    b.talon(&["get"]).ends(0);
    b.talon_reading(&["plan", "-f", "-"], MANIFEST).ends(0);
    b.talon_reading(&["diff", "-f", "-"], MANIFEST).ends(0);
    b.talon(&["--help"]).ends(0);
    b.talon(&["--version"]).ends(0);
}

#[test]
fn changes_found_by_plan_and_diff_are_1() {
    let b = Bench::new();
    b.talon_reading(&["plan", "-f", "-"], MANIFEST).ends(1);
    b.talon_reading(&["diff", "-f", "-"], MANIFEST).ends(1);
    b.applied();
    let changed = MANIFEST.replace("claude-sonnet-4-6", "claude-opus-4-6");
    b.talon_reading(&["plan", "-f", "-"], &changed).ends(1);
    b.talon_reading(&["diff", "-f", "-"], &changed).ends(1);
    // Nothing has looked at the row yet.
    b.talon(&["diff", "research-pro"]).ends(1);
    b.deployed("research-pro");
    b.talon(&["diff", "research-pro"]).ends(0);
}

#[test]
fn failures_of_this_machine_are_1_and_for_plan_and_diff_10() {
    let b = Bench::new();
    b.talon(&["apply", "-f", "missing.yaml"]).ends(1);
    b.talon(&["plan", "-f", "missing.yaml"]).ends(10);
    b.talon(&["diff", "-f", "missing.yaml"]).ends(10);
}

#[test]
fn applying_an_agent_that_is_being_deleted_is_rejected_even_if_nothing_changed() {
    let b = Bench::new();
    b.applied();
    b.talon(&["delete", "research-pro", "--yes"]).ends(0);
    for args in [
        &["apply", "-f", "-"][..],
        &["apply", "-f", "-", "--dry-run=server"],
    ] {
        let ran = b.talon_reading(args, MANIFEST).ends(5);
        assert!(ran.err.contains("is being deleted"), "{}", ran.err);
        assert!(ran.err.contains("the name is free again"), "{}", ran.err);
    }
}

#[test]
fn usage_errors_are_2() {
    let b = Bench::new();
    b.applied();
    for args in [
        &["nonsense"][..],
        &[],
        &[
            "get",
            "--server",
            "https://x",
            "--database-url",
            "sqlite://talon.db",
        ],
        &["get", "--server", "not an address"],
        &["get", "--server", "http://talon.example"],
        &["migrate", "--server", "https://x"],
        &["run", "--server", "https://x"],
        &["wait", "research-pro", "--for=nonsense"],
        &["get", "--timeout", "5"],
        &["get", "--database-url", "mysql://host/db"],
        &["delete", "research-pro"],
        &["apply", "-f", "-", "--dry-run=client"],
    ] {
        let ran = b.talon(args).ends(2);
        assert!(
            ran.err.contains("next: ") || args.is_empty(),
            "{args:?}: {}",
            ran.err
        );
        assert_eq!(ran.out, "", "{args:?}");
    }
}

#[test]
fn what_is_not_there_is_3() {
    let b = Bench::new();
    for args in [
        &["get", "nobody"][..],
        &["describe", "nobody"],
        &["tree", "nobody"],
        &["why", "nobody"],
        &["events", "nobody"],
        &["wait", "nobody"],
        &["delete", "nobody", "--yes"],
        &["reconcile", "nobody"],
        &["suspend", "nobody"],
        &["resume", "nobody"],
        &["export", "nobody"],
        &["diff", "nobody"],
    ] {
        b.talon(args).ends(3);
    }
}

#[test]
fn what_is_not_allowed_is_4() {
    let b = Bench::new();
    // No account, no token.
    b.talon(&["run"]).ends(4);
    // Another key than the database's.
    let key = b.folder().join("talon.db.key");
    let text = std::fs::read_to_string(&key).expect("the key");
    let other = if text.starts_with('a') { "b" } else { "a" };
    std::fs::write(&key, format!("{other}{}", &text[1..])).expect("another key");
    let ran = b.talon(&["doctor", "--offline"]).ends(4);
    assert!(ran.err.contains("talon.db.key"), "{}", ran.err);
}

#[test]
fn rejections_are_5() {
    let b = Bench::new();
    let unknown_key = MANIFEST.replace("  model:", "  modle:");
    b.talon_reading(&["apply", "-f", "-"], &unknown_key).ends(5);
    b.talon_reading(&["plan", "-f", "-"], &unknown_key).ends(5);
    b.applied();
    b.talon_reading(&["apply", "-f", "-", "--if-generation", "7"], MANIFEST)
        .ends(5);
    b.talon_reading(&["apply", "-f", "-", "--if-generation", "0"], MANIFEST)
        .ends(5);
    b.deployed("research-pro");
    let persona = MANIFEST.replace("careful", "careless");
    let ran = b.talon_reading(&["apply", "-f", "-"], &persona).ends(5);
    assert!(ran.err.contains("TALON-OC002"), "{}", ran.err);
    b.talon_reading(&["plan", "-f", "-"], &persona).ends(5);
    let protected = format!("{MANIFEST}  deletionProtected: true\n");
    b.talon_reading(&["apply", "-f", "-"], &protected).ends(0);
    b.talon(&["delete", "research-pro", "--yes"]).ends(5);
}

#[test]
fn waiting_for_a_stalled_agent_is_6() {
    let b = Bench::new();
    b.applied();
    b.stalled(
        "research-pro",
        Reason::SecretValueMissing,
        "ANTHROPIC_API_KEY has no value",
    );
    let ran = b.talon(&["wait", "research-pro"]).ends(6);
    assert!(
        ran.err.contains("next: talon why research-pro"),
        "{}",
        ran.err
    );
    b.talon_reading(&["apply", "-f", "-", "--wait"], MANIFEST)
        .ends(6);
}

#[test]
fn running_out_of_time_is_7() {
    let b = Bench::new();
    b.applied();
    b.talon(&["wait", "research-pro", "--timeout", "300ms"])
        .ends(7);
    b.talon(&[
        "wait",
        "research-pro",
        "--for=connected",
        "--timeout",
        "300ms",
    ])
    .ends(7);
    b.talon(&["reconcile", "research-pro", "--wait", "--timeout", "300ms"])
        .ends(7);
}

#[test]
fn a_deletion_that_leaves_something_is_8() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    let deleting = b.start(
        &["delete", "research-pro", "--yes", "--wait"],
        "research-pro",
    );
    b.until("deletion requested", |b| {
        b.snapshot("research-pro").agent.is_deleting()
    });
    b.archived("research-pro", CleanupResult::Failed);
    let output = deleting.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(8));
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("FAILED  not empty: DELETE bucket"), "{out}");
}

#[test]
fn a_database_out_of_reach_is_9() {
    let b = Bench::new();
    b.talon(&["get", "--database-url", "sqlite://elsewhere.db"])
        .ends(9);
    let ran = b
        .talon(&[
            "get",
            "--database-url",
            "postgres://talon:canary@127.0.0.1:1/talon",
        ])
        .ends(9);
    assert!(!ran.err.contains("canary"), "{}", ran.err);
}

#[test]
fn an_interrupt_is_130_and_says_how_to_attach_again() {
    let b = Bench::new();
    b.applied();
    let child = b.start(&["wait", "research-pro"], "agent/research-pro pending");
    interrupt(child.id());
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("the controller carries on"), "{err}");
    assert!(err.contains("next: talon wait research-pro"), "{err}");
}

fn interrupt(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
}

#[test]
fn every_condition_that_is_met_is_0() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    b.pass(
        "research-pro",
        vec![b.condition(
            "research-pro",
            ConditionType::HubConnected,
            Truth::True,
            Reason::AsExpected,
            "",
        )],
    );
    for goal in [
        "condition=Ready",
        "condition=Ready=True",
        "connected",
        "jsonpath={.status.deploymentStatus}=deployed",
        "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True",
    ] {
        b.talon(&["wait", "research-pro", "--for", goal]).ends(0);
    }
    // What never was there is deleted already.
    b.talon(&["wait", "nobody", "--for=delete"]).ends(0);
}

#[test]
fn no_variable_of_the_tests_reaches_the_binary() {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = run(
        command(folder.path()).args(["config", "show", "-o", "json"]),
        None,
    )
    .ends(0);
    assert_eq!(ran.json()["databaseUrl"]["origin"], "default");
}
