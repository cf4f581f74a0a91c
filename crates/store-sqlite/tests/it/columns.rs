//! What each column takes, compared with what the program itself takes.

use talon_core::AgentName;
use talon_core::name::RESERVED;
use talon_core::secret::{Provider, SecretRef};
use talon_store::columns::is_reference;
use talon_store::{Store, codes};

use crate::support::{Database, sqlite3};

#[tokio::test]
async fn names_are_what_the_program_takes() {
    let db = Database::new().await;
    let long = "a".repeat(31);
    let fits = "b".repeat(30);
    let mut names = vec![
        "ab",
        "abc",
        "a-b",
        "-ab",
        "ab-",
        "a--b",
        "Abc",
        "a_b",
        "äbc",
        "a b",
        "a.b",
        "123",
        "1-2",
        "",
        "a\u{200b}bc",
        &long,
        &fits,
    ];
    names.extend(RESERVED);
    for name in names {
        let taken = db
            .sql(&format!(
                "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('{name}', 'p', 'i', 'm/m')"
            ))
            .is_ok();
        assert_eq!(taken, AgentName::parse(name).is_ok(), "{name:?}");
    }
}

#[tokio::test]
async fn references_are_what_the_program_takes() {
    let db = Database::new().await;
    db.insert("research-pro");
    let long_env = format!("env:A{}", "B".repeat(127));
    let longer_env = format!("{long_env}C");
    let long_vault = format!("vault:{}#f", "p".repeat(255));
    let longer_vault = format!("vault:{}#f", "p".repeat(256));
    let long_field = format!("vault:p#{}", "f".repeat(64));
    let longer_field = format!("{long_field}f");
    let references = [
        "env:A",
        "env:TALON_SECRET_1",
        "env:a",
        "env:1A",
        "env:_A",
        "env:",
        "env:A-B",
        "env:AKIAIOSFODNN7EXAMPLE",
        "file:a",
        "file:a.b-c_d",
        "file:.",
        "file:..",
        "file:...",
        "file:a/b",
        "file:/etc/x",
        "file:sk-x",
        "file:sk_x",
        "file:xai-1",
        "file:gsk_1",
        "file:AIzaX",
        "file:hf_x",
        "file:",
        "vault:kv/a#b",
        "vault:kv/task-a#x",
        "vault:sk-a#x",
        "vault:kv#sk-a",
        "vault:#f",
        "vault:p#",
        "vault:p",
        "vault:p#f#g",
        "discarded",
        "Discarded",
        "",
        "sk-ant-api03-x",
        "ENV:A",
        "env:A ",
        " env:A",
        &long_env,
        &longer_env,
        &long_vault,
        &longer_vault,
        &long_field,
        &longer_field,
    ];
    for reference in references {
        check(&db, "anthropic", reference);
    }
    let long = "a".repeat(32);
    let longer = "a".repeat(33);
    for provider in [
        "openai", "x_ai", "a1", "1a", "_a", "", "Open", "open-ai", "sk_live", "hf_x", "ghp_x",
        "sai_x", "skylark", &long, &longer,
    ] {
        check(&db, provider, "env:A");
    }
}

#[track_caller]
fn check(db: &Database, provider: &str, reference: &str) {
    let refs = serde_json::json!({ provider: reference }).to_string();
    let wanted = is_reference(
        &Provider(provider.to_owned()),
        &SecretRef(reference.to_owned()),
    );
    let update = format!(
        "UPDATE agent_source SET api_key_refs = '{{}}'; UPDATE agent_source SET api_key_refs = '{refs}'"
    );
    match db.sql(&update) {
        Ok(_) => assert!(wanted, "the database took {refs}"),
        Err(said) => {
            assert!(!wanted, "the database refused {refs}: {said}");
            assert!(said.contains(codes::NOT_A_REFERENCE));
        }
    }
}

