//! `apply`, `plan`, `diff`, `export`.

use talon_core::Generation;

use crate::bench::{Bench, MANIFEST};

fn named(name: &str) -> String {
    MANIFEST.replace("research-pro", name)
}

#[test]
fn applying_twice_changes_nothing() {
    let b = Bench::new();
    let first = b.talon_reading(&["apply", "-f", "-"], MANIFEST).ends(0);
    assert_eq!(first.out, "agent/research-pro created   generation 1\n");
    let again = b.talon_reading(&["apply", "-f", "-"], MANIFEST).ends(0);
    assert_eq!(again.out, "agent/research-pro unchanged   generation 1\n");
    let changed = format!("{MANIFEST}  keepAlive: true\n");
    let third = b
        .talon_reading(&["apply", "-f", "-", "--if-generation", "1"], &changed)
        .ends(0);
    assert_eq!(third.out, "agent/research-pro updated   generation 2\n");
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let b = Bench::new();
    let ran = b
        .talon_reading(
            &["apply", "-f", "-", "--dry-run=server", "-o", "json"],
            MANIFEST,
        )
        .ends(0);
    let document = ran.json();
    assert_eq!(document["items"][0]["outcome"], "created");
    assert_eq!(document["items"][0]["dryRun"], true);
    b.talon(&["get", "research-pro"]).ends(3);
    b.applied();
    let changed = format!("{MANIFEST}  keepAlive: true\n");
    b.talon_reading(&["apply", "-f", "-", "--dry-run=server"], &changed)
        .ends(0);
    assert_eq!(b.snapshot("research-pro").agent.generation, Generation(1));
}

