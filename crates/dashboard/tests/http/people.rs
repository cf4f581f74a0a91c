//! Who did what, and who may.

use reqwest::StatusCode;
use talon_core::secret::SecretValue;
use talon_store::access::{AccessStore, NewAudit, Role};
use talon_store::fleet::Actor;

use crate::world::{MADE, World};

#[tokio::test]
async fn the_history_names_who_changed_what_and_the_generation() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Operator, None).await;
    browser.post("/agents/bot/suspend", &[]).await;
    let page = browser.get("/agents/bot/history").await.text;
    for words in [
        "operator for tests",
        "from 127.0.0.1",
        ">suspend</code>",
        "generation 2",
        "generation 1",
        "SQL",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
}

#[tokio::test]
async fn the_history_is_for_operators_and_knows_keys_by_both_spellings_and_no_hold() {
    let world = World::new().await;
    world.agent("controller", "default").await;
    let writer = world.visitor(Role::SecretWriter, None).await;
    let actor = Actor {
        name: "token:earlier".to_owned(),
        source: "198.51.100.7".to_owned(),
    };
    for (action, object) in [
        ("rotate_auth", "agent/controller"),
        ("hold", "controller"),
        ("release_hold", "controller"),
    ] {
        let entry = NewAudit {
            action: action.to_owned(),
            object: object.to_owned(),
            fields: vec![format!("field-of-{action}")],
        };
        world.store.audit(&actor, &entry).await.expect("written");
    }
    let key = [("provider", "anthropic"), ("value", "made-up-key-1f")];
    let answer = writer.post("/agents/controller/secrets", &key).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let page = writer.get("/agents/controller/history").await.text;
    for words in ["ANTHROPIC_API_KEY", "field-of-rotate_auth"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    for words in ["field-of-hold", "field-of-release_hold"] {
        assert!(!page.contains(words), "{words} in {page}");
    }
    let viewer = world.visitor(Role::Viewer, None).await;
    let refused = viewer.get("/agents/controller/history").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let overview = viewer.get("/agents/controller").await.text;
    assert!(!overview.contains("/agents/controller/history"));
    let admin = world.visitor(Role::Admin, None).await;
    let page = admin.get("/audit?q=ANTHROPIC").await.text;
    assert!(page.contains("/agents/controller/history"), "{page}");
}

#[tokio::test]
async fn the_audit_log_is_for_admins_of_everything() {
    let world = World::new().await;
    world.agent("bot", "acme").await;
    let admin = world.visitor(Role::Admin, None).await;
    let page = admin.get("/audit").await.text;
    assert!(page.contains("href=\"/agents/bot/history\""), "{page}");
    let page = admin.get("/audit?q=BOT").await.text;
    assert!(page.contains("/agents/bot/history"), "{page}");
    let page = admin.get("/audit?q=other").await.text;
    assert!(page.contains("No entry fits"), "{page}");
    for (role, owner) in [(Role::SecretWriter, None), (Role::Admin, Some("acme"))] {
        let other = world.visitor(role, owner).await;
        let status = other.get("/audit").await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{role} {owner:?}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let world = World::new().await;
    let admin = world.visitor(Role::Admin, None).await;
    let wrong = admin
        .post("/access", &[("label", ""), ("owner", "A!")])
        .await;
    assert!(
        wrong.text.contains("One line of 1 to 100"),
        "{}",
        wrong.text
    );
    assert!(wrong.text.contains("1 to 64 lower-case"), "{}", wrong.text);
    let form = [
        ("label", "<ci>"),
        ("role", "operator"),
        ("owner", "acme"),
        ("days", "30"),
    ];
    let made = admin.post("/access", &form).await;
    assert_eq!(made.status, StatusCode::OK);
    assert!(made.text.contains(MADE), "{}", made.text);
    assert!(!made.text.contains("<ci>"), "{}", made.text);
    let again = admin.get("/access").await.text;
    assert!(
        !again.contains(MADE) && again.contains("ci&#62;"),
        "{again}"
    );
    let hash = SecretValue::new(MADE.to_owned()).sha256_hex();
    let token = world.store.token(&hash).await.expect("read");
    let token = token.expect("it is accepted");
    assert_eq!(
        (token.role, token.owner.map(|o| o.0).as_deref()),
        (Role::Operator, Some("acme"))
    );
    assert!(token.expires_at.is_some());
    let path = format!("/access/{}/revoke", token.id);
    assert_eq!(
        admin.post(&path, &[]).await.goes_to(),
        "/access?done=revoked"
    );
    assert_eq!(world.store.token(&hash).await.expect("read"), None);
    let twice = admin.post(&path, &[]).await;
    assert_eq!(twice.status, StatusCode::UNPROCESSABLE_ENTITY);
    let log = world.store.audit_log(10).await.expect("a log");
    let said: Vec<&str> = log.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(said, ["token_revoke", "token_create"]);
}

#[tokio::test]
async fn an_owners_admin_sees_and_makes_tokens_of_that_owner_only() {
    let world = World::new().await;
    let (_, foreign) = world.token(Role::Viewer, Some("other")).await;
    let admin = world.visitor(Role::Admin, Some("acme")).await;
    let page = admin.get("/access").await.text;
    assert!(page.contains("admin for tests"), "{page}");
    assert!(!page.contains("viewer for tests"), "{page}");
    let answer = admin.post(&format!("/access/{foreign}/revoke"), &[]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let form = [("label", "ci"), ("role", "admin"), ("owner", "other")];
    admin.post("/access", &form).await;
    let hash = SecretValue::new(MADE.to_owned()).sha256_hex();
    let made = world.store.token(&hash).await.expect("read");
    let owner = made.and_then(|token| token.owner);
    assert_eq!(owner.map(|o| o.0).as_deref(), Some("acme"));
}
