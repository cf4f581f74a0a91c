//! What can be done from a page.

use reqwest::StatusCode;
use talon_core::secret::SecretValue;
use talon_store::access::{AccessStore, Role};
use talon_store::{HoldKind, Store};

use crate::world::World;

#[tokio::test]
async fn actions_reach_the_row_and_the_audit_log() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Operator, None).await;
    let row = async || {
        world
            .store
            .get("bot", false)
            .await
            .expect("read")
            .expect("a row")
            .agent
    };
    assert_eq!(
        browser.post("/agents/bot/suspend", &[]).await.goes_to(),
        "/agents/bot?done=suspend"
    );
    assert!(row().await.spec.suspend);
    browser.post("/agents/bot/resume", &[]).await;
    assert!(!row().await.spec.suspend);
    browser.post("/agents/bot/reconcile", &[]).await;
    assert!(row().await.reconcile_requested_at.is_some());
    let wrong = browser
        .post("/agents/bot/delete", &[("confirm", "bob")])
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!row().await.is_deleting());
    browser
        .post("/agents/bot/delete", &[("confirm", "bot")])
        .await;
    assert!(row().await.is_deleting());
    let log = world.store.audit_log(50).await.expect("a log");
    let by_us = log
        .iter()
        .filter(|e| e.source.as_deref() == Some("127.0.0.1") && e.actor.starts_with("token:"));
    assert!(by_us.count() >= 3, "{log:?}");
}

#[tokio::test]
async fn a_protected_agent_is_not_deleted() {
    let world = World::new().await;
    world
        .agent_with(
            "bot",
            "default",
            serde_json::json!({"deletionProtected": true}),
        )
        .await;
    let browser = world.visitor(Role::Operator, None).await;
    let answer = browser
        .post("/agents/bot/delete", &[("confirm", "bot")])
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("TALON-OC012"), "{}", answer.text);
}

const MANIFEST: &str = "apiVersion: talon.dev/v1\nkind: OpenClawAgent\nmetadata: {name: new-bot}\nspec: {persona: p, instructions: i, model: anthropic/a}\n";

#[tokio::test]
async fn a_plan_writes_nothing_and_what_was_planned_is_written() {
    let world = World::new().await;
    let browser = world.visitor(Role::Operator, None).await;
    let planned = browser
        .post("/new", &[("do", "plan-yaml"), ("yaml", MANIFEST)])
        .await;
    assert!(planned.text.contains("1 to create"), "{}", planned.text);
    assert!(
        world
            .store
            .get("new-bot", false)
            .await
            .expect("read")
            .is_none()
    );
    let made = browser
        .post("/new", &[("do", "apply"), ("yaml", MANIFEST)])
        .await;
    assert_eq!(made.goes_to(), "/agents/new-bot?done=created");
    let again = browser
        .post("/new", &[("do", "apply"), ("yaml", MANIFEST)])
        .await;
    assert!(again.text.contains("the name is taken"), "{}", again.text);
}

#[tokio::test]
async fn the_form_keeps_what_it_does_not_show() {
    let world = World::new().await;
    let skills = serde_json::json!({"skills": [{"id": "x", "name": "X", "description": "d"}], "walletAddress": null});
    world.agent_with("bot", "default", skills).await;
    let browser = world.visitor(Role::Operator, None).await;
    let page = browser.get("/agents/bot/edit").await.text;
    let yaml = page
        .split_once("wrap=\"off\">")
        .and_then(|(_, rest)| rest.split_once("</textarea>"))
        .expect("a manifest")
        .0
        .to_owned();
    let fields = [
        ("generation", "1"),
        ("yaml", yaml.as_str()),
        ("persona", "p"),
        ("instructions", "i"),
        ("model", "anthropic/b"),
        ("visibility", "public"),
    ];
    let mut plan = vec![("do", "plan-form")];
    plan.extend(fields);
    let text = browser.post("/agents/bot/edit", &plan).await.text;
    for change in ["spec.model", "spec.visibility", "generation 1 → 2"] {
        assert!(text.contains(change), "{change} in {text}");
    }
    assert!(!text.contains("spec.skills"), "{text}");
}

