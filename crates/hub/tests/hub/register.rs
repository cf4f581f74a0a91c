//! Who is let in, who is not, and who is put out again.

use std::time::Duration;

use serde_json::json;
use talon_core::snapshot::AuthTokenState;
use talon_hub::HubConfig;

use crate::client::Client;
use crate::tokens::trade;
use crate::world::{World, config, end, logged, sha256, task, until};

fn error(result: &serde_json::Value) -> &str {
    assert_eq!(result["registered"], false, "{result}");
    result["error"].as_str().unwrap()
}

#[tokio::test]
async fn a_managed_agent_is_let_in_by_its_token() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut client = hub.client().await;
    let params = json!({"agent_name": "research-pro", "auth_token": "research-pro-token", "visibility": "public",
        "agent_card": {"name": "x"}, "framework": "openclaw", "framework_version": "2026.9.6", "whatever": [1]});
    let result = client.register_with(params).await;
    assert_eq!(
        result,
        json!({"registered": true, "agent_id": "research-pro"})
    );
    let presence = world.store.presence(id).await.unwrap().unwrap();
    assert!(presence.connected);
    assert_eq!(presence.connection_id, client.connection_id);
    assert_eq!(presence.token_sha256, sha256("research-pro-token"));
    assert_eq!(presence.runtime.as_deref(), Some("openclaw 2026.9.6"));
    client.heartbeat().await;
    // Asking again changes nothing; asking as somebody else is refused.
    let again = client.register("research-pro", "").await;
    assert_eq!(again["registered"], true);
    assert!(error(&client.register("other", "").await).contains("routing id mismatch"));

    client.socket.close(None).await.unwrap();
    until("its end in the database", || async {
        !world.store.presence(id).await.unwrap().unwrap().connected
    })
    .await;
    hub.online("research-pro", false).await;
}

#[tokio::test]
async fn candidates_are_let_in_retired_tokens_are_not() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    world.token(id, "newer", AuthTokenState::Candidate).await;
    world.token(id, "older", AuthTokenState::Retired).await;
    let hub = world.hub(config()).await;
    for (token, text) in [
        ("older", "authentication failed: unknown token"),
        ("wrong", "authentication failed: unknown token"),
        ("", "authentication failed: no token"),
        (
            "sai_key",
            "authentication failed: trade the API key for a token at /auth/agent-token",
        ),
    ] {
        let mut client = hub.client().await;
        assert_eq!(error(&client.register("research-pro", token).await), text);
    }
    let mut client = hub.client().await;
    assert_eq!(
        error(&client.register("nobody", "wrong").await),
        "authentication failed: unknown token"
    );
    let result = client.register("research-pro", "newer").await;
    assert_eq!(
        result["registered"], true,
        "a refused connection may try again"
    );
}

#[tokio::test]
async fn the_token_may_stand_in_the_address() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let url = format!("{}?token=research-pro-token&x=y", hub.url);
    let mut client = Client::connect(&url).await;
    let result = client
        .register_with(json!({"agent_name": "research-pro"}))
        .await;
    assert_eq!(result["registered"], true);
}

#[tokio::test]
async fn names_belong_to_their_owners() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let (acme, _) = world.api_key("acme").await;
    let (other, _) = world.api_key("other").await;
    let acme = trade(&hub.address, &acme).await;
    let other = trade(&hub.address, &other).await;

    let mut client = hub.client().await;
    assert_eq!(
        error(&client.register("research-pro", &other).await),
        "agent research-pro is owned by another user"
    );
    assert!(error(&client.register("research-pro", &acme).await).contains("routing id mismatch"));
    assert!(error(&client.register("No Name", &acme).await).contains("routing id mismatch"));

    let card = json!({"name": "mine", "authentication": {"credentials": "x"}});
    let params = json!({"agent_name": "my.agent_1", "auth_token": acme, "visibility": "public", "agent_card": card});
    assert_eq!(client.register_with(params).await["registered"], true);
    let hosted = world.store.hosted("my.agent_1").await.unwrap().unwrap();
    assert!(hosted.connected && hosted.public);
    assert_eq!(
        (hosted.owner.as_str(), hosted.card),
        ("acme", Some(json!({"name": "mine"})))
    );
    client.socket.close(None).await.unwrap();
    hub.online("my.agent_1", false).await;

    let mut thief = hub.client().await;
    assert!(error(&thief.register("my.agent_1", &other).await).contains("owned by another user"));
}

