//! Deployment callbacks: who may send them, that they lead to a look, and that nothing they say is stored.

use data_encoding::BASE64;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use talon_core::AgentId;
use talon_core::guesses::GuessLimit;
use talon_core::secret::keyed_bytes;
use talon_factory::FactoryConfig;
use talon_secrets::InstallKey;
use talon_store::Store;
use talon_store::access::AccessStore;

use crate::world::{World, read};

const PATH: &str = "/api/v1/openclaw/agents/research-pro/deployment-callback";
const CANARY: &str = "canary-of-a-callback";

/// A callback, signed for an agent at a time.
fn signed(world: &World, agent: AgentId, id: &str, at: i64, body: &str) -> RequestBuilder {
    let key = InstallKey::from_hex(&"ab".repeat(32)).expect("a key");
    let secret = key.callback_secret(agent);
    let secret = secret.expose().strip_prefix("whsec_").expect("its form");
    let secret = BASE64.decode(secret.as_bytes()).expect("base64");
    let at = at.to_string();
    let parts = [id, ".", &at, ".", body];
    let hash = keyed_bytes(&secret, &parts.map(str::as_bytes));
    world
        .bare(Method::POST, PATH)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", &at)
        .header(
            "webhook-signature",
            format!("v1,AAAA v1,{}", BASE64.encode(&hash)),
        )
        .body(body.to_owned())
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

async fn asked_for(world: &World, agent: AgentId) -> Option<chrono::DateTime<chrono::Utc>> {
    let snapshot = world.store.load(agent).await.expect("a database");
    snapshot.expect("an agent").agent.reconcile_requested_at
}

#[tokio::test]
async fn a_signed_callback_leads_to_one_look_and_is_stored_nowhere() {
    let world = World::new().await;
    let agent = world.agent("research-pro", "ann").await;
    let before = asked_for(&world, agent).await;
    let body = json!({"worker_name": CANARY, "auth_token_hash": "ab".repeat(32)}).to_string();
    let (status, answer) = read(signed(&world, agent, "msg_1", now(), &body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer, json!({"agrees": false, "repeated": false}));
    let after = asked_for(&world, agent).await;
    assert!(after > before, "{after:?}");
    let log = world.store.audit_log(1).await.expect("the log");
    assert_eq!(
        (log[0].action.as_str(), log[0].actor.as_str()),
        ("reconcile", "callback")
    );
    assert_eq!(
        (log[0].object.as_str(), log[0].source.as_deref()),
        ("research-pro", Some("127.0.0.1"))
    );
    // Sent again under the same id, it is taken and leads to nothing.
    let (status, answer) = read(signed(&world, agent, "msg_1", now(), &body)).await;
    assert_eq!(
        (status, &answer["repeated"]),
        (StatusCode::ACCEPTED, &Value::Bool(true))
    );
    assert_eq!(asked_for(&world, agent).await, after);
    let (_, agent) = world.get("/api/v1/openclaw/agents/research-pro").await;
    assert!(!agent.to_string().contains(CANARY), "{agent}");
    let (status, answer) = read(signed(
        &world,
        world
            .store
            .get("research-pro", false)
            .await
            .expect("a row")
            .expect("an agent")
            .agent
            .id,
        "msg_2",
        now(),
        "{}",
    ))
    .await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(answer["agrees"], true);
}

#[tokio::test]
async fn what_is_not_signed_for_this_agent_now_is_refused_and_tells_of_no_agent() {
    let world = World::new().await;
    let agent = world.agent("research-pro", "ann").await;
    let other = world.agent("another", "ann").await;
    let before = asked_for(&world, agent).await;
    let mut refused = Vec::new();
    for request in [
        signed(&world, other, "msg_1", now(), "{}"),
        signed(&world, agent, "msg_1", now() - 301, "{}"),
        signed(&world, agent, "msg_1", now() + 301, "{}"),
        signed(&world, agent, "msg_1", now(), "{}").body("{} "),
        world.ask(Method::POST, PATH).json(&json!({})),
        world.bare(Method::POST, PATH).json(&json!({})),
    ] {
        let (status, answer) = read(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
        refused.push(answer["detail"].clone());
    }
    let nobody = PATH.replace("research-pro", "nobody");
    let request = world
        .bare(Method::POST, &nobody)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", now())
        .header("webhook-signature", "v1,AAAA")
        .json(&json!({}));
    let (status, answer) = read(request).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["detail"], refused[0]);
    assert_eq!(asked_for(&world, agent).await, before);
}

#[tokio::test]
async fn a_body_that_no_deployer_sends_is_refused_without_being_repeated() {
    let world = World::new().await;
    let agent = world.agent("research-pro", "ann").await;
    for (body, expected) in [
        (
            format!("{{\"{CANARY}\": 1}}"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"worker_url": format!("http://{CANARY}")}).to_string(),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"auth_token_hash": CANARY}).to_string(),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            format!("{{\"worker_name\": \"a\", \"worker_name\": \"{CANARY}\"}}"),
            StatusCode::BAD_REQUEST,
        ),
        (CANARY.to_owned(), StatusCode::BAD_REQUEST),
        (
            format!("\"{}\"", "x".repeat(20_000)),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let (status, answer) = read(signed(&world, agent, "msg_1", now(), &body)).await;
        assert_eq!(status, expected, "{answer}");
        assert!(!answer.to_string().contains(CANARY), "{answer}");
    }
    let dotted = signed(&world, agent, "msg.1", now(), "{}");
    assert_eq!(read(dotted).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_sends_what_is_not_signed_has_to_wait() {
    let world = World::with(FactoryConfig {
        guesses: GuessLimit {
            at_once: 3,
            every: std::time::Duration::from_secs(600),
        },
        ..FactoryConfig::default()
    })
    .await;
    let agent = world.agent("research-pro", "ann").await;
    let other = world.agent("another", "ann").await;
    for n in 0..3 {
        // Each is another guess: one that is repeated counts once.
        let request = signed(&world, other, &format!("msg_{n}"), now(), "{}");
        let (status, answer) = read(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    }
    let request = signed(&world, agent, "msg_good", now(), "{}");
    let (status, answer) = read(request).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
}