#[tokio::test]
async fn a_stale_page_overwrites_nothing() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Operator, None).await;
    world
        .agent_with(
            "bot",
            "default",
            serde_json::json!({"model": "anthropic/other"}),
        )
        .await;
    let yaml = MANIFEST
        .replace("new-bot", "bot")
        .replace("anthropic/a", "anthropic/mine");
    let answer = browser
        .post(
            "/agents/bot/edit",
            &[("do", "apply"), ("generation", "1"), ("yaml", &yaml)],
        )
        .await;
    assert!(answer.text.contains("changed meanwhile"), "{}", answer.text);
    let row = world
        .store
        .get("bot", false)
        .await
        .expect("read")
        .expect("a row");
    assert_eq!(row.agent.spec.model, "anthropic/other");
}

/// Its generation may be the same.
#[tokio::test]
async fn a_page_that_showed_another_agent_of_the_name_overwrites_nothing() {
    let world = World::new().await;
    let other = world.agent("other", "default").await.to_string();
    let shown = world.agent("bot", "default").await.to_string();
    let browser = world.visitor(Role::Operator, None).await;
    let page = browser.get("/agents/bot/edit").await.text;
    assert!(page.contains(&format!("name=\"agent\" value=\"{shown}\"")));
    let yaml = MANIFEST
        .replace("new-bot", "bot")
        .replace("anthropic/a", "anthropic/mine");
    let row = async || {
        let row = world.store.get("bot", false).await.expect("read");
        row.expect("a row").agent
    };
    let before = row().await;
    let mut fields = vec![
        ("do", "apply"),
        ("generation", "1"),
        ("agent", other.as_str()),
        ("yaml", yaml.as_str()),
    ];
    let answer = browser.post("/agents/bot/edit", &fields).await;
    assert!(
        answer.text.contains("another has its name"),
        "{}",
        answer.text
    );
    assert_eq!(row().await.spec, before.spec);
    fields[2].1 = &shown;
    let answer = browser.post("/agents/bot/edit", &fields).await;
    assert_eq!(answer.goes_to(), "/agents/bot?done=applied");
}

#[tokio::test]
async fn nobody_makes_agents_of_another_owner() {
    let world = World::new().await;
    let browser = world.visitor(Role::Operator, Some("acme")).await;
    for owner in ["default", "other"] {
        let yaml = MANIFEST.replace(
            "{name: new-bot}",
            &format!("{{name: new-bot, owner: {owner}}}"),
        );
        let answer = browser
            .post("/new", &[("do", "apply"), ("yaml", &yaml)])
            .await;
        assert!(
            answer.text.contains("its own owner only"),
            "{}",
            answer.text
        );
    }
    assert!(
        world
            .store
            .get("new-bot", true)
            .await
            .expect("read")
            .is_none()
    );
}

#[tokio::test]
async fn a_key_goes_to_the_writer_and_nowhere_else() {
    let world = World::new().await;
    let id = world.agent("bot", "default").await;
    let browser = world.visitor(Role::SecretWriter, None).await;
    let canary = "sk-ant-canary-of-the-dashboard";
    for provider in ["Not A Provider", "anthropic"] {
        let answer = browser
            .post(
                "/agents/bot/secrets",
                &[("provider", provider), ("value", canary)],
            )
            .await;
        assert!(!answer.text.contains(canary) && !answer.goes_to().contains(canary));
    }
    let got = world.writer.got.lock().expect("not poisoned").clone();
    let hash = SecretValue::new(canary.to_owned()).sha256_hex();
    assert_eq!(got, [(id, "ANTHROPIC_API_KEY".to_owned(), hash)]);
    let log = world.store.audit_log(10).await.expect("a log");
    assert!(
        log.iter()
            .any(|e| e.action == "set_secret" && e.fields == ["ANTHROPIC_API_KEY"]),
        "{log:?}"
    );
    assert!(!format!("{log:?}").contains(canary));
}

#[tokio::test]
async fn a_hold_is_told_and_released() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    world
        .store
        .set_hold(HoldKind::MassChange, "30 of 40 Workers vanished")
        .await
        .expect("held");
    let browser = world.visitor(Role::Admin, None).await;
    for path in ["/", "/controller", "/agents/bot"] {
        assert!(
            browser
                .get(path)
                .await
                .text
                .contains("30 of 40 Workers vanished"),
            "{path}"
        );
    }
    assert_eq!(
        browser.post("/controller/release", &[]).await.goes_to(),
        "/controller"
    );
    assert!(Store::hold(&*world.store).await.expect("read").is_none());
}