#[tokio::test]
async fn a_traded_token_expires_and_a_revoked_key_puts_its_agent_out() {
    let world = World::new();
    let hub = world.hub(config()).await;
    let (key, key_id) = world.api_key("acme").await;
    let token = trade(&hub.address, &key).await;
    let mut client = Client::registered(&hub.url, "mine", &token).await;
    world.later(901);
    let mut late = hub.client().await;
    assert_eq!(
        error(&late.register("mine-2", &token).await),
        "authentication failed: the token has expired"
    );
    // Only registering needs the token; being there needs the key.
    tokio::time::sleep(config().recheck * 2).await; // it is looked at again
    client.heartbeat().await;
    world.store.revoke_api_key(&key_id).await.unwrap();
    assert_eq!(put_out(&mut client).await, 1008);
}

#[tokio::test]
async fn a_retired_token_puts_its_agent_out() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut client = hub.agent("research-pro").await;
    world.token(id, "newer", AuthTokenState::Current).await;
    assert_eq!(put_out(&mut client).await, 1008);
}

/// Lives on until the Hub closes: the code.
async fn put_out(client: &mut Client) -> u16 {
    let mut heart = tokio::time::interval(config().recheck);
    loop {
        heart.tick().await;
        if let Some(code) = client.beat().await {
            return code;
        }
    }
}

#[tokio::test]
async fn one_live_connection_per_agent() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut first = hub.agent("research-pro").await;
    let mut second = hub.client().await;
    let refused = second.register("research-pro", "research-pro-token").await;
    assert_eq!(error(&refused), "already connected");
    // The first one answers the ping (its library does, while it reads) and stays.
    let frames = first.quiet(config().probe_timeout * 2).await;
    assert!(frames.is_empty(), "{frames:?}");
    first.heartbeat().await;
    first.socket.close(None).await.unwrap();
    hub.online("research-pro", false).await;
    let result = second.register("research-pro", "research-pro-token").await;
    assert_eq!(result["registered"], true);
}

#[tokio::test]
async fn a_half_open_connection_makes_way_for_a_new_one() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let _silent = hub.agent("research-pro").await; // never reads again, so never answers a ping
    let mut second = hub.client().await;
    let refused = second.register("research-pro", "research-pro-token").await;
    assert_eq!(error(&refused), "already connected");
    hub.online("research-pro", false).await; // long before its heartbeat is due
    let result = second.register("research-pro", "research-pro-token").await;
    assert_eq!(result["registered"], true);
}

#[tokio::test]
async fn without_a_heartbeat_a_connection_is_dropped() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let heartbeat_timeout = Duration::from_millis(1_500);
    let hub = world
        .hub(HubConfig {
            heartbeat_timeout,
            ..config()
        })
        .await;
    let mut client = hub.agent("research-pro").await;
    let start = tokio::time::Instant::now();
    while start.elapsed() < heartbeat_timeout * 2 {
        client.heartbeat().await;
        tokio::time::sleep(Duration::from_millis(100)).await; // a heart
    }
    let start = tokio::time::Instant::now();
    assert_eq!(client.closed().await, 1008);
    assert!(start.elapsed() >= heartbeat_timeout - Duration::from_millis(200));
    until("its end in the database", || async {
        !world.store.presence(id).await.unwrap().unwrap().connected
    })
    .await;
}

#[tokio::test]
async fn signs_of_life_are_stored_in_batches() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut client = hub.agent("research-pro").await;
    let seen = || async { world.store.presence(id).await.unwrap().unwrap().last_seen };
    let before = seen().await;
    world.later(60);
    client.heartbeat().await;
    until("the batch", || async { seen().await > before }).await;
}

#[tokio::test]
async fn whoever_does_not_register_is_dropped() {
    let world = World::new();
    let register_timeout = Duration::from_millis(300);
    let hub = world
        .hub(HubConfig {
            register_timeout,
            ..config()
        })
        .await;
    let mut idle = hub.client().await;
    idle.heartbeat().await; // answered, but no registration
    assert_eq!(idle.closed().await, 1008);
    let hub = world.hub(config()).await;
    let mut stubborn = hub.client().await;
    for _ in 0..5 {
        stubborn.register("research-pro", "wrong").await;
    }
    assert_eq!(stubborn.closed().await, 1008);
}

