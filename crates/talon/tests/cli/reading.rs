//! `get`, `describe`, `tree`, `why`, `events`.

use talon_core::condition::Reason;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_store::Store;

use crate::bench::{Bench, MANIFEST, command};

fn named(name: &str) -> String {
    MANIFEST.replace("research-pro", name)
}

#[test]
fn the_table_has_its_columns_and_a_summary() {
    let b = Bench::new();
    let empty = b.talon(&["get"]).ends(0);
    assert_eq!(empty.out, "");
    assert!(empty.err.contains("talon apply -f"), "{}", empty.err);
    b.talon_reading(
        &["apply", "-f", "-"],
        &format!("{MANIFEST}---\n{}", named("legal-bot")),
    )
    .ends(0);
    b.deployed("research-pro");
    b.stalled(
        "legal-bot",
        Reason::SecretValueMissing,
        "ANTHROPIC_API_KEY has no value",
    );
    let table = b.talon(&["get"]).ends(0);
    let lines: Vec<&str> = table.out.lines().collect();
    let heading: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(
        heading,
        ["NAME", "STATUS", "READY", "SYNC", "MESSAGE", "AGE"]
    );
    assert!(
        lines[1].starts_with("legal-bot     failed"),
        "{}",
        table.out
    );
    assert!(
        lines[1].contains("SecretValueMissing: ANTHROPIC_API_KEY has no value"),
        "{}",
        table.out
    );
    assert!(
        lines[2].contains("True") && lines[2].contains("in sync"),
        "{}",
        table.out
    );
    assert_eq!(lines[3], "2 agents: 1 deployed, 1 failed");
    let failed = b
        .talon(&["get", "--status", "failed", "-o", "name"])
        .ends(0);
    assert_eq!(failed.out, "agent/legal-bot\n");
    let wide = b.talon(&["get", "-o", "wide"]).ends(0);
    assert!(
        wide.out.contains("https://research-pro.dev.workers.dev"),
        "{}",
        wide.out
    );
}

#[test]
fn json_is_exactly_one_document() {
    let b = Bench::new();
    let none = b.talon(&["get", "-o", "json"]).ends(0).json();
    assert_eq!(none["items"], serde_json::json!([]));
    b.applied();
    b.deployed("research-pro");
    let list = b.talon(&["get", "-o", "json"]).ends(0).json();
    let one = b
        .talon(&["get", "research-pro", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(list["items"][0]["status"]["deploymentStatus"], "deployed");
    assert_eq!(one["metadata"]["name"], "research-pro");
    assert_eq!(one["status"]["sync"], "in sync");
    for args in [
        &["describe", "research-pro"][..],
        &["tree", "research-pro"],
        &["why", "research-pro"],
        &["events"],
        &["config", "show"],
        &["diff", "research-pro"],
    ] {
        b.talon(&[args, &["-o", "json"]].concat()).ends(0).json();
    }
    let yaml = b.talon(&["get", "research-pro", "-o", "yaml"]).ends(0);
    assert!(
        yaml.out.contains("deploymentStatus: deployed"),
        "{}",
        yaml.out
    );
}

#[test]
fn watching_prints_one_line_of_json_for_each_change() {
    let b = Bench::new();
    b.applied();
    let watching = std::thread::scope(|scope| {
        let running = scope.spawn(|| b.talon(&["get", "-w", "-o", "json", "--timeout", "3s"]));
        b.deployed("research-pro");
        running.join().expect("the watch")
    })
    .ends(0);
    let items: Vec<serde_json::Value> = watching
        .out
        .lines()
        .map(|l| serde_json::from_str(l).expect("a line of JSON"))
        .collect();
    assert_eq!(items[0]["type"], "ADDED");
    let last = items.last().expect("a line");
    assert_eq!(last["object"]["status"]["deploymentStatus"], "deployed");
}

#[test]
fn why_tells_what_to_do() {
    let b = Bench::new();
    b.applied();
    b.stalled(
        "research-pro",
        Reason::SecretValueMissing,
        "env:TALON_SECRET_ANTHROPIC is not set",
    );
    let why = b.talon(&["why", "research-pro"]).ends(0);
    for expected in [
        "research-pro is failed and will not move without you (Stalled, since ",
        "Blocked at  Secrets › ANTHROPIC_API_KEY",
        "Reason      SecretValueMissing",
        "What        env:TALON_SECRET_ANTHROPIC is not set",
        "Do this     ",
        "talon reconcile research-pro",
        "Waiting on it: ",
    ] {
        assert!(why.out.contains(expected), "{expected} in {}", why.out);
    }
    b.talon(&["hold", "--reason", "moving house"]).ends(0);
    let held = b.talon(&["why", "research-pro"]).ends(0);
    assert!(
        held.out.contains("HeldByOperator") && held.out.contains("moving house"),
        "{}",
        held.out
    );
    b.talon(&["release-hold"]).ends(0);
    let released = b
        .talon(&["why", "research-pro", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(released["reason"], "SecretValueMissing");
}

#[test]
fn describe_and_tree_show_the_parts() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    let page = b.talon(&["describe", "agent/research-pro"]).ends(0);
    for expected in [
        "Name:        research-pro   Owner: default",
        "deployed  (Ready, in sync, generation 1 observed 1)",
        "locked since",
        "ANTHROPIC_API_KEY",
        "env:TALON_SECRET_ANTHROPIC",
        "Ready",
    ] {
        assert!(page.out.contains(expected), "{expected} in {}", page.out);
    }
    let tree = b.talon(&["tree", "research-pro"]).ends(0);
    assert!(
        tree.out
            .starts_with("agent/research-pro  deployed  in sync\n"),
        "{}",
        tree.out
    );
    assert!(tree.out.contains("R2 bucket  not made yet"), "{}", tree.out);
}

#[test]
fn what_others_wrote_is_escaped() {
    let b = Bench::new();
    b.applied();
    let event = NewEvent {
        severity: Severity::Warning,
        reason: EventReason::StepFailed,
        object: "worker/x".to_owned(),
        message: "\u{1b}]0;owned\u{7}\u{202e}txt".to_owned(),
    };
    let id = b.snapshot("research-pro").agent.id;
    b.with(b.store.record_event(Some(id), &event))
        .expect("an event");
    for args in [
        &["events", "research-pro"][..],
        &["describe", "research-pro"],
        &["events", "--warnings"],
    ] {
        let ran = b.talon(args).ends(0);
        assert!(ran.out.contains("StepFailed"), "{}", ran.out);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.out.contains('\u{202e}'),
            "{:?}",
            ran.out
        );
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let b = Bench::new();
    b.applied();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let ran = command(b.folder())
        .arg("get")
        .stdout(full)
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
}
