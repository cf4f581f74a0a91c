//! Who gets in, and what is taken from whom.

use reqwest::{Method, StatusCode};
use talon_core::AgentName;
use talon_core::guesses::GuessLimit;
use talon_store::Store;
use talon_store::access::{AccessStore, Role};

use crate::world::{Browser, OPERATOR, World};

/// Every page that needs a session.
const PAGES: [&str; 13] = [
    "/",
    "/cleanup",
    "/controller",
    "/new",
    "/agents/bot",
    "/agents/bot/timeline",
    "/agents/bot/events",
    "/agents/bot/logs",
    "/agents/bot/logs/stream",
    "/agents/bot/config",
    "/agents/bot/secrets",
    "/agents/bot/edit",
    "/ui/stream",
];

/// Every action.
const ACTIONS: [&str; 11] = [
    "/access",
    "/access/x/revoke",
    "/agents/bot/reconcile",
    "/agents/bot/suspend",
    "/agents/bot/resume",
    "/agents/bot/retry",
    "/agents/bot/delete",
    "/agents/bot/edit",
    "/agents/bot/secrets",
    "/new",
    "/controller/release",
];

#[tokio::test]
async fn nobody_sees_anything_without_a_session() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let stranger = Browser::new(&world.url);
    for page in PAGES {
        let answer = stranger.get(page).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{page}");
        assert!(answer.goes_to().starts_with("/sign-in?back=%2F"), "{page}");
        let live = stranger
            .request(Method::GET, page)
            .header("x-talon-live", "1");
        assert_eq!(
            stranger.send(live).await.status,
            StatusCode::UNAUTHORIZED,
            "{page}"
        );
    }
    for action in ACTIONS {
        let answer = stranger.post(action, &[]).await;
        assert_eq!(answer.goes_to(), "/sign-in?back=%2F", "{action}");
    }
}

#[tokio::test]
async fn only_tokens_that_are_accepted_open_the_door() {
    let world = World::new().await;
    let mut browser = Browser::new(&world.url);
    for wrong in ["", "talon_at_unknown", "x"] {
        let answer = browser.sign_in(wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(
            !answer.text.contains("talon_at_unknown"),
            "a token is never repeated"
        );
        assert_eq!(answer.cookie(), "");
    }
    let answer = browser.sign_in(OPERATOR).await;
    assert_eq!(answer.goes_to(), "/");
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(answer.cookie().contains(flag), "{flag}");
    }
    let hash = talon_core::secret::SecretValue::new(OPERATOR.to_owned()).sha256_hex();
    assert!(!answer.cookie().contains(OPERATOR) && !answer.cookie().contains(&hash));
    assert_eq!(browser.get("/controller").await.status, StatusCode::OK);
}

