//! `token`.

use crate::bench::Bench;

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
    let again = b.talon(&["token", "revoke", &id]).ends(3);
    assert!(again.err.contains("talon token list"), "{}", again.err);
    assert!(b.talon(&["token", "list"]).ends(0).out.contains("revoked"));
}
