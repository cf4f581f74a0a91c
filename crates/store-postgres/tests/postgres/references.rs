//! What the database takes for a reference, against what the program does.

use talon_core::secret::{Provider, SecretRef};
use talon_store::columns::is_reference;

use crate::harness::{Role, TestPostgres};

#[tokio::test]
async fn the_database_and_the_program_agree() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    let long = |prefix: &str, n: usize| format!("{prefix}{}", "A".repeat(n));
    let references = [
        "env:A",
        "env:TALON_SECRET_1",
        "env:",
        "env:a",
        "env:1A",
        "env:A-B",
        "env:_A",
        "env:AKIAX",
        "env:A\n",
        "file:a",
        "file:a.b-c_d",
        "file:.",
        "file:..",
        "file:...",
        "file:a/b",
        "file:sk-x",
        "file:hf_x",
        "file:task-a",
        "file:",
        "vault:kv/a#b",
        "vault:kv/task-a#x",
        "vault:sk-a#b",
        "vault:a#sk-b",
        "vault:a#",
        "vault:#a",
        "vault:a",
        "vault:a#b#c",
        "vault:a b#c",
        "discarded",
        "Discarded",
        "",
        "sk-ant-api03-x",
        "ENV:A",
        " env:A",
        "env:A ",
        "env:Ä",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        long("env:", 128),
        long("env:", 129),
        long("file:", 128),
        long("file:", 129),
    ])
    .chain([
        long("vault:a#", 64),
        long("vault:a#", 65),
        format!("{}#b", long("vault:", 255)),
        format!("{}#b", long("vault:", 256)),
    ]);
    let mut agreed = 0;
    for reference in references {
        let there: bool = sqlx::query_scalar("SELECT talon.is_reference($1)")
            .bind(&reference)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        let here = is_reference(
            &Provider("anthropic".to_owned()),
            &SecretRef(reference.clone()),
        );
        assert_eq!(there, here, "{reference}");
        agreed += 1;
    }
    assert_eq!(agreed, 44);
    for provider in [
        "a",
        "open_ai",
        "A",
        "1a",
        "_a",
        "a-b",
        "sk_live",
        "hf_x",
        "hfx",
        "",
        "ä",
        &long("a", 31).to_lowercase(),
        &long("a", 32).to_lowercase(),
    ] {
        let object = serde_json::json!({ provider: "env:A" }).to_string();
        let (_, discarded): (String, bool) =
            sqlx::query_as("SELECT * FROM talon.clean_references($1, NULL)")
                .bind(object)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        let here = is_reference(
            &Provider(provider.to_owned()),
            &SecretRef("env:A".to_owned()),
        );
        assert_eq!(!discarded, here, "{provider}");
    }
}

#[tokio::test]
async fn only_what_offends_is_discarded() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    for (given, kept, clean, discarded) in [
        ("{}", None, "{}", false),
        (
            r#"{"openai":"env:A"}"#,
            None,
            r#"{"openai": "env:A"}"#,
            false,
        ),
        (
            r#"{"a":"env:A","b":"sk-canary"}"#,
            None,
            r#"{"a": "env:A", "b": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","b":{"x":"sk-canary"}}"#,
            None,
            r#"{"a": "env:A", "b": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","b":null}"#,
            None,
            r#"{"a": "env:A", "b": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","b":"\u0000canary"}"#,
            None,
            r#"{"a": "env:A", "b": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","a":"env:B"}"#,
            None,
            r#"{"a": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","sk-canary":"env:B"}"#,
            None,
            r#"{"a": "env:A", "discarded": "discarded"}"#,
            true,
        ),
        ("sk-canary", None, r#"{"discarded": "discarded"}"#, true),
        (
            "sk-canary",
            Some(r#"{"a": "env:A"}"#),
            r#"{"a": "env:A", "discarded": "discarded"}"#,
            true,
        ),
        (
            r#""sk-canary""#,
            None,
            r#"{"discarded": "discarded"}"#,
            true,
        ),
        (
            r#"["sk-canary"]"#,
            None,
            r#"{"discarded": "discarded"}"#,
            true,
        ),
        (
            r#"{"a":"env:A","b":"sk-canary"#,
            None,
            r#"{"discarded": "discarded"}"#,
            true,
        ),
        ("", None, r#"{"discarded": "discarded"}"#, true),
    ] {
        let (text, bad): (String, bool) =
            sqlx::query_as("SELECT * FROM talon.clean_references($1, $2)")
                .bind(given)
                .bind(kept)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        assert_eq!((text.as_str(), bad), (clean, discarded), "{given}");
    }
    let (text, bad): (String, bool) =
        sqlx::query_as("SELECT * FROM talon.clean_references($1, NULL)")
            .bind(format!(r#"{{"a":"{}"}}"#, "A".repeat(5000)))
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert!(bad && text.len() < 100);
}

#[tokio::test]
async fn a_discarded_reference_is_dated_once() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = database.connect(Role::Admin).await;
    let upsert = "INSERT INTO agent_source (name, persona, instructions, model, api_key_refs)
         VALUES ('research-pro', 'p', 'i', 'a/b', '{\"a\":\"oops\"}')
         ON CONFLICT (name) WHERE deleted_at IS NULL DO UPDATE SET api_key_refs = EXCLUDED.api_key_refs";
    let read = "SELECT api_key_refs, secret_ref_discarded_at, generation FROM agent_source";
    type Seen = (String, Option<chrono::DateTime<chrono::Utc>>, i64);
    sqlx::query(upsert).execute(&mut admin).await.unwrap();
    let first: Seen = sqlx::query_as(read).fetch_one(&mut admin).await.unwrap();
    assert_eq!(
        (first.0.as_str(), first.1.is_some(), first.2),
        (r#"{"a": "discarded"}"#, true, 1)
    );
    sqlx::query(upsert).execute(&mut admin).await.unwrap();
    let again: Seen = sqlx::query_as(read).fetch_one(&mut admin).await.unwrap();
    assert_eq!(again, first);
    sqlx::query("UPDATE agent_source SET api_key_refs = '{\"a\":\"env:A\"}'")
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query(upsert).execute(&mut admin).await.unwrap();
    let later: Seen = sqlx::query_as(read).fetch_one(&mut admin).await.unwrap();
    assert!(later.1 > first.1);
    assert_eq!(later.2, 3);
}
