//! Rows that people have written in ways the program did not expect still load.

use talon_core::AgentSpec;
use talon_core::spec::{DeletionPolicy, Visibility};
use talon_store::{ListFilter, Store, StoreError};

use crate::harness::{Role, TestPostgres};
use crate::support::{CANARY, create, name, run, snap, with_first_row};

#[tokio::test]
async fn json_of_another_shape_loads_with_its_violations() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    let strange = format!(
        "UPDATE agent_source SET skills = '[{{\"id\": \"{CANARY}\"}}, 7]', theme = '{{\"primary_color\": 7}}',
             r2 = '{{\"jurisdiction\": \"{CANARY}\"}}'"
    );
    run(&mut admin, &strange).await.unwrap();
    let store = database.store().await;
    let found = store.get("research-pro", false).await.unwrap().unwrap();
    let pointers: Vec<&str> = found
        .agent
        .violations
        .iter()
        .map(|v| v.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/spec/skills", "/spec/theme", "/spec/r2"]);
    assert!(!format!("{found:?}").contains(CANARY));
    let AgentSpec {
        skills, theme, r2, ..
    } = found.agent.spec;
    assert!(skills.is_empty() && theme.is_none() && r2.is_default());
}

#[tokio::test]
async fn words_that_no_trigger_let_in_are_read_as_defaults() {
    let database = TestPostgres::shared().await.database().await;
    let mut admin = with_first_row(&database, false).await;
    run(&mut admin, "ALTER TABLE agent_source DISABLE TRIGGER USER")
        .await
        .unwrap();
    run(
        &mut admin,
        "UPDATE agent_source SET visibility = 'x', deletion_policy = 'x', api_key_refs = 'sk-canary'",
    )
    .await
    .unwrap();
    let store = database.store().await;
    let agent = store
        .get("research-pro", false)
        .await
        .unwrap()
        .unwrap()
        .agent;
    assert_eq!(agent.violations.len(), 3);
    assert_eq!(
        (agent.spec.visibility, agent.spec.deletion_policy),
        (Visibility::Private, DeletionPolicy::KeepBucket)
    );
    assert!(agent.spec.api_key_refs.is_empty());
}

#[tokio::test]
async fn one_unreadable_agent_hides_no_other() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let one = create(&store, "agent-one").await;
    let two = create(&store, "agent-two").await;
    let mut admin = database.connect(Role::Admin).await;
    let newer = "INSERT INTO agent_resource (agent_id, kind, name, state)
         SELECT id, 'of_a_newer_version', 'x', 'present' FROM agent_source WHERE name = 'agent-one'";
    run(&mut admin, newer).await.unwrap();
    let listed = store.list(&ListFilter::default()).await.unwrap();
    assert_eq!(listed.iter().map(|s| s.agent.id).collect::<Vec<_>>(), [two]);
    assert_eq!(snap(&store, two).await.agent.name, name("agent-two"));
    let error = store.load(one).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt(what) if what.contains("kind")),
        "{error:?}"
    );
}

#[tokio::test]
async fn errors_repeat_no_value() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let mut wanted = talon_store::conformance::support::spec();
    wanted.persona = format!("{CANARY}\0");
    let owner = talon_core::Owner(CANARY.to_owned());
    for (owner, spec) in [
        (talon_core::Owner::default(), wanted.clone()),
        (owner, talon_store::conformance::support::spec()),
    ] {
        let error = store
            .apply(&name("research-pro"), &owner, &spec, Default::default())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Rejected { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains(CANARY), "{error:?}");
    }
    let url = format!("postgres://user:{CANARY}@127.0.0.1:1/x");
    let error = talon_store_postgres::PostgresStore::open(&url)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(why) if why.contains("refused")),
        "{error:?}"
    );
    assert!(!format!("{error:?} {error}").contains(CANARY), "{error:?}");
    let error = talon_store_postgres::PostgresStore::open(&format!("postgres://{CANARY}:x@[/"))
        .await
        .unwrap_err();
    assert!(!format!("{error:?} {error}").contains(CANARY), "{error:?}");
}