#[tokio::test]
async fn only_registered_agents_are_served() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut client = hub.client().await;
    let code = |reply: serde_json::Value| reply["error"]["code"].as_i64();
    for method in [
        "task.status",
        "task.complete",
        "task.artifact",
        "agent.search",
        "agent.send_task",
    ] {
        assert_eq!(
            code(client.call(method, json!({})).await),
            Some(-32001),
            "{method}"
        );
    }
    assert_eq!(
        code(client.call("task.dance", json!({})).await),
        Some(-32601)
    );
    client.register("research-pro", "research-pro-token").await;
    assert_eq!(
        code(client.call("task.dance", json!({})).await),
        Some(-32601)
    );
    assert_eq!(
        code(client.call("task.complete", json!([])).await),
        Some(-32602)
    );
    client.send_text("{nonsense".to_owned()).await;
    let reply = client
        .frame(|f| f["id"].is_null() && f.get("error").is_some())
        .await;
    assert_eq!(code(reply), Some(-32700));
    client.send_text("[1,2]".to_owned()).await;
    let reply = client
        .frame(|f| f["id"].is_null() && f.get("error").is_some())
        .await;
    assert_eq!(code(reply), Some(-32600));
    client
        .send(json!({"jsonrpc": "2.0", "method": "task.dance"}))
        .await; // nobody hears of that
    client
        .send(json!({"jsonrpc": "2.0", "id": 999, "result": {}}))
        .await; // nor of that
    client.heartbeat().await;
    assert!(client.quiet(Duration::from_millis(50)).await.is_empty());
}

#[tokio::test]
async fn an_agent_that_is_being_deleted_is_not_let_in() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    world.delete("research-pro").await;
    let hub = world.hub(config()).await;
    let mut client = hub.client().await;
    let refused = client.register("research-pro", "research-pro-token").await;
    assert_eq!(error(&refused), "the agent is being deleted");
    let refused = client.register("research-pro", "wrong").await;
    assert_eq!(
        error(&refused),
        "authentication failed: unknown token",
        "only the agent itself hears why"
    );
}

#[tokio::test]
async fn a_registration_that_cannot_be_stored_is_refused_for_now() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut client = hub.client().await;
    world.faulty.down(true);
    let refused = client.register("research-pro", "research-pro-token").await;
    assert_eq!(error(&refused), "temporarily unavailable");
    world.faulty.down(false);
    let result = client.register("research-pro", "research-pro-token").await;
    assert_eq!(result["registered"], true);
    // An end that cannot be stored is stored later.
    world.faulty.down(true);
    drop(client);
    hub.online("research-pro", false).await;
    world.faulty.down(false);
    until("its end in the database", || async {
        !world.store.presence(id).await.unwrap().unwrap().connected
    })
    .await;
}

#[tokio::test]
async fn registering_makes_the_controller_look() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let _client = hub.agent("research-pro").await;
    let snapshot = world.store.load(id).await.unwrap().unwrap();
    assert!(
        snapshot
            .work
            .next_due_at
            .is_some_and(|at| at <= snapshot.now)
    );
}

#[tokio::test]
async fn no_token_and_no_text_is_ever_logged() {
    let world = World::new();
    let id = world.agent("research-pro", "acme").await;
    world
        .token(id, "canary-managed", AuthTokenState::Candidate)
        .await;
    let hub = world.hub(config()).await;
    let (key, _) = world.api_key("canary-owner").await;
    let jwt = trade(&hub.address, &key).await;
    let url = format!("{}?token=canary-managed", hub.url);
    let mut client = Client::connect(&url).await;
    client.register("research-pro", "canary-wrong").await;
    client.register("research-pro", "canary-managed").await;
    let _hosted = Client::registered(&hub.url, "hosted-1", &jwt).await;
    trade_refused(&hub.address).await;
    let mut asked = task("logged-1", "research-pro");
    asked.text = "canary-question".to_owned();
    let mut stream = hub.deliver(asked).await;
    client.task().await;
    client.status("logged-1", "working", "canary-piece").await;
    client
        .complete("logged-1", "completed", "canary-answer")
        .await;
    end(&mut stream).await;
    let signature = jwt.rsplit('.').next().unwrap().to_owned();
    drop(client);
    hub.online("research-pro", false).await;
    let log = logged();
    for word in ["registration refused", "hosted-1", "logged-1"] {
        assert!(log.contains(word), "the log is on");
    }
    for canary in [
        "canary-managed",
        "canary-wrong",
        "sai_canary",
        "sai_unknown",
        "canary-question",
        "canary-piece",
        "canary-answer",
        &signature,
    ] {
        assert!(!log.contains(canary), "{canary} was logged");
    }
}

async fn trade_refused(address: &str) {
    let (status, _) = crate::tokens::post(address, r#"{"api_key":"sai_unknown-canary"}"#).await;
    assert_eq!(status, 401);
}
