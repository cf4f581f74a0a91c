//! Wrong tokens: how many one address may show, who is not held up by them, and where a request is taken to come from.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use talon_core::guesses::GuessLimit;
use talon_factory::FactoryConfig;
use talon_store::access::AccessStore;

use crate::world::World;

const AGENTS: &str = "/api/v1/openclaw/agents";
const LIMIT: GuessLimit = GuessLimit {
    at_once: 3,
    every: Duration::from_secs(600),
};

async fn ask(world: &World, token: &str, forwarded_for: &str) -> Response {
    world
        .bare(Method::GET, AGENTS)
        .bearer_auth(token)
        .header("x-forwarded-for", forwarded_for)
        .send()
        .await
        .expect("an answer")
}

async fn behind_a_proxy() -> World {
    World::with(FactoryConfig {
        guesses: LIMIT,
        trusted_proxies: vec!["127.0.0.1".parse().expect("an address")],
        ..FactoryConfig::default()
    })
    .await
}

#[tokio::test]
async fn an_address_that_guesses_has_to_wait_and_others_have_not() {
    let world = behind_a_proxy().await;
    let made = json!({"label": "ann", "role": "viewer"});
    let (_, made) = world.post("/api/v1/tokens", &made).await;
    let good = made["token"].as_str().expect("a token");
    let (guesser, other) = ("198.51.100.7", "198.51.100.8");
    for n in 0..3 {
        let refused = ask(&world, &format!("wrong-{n}"), guesser).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    // Right or wrong is not looked at any more.
    for token in ["wrong-4", good] {
        let refused = ask(&world, token, guesser).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = refused.headers()["retry-after"]
            .to_str()
            .expect("text")
            .parse()
            .expect("seconds");
        assert!((1..=600).contains(&wait), "{wait}");
    }
    assert_eq!(ask(&world, good, other).await.status(), StatusCode::OK);
    // Known to be good by now, and the operator's always is: whoever shares an address with a guesser goes on.
    assert_eq!(ask(&world, good, guesser).await.status(), StatusCode::OK);
    let operator = world.operator.clone();
    assert_eq!(
        ask(&world, &operator, guesser).await.status(),
        StatusCode::OK
    );
    world.stop().await;
}

#[tokio::test]
async fn who_is_no_trusted_proxy_speaks_for_itself() {
    let world = World::with(FactoryConfig {
        guesses: LIMIT,
        ..FactoryConfig::default()
    })
    .await;
    for n in 0..3 {
        let from = format!("198.51.100.{n}");
        assert_eq!(
            ask(&world, "wrong", &from).await.status(),
            StatusCode::UNAUTHORIZED
        );
    }
    let refused = ask(&world, "wrong", "198.51.100.99").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    world.stop().await;
}

#[tokio::test]
async fn the_audit_log_shows_whom_a_trusted_proxy_names() {
    let world = behind_a_proxy().await;
    let made = world
        .ask(Method::PUT, "/api/v1/hold")
        .header("x-forwarded-for", "203.0.113.1, 198.51.100.7, 127.0.0.1")
        .json(&json!({"reason": "a look"}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(made.status(), StatusCode::OK);
    let log = world.store.audit_log(1).await.expect("the log");
    assert_eq!(
        (log[0].action.as_str(), log[0].source.as_deref()),
        ("hold", Some("198.51.100.7"))
    );
    world.stop().await;
}