#[tokio::test]
async fn behind_https_the_cookie_is_bound_to_host_and_https() {
    let world = World::with_https(true).await;
    let browser = Browser::new(&world.url);
    let sign_in = browser
        .request(Method::POST, "/sign-in")
        .header("host", "talon.example.com")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={OPERATOR}"));
    let answer = browser.send(sign_in).await;
    assert!(
        answer.cookie().starts_with("__Host-talon="),
        "{}",
        answer.cookie()
    );
    assert!(answer.cookie().contains("; Secure"));
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions() {
    let world = World::new().await;
    let (token, id) = world.token(Role::Viewer, None).await;
    let mut browser = Browser::new(&world.url);
    browser.sign_in(&token).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert!(world.store.revoke_token(&id).await.expect("revoked"));
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_changed_cookie_is_worth_nothing() {
    let world = World::new().await;
    let mut browser = world.visitor(Role::Admin, None).await;
    let good = browser.cookie.clone();
    for (at, _) in good.char_indices().skip("talon-session=".len()).step_by(7) {
        let mut forged: Vec<char> = good.chars().collect();
        forged[at] = if forged[at] == '0' { '1' } else { '0' };
        browser.cookie = forged.into_iter().collect();
        assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn signing_out_takes_the_cookie_away() {
    let world = World::new().await;
    let browser = world.visitor(Role::Viewer, None).await;
    let answer = browser.post("/sign-out", &[]).await;
    assert!(answer.cookie().contains("Max-Age=0"), "{}", answer.cookie());
    // Somebody's copy of it, which the browser did not take away.
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_link_of_the_start_signs_in_once() {
    let world = World::new().await;
    let hash = talon_core::secret::SecretValue::new(OPERATOR.to_owned()).sha256_hex();
    let path = world.dashboard.one_time_path(&hash);
    let mut browser = Browser::new(&world.url);
    let answer = browser.get(&path).await;
    assert_eq!(answer.goes_to(), "/");
    browser.keep(&answer).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(
        Browser::new(&world.url).get(&path).await.goes_to(),
        "/sign-in"
    );
}

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Admin, None).await;
    let other = world.visitor(Role::Operator, None).await;
    for action in ACTIONS {
        for csrf in ["", "0", other.csrf.as_str()] {
            let answer = browser
                .post_bare(action, &[("csrf", csrf), ("confirm", "bot")])
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        }
        // Even with the right token, a browser that says where the form stood is believed.
        for (header, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let body = format!("csrf={}&confirm=bot", browser.csrf);
            let request = browser
                .request(Method::POST, action)
                .header(header, value)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            assert_eq!(
                browser.send(request).await.status,
                StatusCode::FORBIDDEN,
                "{action} {value}"
            );
        }
    }
    let before = browser.get("/agents/bot").await.text;
    assert!(
        !before.contains("deleting") && !before.contains("suspended"),
        "nothing was done"
    );
}

#[tokio::test]
async fn each_role_may_do_what_it_may_and_no_more() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let needs = |action: &str| match action {
        "/agents/bot/secrets" => Role::SecretWriter,
        "/controller/release" | "/access" | "/access/x/revoke" => Role::Admin,
        _ => Role::Operator,
    };
    for role in Role::ALL {
        let browser = world.visitor(role, None).await;
        for action in ACTIONS {
            let answer = browser.post(action, &[]).await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                refused,
                role < needs(action),
                "{role} {action}: {}",
                answer.status
            );
        }
        for page in ["/new", "/agents/bot/edit", "/agents/bot/delete"] {
            let refused = browser.get(page).await.status == StatusCode::FORBIDDEN;
            assert_eq!(refused, role < Role::Operator, "{role} {page}");
        }
    }
}

#[tokio::test]
async fn who_shows_many_wrong_tokens_has_to_wait() {
    let world = World::new().await;
    let (token, _) = world.token(Role::Viewer, None).await;
    let (other, _) = world.token(Role::Operator, None).await;
    let mut browser = Browser::new(&world.url);
    assert_eq!(browser.sign_in(&token).await.goes_to(), "/");
    for _ in 0..GuessLimit::default().at_once {
        let answer = browser.sign_in("talon_at_wrong").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // Right or wrong is not looked at any more.
    for wrong in ["talon_at_wrong", &other] {
        let answer = browser.sign_in(wrong).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(answer.text.contains("Wait "), "{}", answer.text);
    }
    // Whoever was let in of late is, and so is the operator.
    assert_eq!(browser.sign_in(&token).await.goes_to(), "/");
    assert_eq!(browser.sign_in(OPERATOR).await.goes_to(), "/");
}

#[tokio::test]
async fn the_audit_log_shows_where_the_browser_is() {
    let world = World::new().await;
    world.agent("bot", "ann").await;
    let browser = world.visitor(Role::Operator, None).await;
    browser.post("/agents/bot/reconcile", &[]).await;
    world
        .store
        .request_deletion(&AgentName::parse("bot").expect("a name"), false)
        .await
        .expect("asked for");
    browser.post("/agents/bot/retry", &[]).await;
    let log = world.store.audit_log(3).await.expect("the log");
    for (entry, action) in [(&log[0], "cleanup_retry"), (&log[2], "reconcile")] {
        assert_eq!(entry.action, action);
        assert!(entry.actor.starts_with("token:"), "{}", entry.actor);
        assert_eq!(entry.source.as_deref(), Some("127.0.0.1"));
    }
}
