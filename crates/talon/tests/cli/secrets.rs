//! `talon secrets` without a daemon: what is refused before anything is read, and what no answer repeats.

use crate::bench::{Bench, MANIFEST, command, run};

const VALUE: &str = "sk-ant-CANARY-on-the-command-line-11";

#[test]
fn without_a_way_to_cloudflare_the_server_is_named() {
    let b = Bench::new();
    b.file("agent.yaml", MANIFEST);
    b.talon(&["apply", "-f", "agent.yaml"]).ends(0);
    for arguments in [
        &[
            "secrets",
            "set",
            "research-pro",
            "ANTHROPIC_API_KEY",
            "--from-file",
            "key",
        ][..],
        &["secrets", "unset", "research-pro", "ANTHROPIC_API_KEY"],
        &["secrets", "rotate-auth", "research-pro"],
    ] {
        b.file("key", VALUE);
        let ran = b.talon(arguments).ends(2);
        assert!(ran.err.contains("use --server"), "{}", ran.err);
        assert!(!ran.err.contains(VALUE), "{}", ran.err);
    }
    let ran = b
        .talon(&["secrets", "list", "research-pro", "-o", "json"])
        .ends(0);
    assert_eq!(ran.json()["items"], serde_json::json!([]));
    b.talon(&["secrets", "list", "nobody-here"]).ends(3);
}

#[test]
fn a_value_is_taken_by_no_flag_and_repeated_by_no_error() {
    let b = Bench::new();
    for arguments in [
        &["secrets", "set", "research-pro", VALUE][..],
        &["secrets", "set", "research-pro", "CONTROL_TOKEN"],
        &["secrets", "unset", "research-pro", "anthropic"],
    ] {
        let ran = b.talon(arguments).ends(2);
        assert!(ran.err.contains("ANTHROPIC_API_KEY"), "{}", ran.err);
        assert!(!ran.err.contains(VALUE), "{}", ran.err);
    }
    for bad in ["", "two\nlines\n", "env:TALON_SECRET_X"] {
        let mut talon = command(b.folder());
        talon.args(["secrets", "set", "research-pro", "ANTHROPIC_API_KEY"]);
        let ran = run(&mut talon, Some(bad)).ends(5);
        assert!(ran.err.contains("bare key"), "{}", ran.err);
    }
}

#[test]
fn where_vault_is_and_its_token_are_configured_and_not_shown() {
    let b = Bench::new();
    let mut talon = command(b.folder());
    talon
        .args(["config", "show"])
        .env("TALON_VAULT_ADDRESS", "https://vault.example:8200")
        .env("TALON_VAULT_TOKEN", VALUE);
    let ran = run(&mut talon, None).ends(0);
    assert!(
        ran.out.contains("https://vault.example:8200"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("env:TALON_VAULT_TOKEN (set, not shown)"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains(VALUE), "{}", ran.out);
    b.file("talon.yaml", &format!("vault: {{token: '{VALUE}'}}\n"));
    let ran = b.talon(&["config", "show"]).ends(2);
    assert!(
        ran.err.contains("vault.token must be a reference"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains(VALUE), "{}", ran.err);
}