#[tokio::test]
async fn bad_json_and_bad_words_are_refused_by_name() {
    let db = Database::new().await;
    db.insert("research-pro");
    for (set, rule) in [
        ("skills = '[}'", "skills_must_be_a_JSON_array"),
        ("skills = '{}'", "skills_must_be_a_JSON_array"),
        ("skills = ''", "skills_must_be_a_JSON_array"),
        (
            "skills = NULL",
            "NOT NULL constraint failed: agent_source.skills",
        ),
        ("theme = 'red'", "theme_must_be_a_JSON_object"),
        ("theme = '[]'", "theme_must_be_a_JSON_object"),
        ("r2 = 'eu'", "r2_must_be_a_JSON_object"),
        (
            "visibility = 'everybody'",
            "visibility_must_be_private_or_public",
        ),
        (
            "deletion_policy = 'none'",
            "deletion_policy_must_be_delete_or_keep_bucket",
        ),
        ("keep_alive = 2", "keep_alive_must_be_0_or_1"),
        (
            "keep_alive = 'yes'",
            "cannot store TEXT value in INTEGER column",
        ),
        ("persona = ''", "persona_must_have_1_to_65536_bytes"),
        (
            "persona = 'a' || char(0)",
            "persona_must_not_hold_a_NUL_character",
        ),
        (
            "avatar_url = 'a' || char(0)",
            "avatar_url_must_not_hold_a_NUL_character",
        ),
        (
            "persona = x'00ff'",
            "cannot store BLOB value in TEXT column",
        ),
        (
            "instructions = printf('%.*c', 262145, 'x')",
            "instructions_must_have_1_to_262144_bytes",
        ),
        ("model = ''", "model_must_have_1_to_200_bytes"),
        (
            "description = printf('%.*c', 16385, 'x')",
            "description_must_have_at_most_16384_bytes",
        ),
        (
            "deployment_status = 'fine'",
            "deployment_status_must_be_a_known_word",
        ),
    ] {
        db.refused(&format!("UPDATE agent_source SET {set}"), rule);
    }
    for owner in ["", "Upper", "a b", "ä"] {
        let insert = format!(
            "INSERT INTO agent_source (name, owner, persona, instructions, model) VALUES ('agent-x', '{owner}', 'p', 'i', 'm/m')"
        );
        db.refused(&insert, "owner_must_be");
    }
}

#[tokio::test]
async fn a_column_that_says_nothing_sensible_is_named_and_the_rest_is_read() {
    let db = Database::new().await;
    db.insert("research-pro");
    db.insert("healthy");
    db.ok(
        r#"UPDATE agent_source SET skills = '[{"id":"canary"}]', r2 = '{"jurisdiction":"canary"}', theme = '{"colour":"canary"}',
           keep_alive = 1, persona = CAST(x'63616e617279ff' AS TEXT) WHERE name = 'research-pro'"#,
    );
    let agent = db.get("research-pro").await.agent;
    let named: Vec<_> = agent
        .violations
        .iter()
        .map(|v| v.detail.split(':').next().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "column skills",
            "column theme",
            "column r2",
            "column persona"
        ]
    );
    assert!(!format!("{:?}", agent.violations).contains("canary"));
    assert!(agent.spec.keep_alive && agent.spec.skills.is_empty());
    assert_eq!(db.store.list(&Default::default()).await.unwrap().len(), 2);
    assert_eq!(db.store.load_page(None, 10).await.unwrap().len(), 2);
    // Applying puts it right, and only what was wrong or differs.
    db.create("research-pro").await;
    let agent = db.get("research-pro").await.agent;
    assert_eq!(
        (agent.violations, agent.spec),
        (vec![], talon_store::conformance::support::spec())
    );
}

#[tokio::test]
async fn both_spellings_of_json_keys_are_read() {
    let db = Database::new().await;
    db.insert("research-pro");
    for (model, price) in [("pricing_model", "price_usd"), ("pricingModel", "priceUsd")] {
        db.ok(&format!(
            r#"UPDATE agent_source SET skills = '[{{"id":"a","name":"A","description":"d","{model}":"per_request","{price}":0.05}}]'"#
        ));
        let agent = db.get("research-pro").await.agent;
        assert_eq!(agent.violations, []);
        assert_eq!(agent.spec.skills[0].price_usd, Some(0.05));
    }
}

#[tokio::test]
async fn the_schema_survives_a_dump() {
    let db = Database::new().await;
    db.insert("research-pro");
    db.ok("DELETE FROM agent_source");
    let dump = db.ok(".dump");
    let copy = db.folder.path().join("copy.db");
    sqlite3(&copy, &dump).unwrap();
    let store = talon_store_sqlite::SqliteStore::open(copy.to_str().unwrap())
        .await
        .unwrap();
    let agent = store
        .get("research-pro", false)
        .await
        .unwrap()
        .unwrap()
        .agent;
    assert_eq!(agent, db.get("research-pro").await.agent);
}