#[test]
fn files_directories_and_several_documents() {
    let b = Bench::new();
    b.file(
        "agents/one.yaml",
        &format!("{}---\n{}", named("agent-one"), named("agent-two")),
    );
    b.file("agents/readme.txt", "not a manifest");
    b.file("agents/deep/three.yml", &named("agent-three"));
    let flat = b.talon(&["apply", "-f", "agents"]).ends(0);
    assert_eq!(flat.out.lines().count(), 2, "{}", flat.out);
    let deep = b
        .talon(&["apply", "-f", "agents", "-R", "-o", "json"])
        .ends(0);
    let outcomes: Vec<_> = deep.json()["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|i| i["outcome"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(outcomes, ["created", "unchanged", "unchanged"]);
}

#[test]
fn one_bad_document_stops_all_and_every_mistake_is_told() {
    let b = Bench::new();
    b.file("a.yaml", &named("agent-one"));
    b.file(
        "b.yaml",
        &named("agent-two").replace("  model:", "  modle:"),
    );
    b.file(
        "c.yaml",
        &named("agent-three").replace("anthropic/claude-sonnet-4-6", "nonsense"),
    );
    b.file("d.yaml", &named("agent-one"));
    let ran = b
        .talon(&[
            "apply", "-f", "a.yaml", "-f", "b.yaml", "-f", "c.yaml", "-f", "d.yaml",
        ])
        .ends(5);
    for expected in [
        "b.yaml:",
        "modle",
        "c.yaml:",
        "/spec/model",
        "d.yaml: /metadata/name: a.yaml",
    ] {
        assert!(ran.err.contains(expected), "{expected} in {}", ran.err);
    }
    assert_eq!(ran.out, "");
    b.talon(&["get", "agent-one"]).ends(3);
}

#[test]
fn a_refusal_of_the_database_stops_all_as_well() {
    let b = Bench::new();
    b.applied();
    b.deployed("research-pro");
    let both = format!(
        "{}---\n{}",
        named("agent-one"),
        MANIFEST.replace("careful", "careless")
    );
    let ran = b.talon_reading(&["apply", "-f", "-"], &both).ends(5);
    assert!(ran.err.contains("nothing was applied"), "{}", ran.err);
    b.talon(&["get", "agent-one"]).ends(3);
}

#[test]
fn hostile_files_are_refused_quickly_and_never_repeated() {
    let b = Bench::new();
    let pasted = MANIFEST.replace("env:TALON_SECRET_ANTHROPIC", "sk-ant-canary-canary-canary");
    for bad in [
        "[".repeat(1024 * 1024).as_str(),
        &"x".repeat(3 * 1024 * 1024),
        &MANIFEST.replace("  persona", "\tpersona"),
        &format!("{MANIFEST}  model: again\n"),
        "",
        &pasted,
    ] {
        let ran = b.talon_reading(&["apply", "-f", "-"], bad).ends(5);
        assert!(!ran.err.contains("canary"), "{}", ran.err);
    }
}

#[test]
fn plan_names_each_effect() {
    let b = Bench::new();
    let new = b.talon_reading(&["plan", "-f", "-"], MANIFEST).ends(1);
    assert!(
        new.out.contains("+ agent/research-pro   new"),
        "{}",
        new.out
    );
    assert!(new.out.contains("--if-generation 0"), "{}", new.out);
    b.applied();
    b.deployed("research-pro");
    let changed = format!(
        "{}  displayName: Research\n",
        MANIFEST.replace("sonnet", "opus")
    );
    let plan = b.talon_reading(&["plan", "-f", "-"], &changed).ends(1);
    for expected in [
        "~ agent/research-pro   generation 1 → 2",
        "push secrets, no redeploy",
        "router registration only",
        "Would do: 0 create, 2 update, 0 delete, 0 rejected.",
        "talon apply -f - --if-generation 1",
    ] {
        assert!(plan.out.contains(expected), "{expected} in {}", plan.out);
    }
    let json = b
        .talon_reading(&["plan", "-f", "-", "-o", "json"], &changed)
        .ends(1)
        .json();
    assert_eq!(json["items"][0]["changes"][0]["effect"], "router_only");
    let refused = b
        .talon_reading(
            &["plan", "-f", "-"],
            &changed.replace("careful", "careless"),
        )
        .ends(5);
    assert!(refused.out.contains("IMMUTABLE since"), "{}", refused.out);
    assert!(refused.out.contains("1 rejected"), "{}", refused.out);
}

#[test]
fn what_is_exported_can_be_applied_again() {
    let b = Bench::new();
    b.talon_reading(
        &["apply", "-f", "-"],
        &format!("{MANIFEST}---\n{}", named("agent-one")),
    )
    .ends(0);
    let all = b.talon(&["export", "--all"]).ends(0);
    let again = b.talon_reading(&["apply", "-f", "-"], &all.out).ends(0);
    assert!(
        again.out.lines().all(|l| l.contains("unchanged")),
        "{}",
        again.out
    );
    let json = b
        .talon(&["export", "research-pro", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(json["metadata"]["name"], "research-pro");
}

#[test]
fn an_owner_can_be_given_on_the_command_line() {
    let b = Bench::new();
    b.talon_reading(&["apply", "-f", "-", "--owner", "team-a"], MANIFEST)
        .ends(0);
    b.talon(&["get", "research-pro", "--owner", "team-b"])
        .ends(3);
    let list = b.talon(&["get", "--owner", "team-a", "-o", "name"]).ends(0);
    assert_eq!(list.out, "agent/research-pro\n");
}

#[test]
fn the_examples_are_valid_and_the_schema_is_json() {
    let b = Bench::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples");
    let ran = b.talon(&["apply", "-f", examples]).ends(0);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert_eq!(
        b.talon(&["schema"]).ends(0).json()["title"],
        "OpenClawAgent"
    );
}

#[test]
fn what_looks_like_a_key_is_warned_of_and_not_repeated() {
    let b = Bench::new();
    let pasted = MANIFEST.replace(
        "Cite every claim.",
        "Use sk-ant-canary00canary00canary00 when asked.",
    );
    for args in [
        &["plan", "-f", "-"][..],
        &["apply", "-f", "-", "--dry-run=server"],
    ] {
        let ran = b.talon_reading(args, &pasted);
        assert!(
            ran.err.contains("warning: ") && ran.err.contains("looks like an API key"),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("canary"), "{}", ran.err);
    }
}

#[test]
fn what_is_no_text_is_a_mistake_among_others() {
    let b = Bench::new();
    b.file("agents/bad.yaml", &MANIFEST.replace("model:", "modle:"));
    let latin = b.folder().join("agents/latin.yaml");
    std::fs::write(latin, b"apiVersion: talon.dev/v1 # caf\xe9\n").expect("a file");
    let ran = b.talon(&["apply", "-f", "agents"]).ends(5);
    assert!(
        ran.err.contains("latin.yaml: is not UTF-8 text"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("unknown key modle"), "{}", ran.err);

    // Cut within a character after so many bytes, a text is too long and not something else.
    let long = b.folder().join("agents/latin.yaml");
    std::fs::write(long, "é".repeat(2 << 20)).expect("a file");
    let ran = b.talon(&["apply", "-f", "agents"]).ends(5);
    assert!(!ran.err.contains("UTF-8"), "{}", ran.err);
}

#[test]
fn one_row_that_cannot_be_exported_does_not_keep_the_others() {
    let b = Bench::new();
    b.applied();
    b.sql(
        "INSERT INTO agent_source (name, persona, instructions, model, skills)
         VALUES ('odd-skills', 'p', 'i', 'anthropic/x', '[{\"a\":1}]')",
    );
    let all = b.talon(&["export", "--all"]).ends(5);
    assert!(all.out.contains("name: research-pro"), "{}", all.out);
    assert!(
        all.err.contains("agent/odd-skills cannot be exported"),
        "{}",
        all.err
    );
    let json = b.talon(&["export", "--all", "-o", "json"]).ends(5);
    assert_eq!(json.json()["items"].as_array().map(Vec::len), Some(1));
}
