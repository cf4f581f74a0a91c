//! `token`.

use crate::bench::{Bench, Ran, command, run};

#[test]
fn a_token_is_made_once_listed_and_revoked() {
    let b = Bench::new();
    assert!(
        b.talon(&["token", "list"])
            .ends(0)
            .err
            .contains("talon token create")
    );
    b.talon(&["token", "create", "--role", "king", "--label", "ci"])
        .ends(2);
    let made = b
        .talon(&[
            "token",
            "create",
            "--role",
            "operator",
            "--label",
            "ci",
            "--expires",
            "90d",
            "--owner",
            "ann",
        ])
        .ends(0);
    let secret = made.out.trim();
    assert!(
        secret.starts_with("talon_at_") && !secret.contains(char::is_whitespace),
        "{secret}"
    );
    let list = b.talon(&["token", "list"]).ends(0);
    assert!(
        list.out.contains("operator") && list.out.contains("ann") && list.out.contains("valid"),
        "{}",
        list.out
    );
    assert!(!list.out.contains(&secret[9..]));
    let items = b.talon(&["token", "list", "-o", "json"]).ends(0).json();
    let id = items["items"][0]["id"].as_str().expect("an id").to_owned();
    // Another owner's token is not there.
    b.talon(&["token", "revoke", &id, "--owner", "bob"]).ends(3);
    b.talon(&["token", "revoke", &id]).ends(0);
    let again = b.talon(&["token", "revoke", &id]).ends(0);
    assert!(again.out.contains("revoked already"), "{}", again.out);
    let none = b.talon(&["token", "revoke", "nothing"]).ends(3);
    assert!(none.err.contains("talon token list"), "{}", none.err);
    assert!(b.talon(&["token", "list"]).ends(0).out.contains("revoked"));
}

#[test]
fn other_machines_are_served_only_once_there_is_a_token() {
    let b = Bench::new();
    let runtime = b.folder().join("no-runtime");
    let runtime = runtime.to_str().expect("a path");
    let public = [
        (
            "TALON_CLOUDFLARE_ACCOUNT_ID",
            "00000000000000000000000000000001",
        ),
        ("TALON_CLOUDFLARE_API_TOKEN", "a-token"),
        ("TALON_HUB_EMBEDDED", "false"),
        ("TALON_HUB_URL", "wss://hub.example/ws/agents"),
        ("TALON_LISTEN", "0.0.0.0:0"),
        ("TALON_RUNTIME_BUNDLE", runtime),
    ];
    let talon = |word: &str| -> Ran { run(command(b.folder()).arg(word).envs(public), None) };
    for word in ["run", "dev"] {
        let ran = talon(word).ends(4);
        assert!(ran.err.contains("talon token create"), "{}", ran.err);
    }
    b.talon(&["token", "create", "--role", "viewer", "--label", "first"])
        .ends(0);
    // It goes on, to the runtime that is not there.
    let ran = talon("run").ends(1);
    assert!(ran.err.contains("manifest.json"), "{}", ran.err);
    let list = b.talon(&["token", "list", "-o", "json"]).ends(0).json();
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    b.talon(&["token", "revoke", &id]).ends(0);
    talon("run").ends(4);
}
