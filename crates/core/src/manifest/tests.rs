use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::fixtures::{any_spec, full, minimal, name};

const EXAMPLE: &str = r#"apiVersion: talon.dev/v1
kind: OpenClawAgent
metadata: {name: research-pro}
spec:
  displayName: Research Pro
  persona: You are a careful research analyst.
  instructions: Cite every claim.
  model: anthropic/claude-sonnet-4-6
  keepAlive: true
  visibility: public
  apiKeyRefs: {anthropic: "env:TALON_SECRET_ANTHROPIC"}
  skills:
    - {id: research, name: Research, description: Research any topic with sources., pricingModel: per_request, priceUsd: 0.05}
  r2: {locationHint: weur}
"#;

fn errors(text: &str) -> Vec<String> {
    parse(text, "agent.yaml")
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The example with one line replaced.
fn with(line: &str, by: &str) -> String {
    assert!(EXAMPLE.contains(line), "{line}");
    EXAMPLE.replace(line, by)
}

#[test]
fn the_documented_example_is_read() {
    let manifests = parse_valid(EXAMPLE, "agent.yaml").unwrap();
    assert_eq!(manifests.len(), 1);
    let m = &manifests[0];
    assert_eq!(m.name, name());
    assert_eq!(m.owner, Owner::default());
    assert_eq!(m.spec.skills[0].price_usd, Some(0.05));
    assert!(m.spec.keep_alive);
}

#[test]
fn a_file_may_hold_several_agents_and_empty_documents() {
    let second = EXAMPLE.replace("{name: research-pro}", "{name: other, owner: team-a}");
    let text = format!("---\n{EXAMPLE}---\n# nothing\n---\n{second}...\n");
    let manifests = parse(&text, "x").unwrap();
    assert_eq!(manifests.len(), 2);
    assert_eq!(manifests[1].owner.0, "team-a");
}

#[test]
fn the_same_agent_twice_is_an_error() {
    assert_eq!(
        errors(&format!("{EXAMPLE}---\n{EXAMPLE}")),
        [
            "agent.yaml:18: document 2: /metadata/name: document 1 names the same agent: keep one of them"
        ]
    );
}

#[test]
fn unknown_keys_name_their_path_and_line_and_the_nearest_key() {
    assert_eq!(
        errors(&with("keepAlive", "keep_alive")),
        [
            "agent.yaml:9: document 1: /spec/keep_alive: unknown key keep_alive: did you mean keepAlive?"
        ]
    );
    assert_eq!(
        errors(&with("  persona:", "  presona:")),
        [
            "agent.yaml:6: document 1: /spec/presona: unknown key presona: did you mean persona?",
            "agent.yaml:4: document 1: /spec: persona is missing: add it",
        ]
    );
    assert_eq!(
        errors(&with("priceUsd", "price_usd")),
        [
            "agent.yaml:13: document 1: /spec/skills/0/price_usd: unknown key price_usd: did you mean priceUsd?"
        ]
    );
    assert_eq!(
        errors(&with(
            "{name: research-pro}",
            "{name: research-pro, labels: {}}"
        )),
        [
            "agent.yaml:3: document 1: /metadata/labels: unknown key labels: take it out (known here: name, owner)"
        ]
    );
}

#[test]
fn duplicate_keys_name_the_second_one() {
    assert_eq!(
        errors(&with(
            "  keepAlive: true",
            "  keepAlive: true\n  model: a/b"
        )),
        ["agent.yaml:10: document 1: /spec/model: model stands here twice: keep one of them"]
    );
}

#[test]
fn wrong_types_say_what_is_wanted() {
    let cases = [
        (
            "keepAlive: true",
            "keepAlive: yes",
            "/spec/keepAlive: must be true or false",
        ),
        (
            "displayName: Research Pro",
            "displayName: 2026",
            "/spec/displayName: must be text: put it in quotes",
        ),
        (
            "visibility: public",
            "visibility: all",
            "/spec/visibility: must be private or public",
        ),
        (
            "r2: {locationHint: weur}",
            "r2: weur",
            "/spec/r2: must be a mapping (key: value)",
        ),
        (
            "{locationHint: weur}",
            "{locationHint: europe}",
            "/spec/r2/locationHint: must be apac or eeur or enam or weur or wnam or oc",
        ),
        (
            "priceUsd: 0.05",
            "priceUsd: .inf",
            "/spec/skills/0/priceUsd: must be a number",
        ),
        (
            "priceUsd: 0.05",
            "priceUsd: cheap",
            "/spec/skills/0/priceUsd: must be a number",
        ),
        (
            "keepAlive: true",
            "secretsVersion: 1.5",
            "/spec/secretsVersion: must be a whole number",
        ),
        (
            "keepAlive: true",
            "secretsVersion: 99999999999999999999",
            "/spec/secretsVersion: must be a whole number",
        ),
        (
            "persona: You are a careful research analyst.",
            "persona:",
            "/spec/persona: is empty: it must be text; write one, or leave the key out if it is optional",
        ),
        (
            "talon.dev/v1",
            "talon.dev/v2",
            "/apiVersion: must be talon.dev/v1",
        ),
        (
            "kind: OpenClawAgent",
            "kind: Agent",
            "/kind: must be OpenClawAgent",
        ),
        (
            "{name: research-pro}",
            "{name: Research}",
            "/metadata/name: an agent name has lower-case letters, digits and single hyphens, and starts and ends with a letter or digit",
        ),
        (
            "{name: research-pro}",
            "{name: abc, owner: A B}",
            "/metadata/owner: an owner has 1 to 64 lower-case letters, digits, '.', '_' and '-'",
        ),
    ];
    for (line, by, wanted) in cases {
        let text = with(line, by);
        let at = text.lines().position(|l| l.contains(by)).unwrap() + 1;
        assert_eq!(
            errors(&text),
            [format!("agent.yaml:{at}: document 1: {wanted}")],
            "{by}"
        );
    }
}

#[test]
fn several_errors_of_several_documents_are_all_reported() {
    let text = format!(
        "{}---\n{}",
        with("keepAlive: true", "keepAlive: 1"),
        with("{name: research-pro}", "{}").replace("visibility: public", "visible: true")
    );
    insta::assert_snapshot!(errors(&text).join("\n"));
}

#[test]
fn tabs_and_broken_yaml_say_where_and_what_to_do() {
    assert_eq!(
        errors(&with("  keepAlive: true", "\tkeepAlive: true")),
        ["agent.yaml:9: document 1: is indented with a tab: YAML wants spaces"]
    );
    assert_eq!(
        errors(&with("{name: research-pro}", "\n\tname: research-pro")),
        ["agent.yaml:4: document 1: is indented with a tab: YAML wants spaces"]
    );
    let unclosed = errors(&with("{locationHint: weur}", "{locationHint: weur"));
    assert!(unclosed[0].contains("is not YAML"), "{unclosed:?}");
    assert!(errors("a: !tag b")[0].contains("leave tags out"));
    assert!(errors("? [a]\n: b")[0].contains("key that is no text"));
    assert!(errors("a: \u{0}")[0].contains("is not YAML"));
    assert_eq!(
        errors("just text"),
        ["agent.yaml:1: document 1: must be a mapping (key: value)"]
    );
    for empty in ["", "---\n", "# only a comment\n", "null"] {
        let found = errors(empty);
        assert!(found[0].contains("holds no agent"), "{empty:?} {found:?}");
    }
}

#[test]
fn what_is_wrong_with_the_content_has_lines_too() {
    let text = with("id: research,", "id: no good,");
    assert!(parse(&text, "agent.yaml").is_ok());
    assert_eq!(
        parse_valid(&text, "agent.yaml").unwrap_err()[0].to_string(),
        "agent.yaml:13: document 1: /spec/skills/0/id: must have 1 to 63 letters, digits, '.', '_' or '-', and start \
         with a letter or digit"
    );
}

#[test]
fn every_kind_of_value_has_a_line() {
    let text = "apiVersion: talon.dev/v1\nkind: OpenClawAgent\nmetadata:\n  name: research-pro\nspec:\n  \
                persona: true\n  instructions: 7\n  model: 1.5\n  description: -3\n  keepAlive: \"yes\"\n  skills:\n    \
                - {id: a, name: b, description: c}\n    - {id: d, name: e, description: [f]}\n    - {id: g, name: ~, description: h}\n  \
                visibility: {a: b}\n";
    let found = parse(text, "agent.yaml").unwrap_err();
    let lines: Vec<String> = found
        .iter()
        .map(|e| {
            e.to_string()
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let want = [6, 7, 8, 9, 10, 13, 14, 15].map(|n| format!("agent.yaml:{n}:"));
    assert_eq!(lines, want, "{found:#?}");
}

#[test]
fn no_error_repeats_what_stands_under_api_key_refs() {
    const KEY: &str = "sk-ant-api03-verysecretverysecret1";
    let entry = r#"{anthropic: "env:TALON_SECRET_ANTHROPIC"}"#;
    for by in [
        format!("{{anthropic: {KEY}}}"),
        format!("{{{KEY}: {KEY}}}"),
        format!("{{{KEY}: 1}}"),
        format!("{{{KEY}: [1]}}"),
        format!("{{{KEY}: a, {KEY}: b}}"),
        format!("{{anthropic: {{{KEY}: {KEY}}}}}"),
        format!("[{KEY}]"),
        KEY.to_owned(),
        format!("{{anthropic: !{KEY} x}}"),
        format!("{{anthropic: *{KEY}}}"),
        format!("{{anthropic: \"{KEY}}}"),
        format!("{{anthropic: env:A}}\n  {KEY}: x"),
        format!("{{anthropic: env:A}}\n  verysecretverysecret1: {KEY}"),
    ] {
        let text = EXAMPLE.replace(entry, &by);
        let found = parse_valid(&text, "agent.yaml").unwrap_err();
        let shown = format!(
            "{found:?}{}{}",
            serde_json::to_string(&found).unwrap(),
            found.iter().map(ToString::to_string).collect::<String>()
        );
        assert!(!shown.contains("verysecret"), "{by}: {shown}");
    }
}

#[test]
fn hostile_sizes_fail_fast() {
    let many = |s: &str| s.repeat(MAX_BYTES / s.len());
    let started = Instant::now();
    for text in [
        many("["),
        many("{"),
        many("[a,"),
        many("a: ["),
        many("- ["),
        many("a: {b: "),
        many("[\n"),
    ] {
        let found = errors(&text);
        assert!(found[0].contains("brackets are open"), "{found:?}");
    }
    assert!(errors(&"a".repeat(MAX_BYTES + 1))[0].contains("split it"));
    assert!(errors(&many("- "))[0].contains("nested too deeply"));
    assert!(errors(&many("? "))[0].contains("nested too deeply"));
    // Generous: a debug build on a busy machine; without the bounds this takes minutes.
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn aliases_cannot_blow_a_document_up() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    assert!(errors(&text)[0].contains("holds too much"));
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(60_000),
        vec!["*a"; 1000].join(",")
    );
    assert!(errors(&long)[0].contains("holds too much"));
}

#[test]
fn brackets_in_prose_are_no_nesting() {
    let mut spec = minimal();
    spec.persona = "An [opening\n".repeat(2000);
    spec.instructions = "{{{[[[".repeat(500);
    let yaml = to_yaml(&name(), &Owner::default(), &spec);
    assert_eq!(parse(&yaml, "x").unwrap()[0].spec, spec);
}

#[test]
fn what_is_written_is_minimal() {
    insta::assert_snapshot!(to_yaml(&name(), &Owner::default(), &minimal()));
    insta::assert_snapshot!(to_yaml(&name(), &Owner("team-a".into()), &full()));
}

#[test]
fn the_schema_is_published() {
    insta::assert_json_snapshot!(schema());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(spec in any_spec()) {
        let yaml = to_yaml(&name(), &Owner::default(), &spec);
        let back = parse(&yaml, "x").map_err(|e| TestCaseError::fail(format!("{e:?}\n{yaml}")))?;
        prop_assert_eq!(&back[0].spec, &spec);
        prop_assert_eq!(&back[0].name, &name());
    }

    #[test]
    fn any_text_is_parsed_or_refused_without_panic(s in crate::fixtures::nasty_text()) {
        let _ = parse_valid(&s, "x");
        let _ = parse_valid(&format!("{EXAMPLE}{s}"), "x");
        let _ = parse_valid(&EXAMPLE.replace("Research Pro", &s), "x");
    }
}
