//! `config show`, `doctor`, `migrate`, and where values come from.

use crate::bench::{Bench, command, run};

#[test]
fn each_value_says_where_it_came_from_and_no_secret_is_shown() {
    let b = Bench::new();
    b.file(
        "talon.yaml",
        "workers: 3\ncloudflare: {apiToken: 'file:/run/canary-path'}\n",
    );
    let mut talon = command(b.folder());
    talon
        .args([
            "config",
            "show",
            "-o",
            "json",
            "--database-url",
            "postgres://talon:canary@db/talon",
        ])
        .env("TALON_RESYNC_SECONDS", "60")
        .env("CLOUDFLARE_API_TOKEN", "canary-token")
        .env("TALON_WORKER", "5");
    let ran = run(&mut talon, None).ends(0);
    let shown = ran.json();
    assert_eq!(shown["workers"]["value"], 3);
    assert!(
        shown["workers"]["origin"]
            .as_str()
            .is_some_and(|o| o.ends_with("talon.yaml"))
    );
    assert_eq!(shown["resyncSeconds"]["origin"], "$TALON_RESYNC_SECONDS");
    assert_eq!(shown["databaseUrl"]["origin"], "--database-url");
    assert_eq!(
        shown["cloudflare.apiToken"]["value"],
        "env:CLOUDFLARE_API_TOKEN"
    );
    assert!(!ran.out.contains("canary"), "{}", ran.out);
    assert!(ran.err.contains("TALON_WORKER is no key"), "{}", ran.err);
}

#[test]
fn a_mistake_in_the_file_is_named() {
    let b = Bench::new();
    b.file("talon.yaml", "brake: {deletion: 3}\n");
    let ran = b.talon(&["get"]).ends(2);
    assert!(
        ran.err.contains("talon.yaml: brake.deletion"),
        "{}",
        ran.err
    );
    let ran = b.talon(&["get", "--config", "other.yaml"]).ends(2);
    assert!(ran.err.contains("other.yaml"), "{}", ran.err);
}

#[test]
fn the_example_file_is_valid_and_shows_the_defaults() {
    let b = Bench::new();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/talon.example.yaml"
    );
    let with = b
        .talon(&["config", "show", "-o", "json", "--config", example])
        .ends(0)
        .json();
    let without = b.talon(&["config", "show", "-o", "json"]).ends(0).json();
    for (key, entry) in without.as_object().expect("keys") {
        assert_eq!(with[key]["value"], entry["value"], "{key}");
    }
}

#[test]
fn a_key_is_made_once_with_its_database_and_for_its_owner_only() {
    let b = Bench::new();
    let key = b.folder().join("talon.db.key");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).expect("the key"));
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&key).expect("the key");
    let again = b.talon(&["migrate"]).ends(0);
    assert!(again.out.contains("up to date"), "{}", again.out);
    assert_eq!(std::fs::read(&key).expect("the key"), before);
    std::fs::remove_file(&key).expect("gone");
    let lost = b.talon(&["migrate"]).ends(4);
    assert!(lost.err.contains("talon.db.key"), "{}", lost.err);
    assert!(!key.exists(), "no new key for an old database");
}

#[test]
fn doctor_finds_what_is_well_and_what_is_not() {
    let b = Bench::new();
    let well = b
        .talon(&["doctor", "--offline", "-o", "json"])
        .ends(0)
        .json();
    assert_eq!(well["ok"], true);
    b.talon(&["hold", "--reason", "moving house"]).ends(0);
    let held = b.talon(&["doctor", "--offline"]).ends(0);
    assert!(
        held.out.contains("moving house") && held.out.contains("talon release-hold"),
        "{}",
        held.out
    );
    b.sql(
        "INSERT INTO agent_event (severity, reason, object, message, first_at, last_at)
         SELECT 'Warning', 'OrphanFound', 'r2_bucket/openclaw-' || age, 'of no row', at, at
         FROM (SELECT 'new' AS age, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS at
               UNION SELECT 'old', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day'))",
    );
    let orphan = b.talon(&["doctor", "--offline"]).ends(0);
    assert!(
        orphan.out.contains("r2_bucket/openclaw-new") && !orphan.out.contains("openclaw-old"),
        "{}",
        orphan.out
    );
    let missing = b
        .talon(&["doctor", "--offline", "--database-url", "sqlite://none.db"])
        .ends(9);
    assert!(missing.out.contains("✗ failed"), "{}", missing.out);
}
