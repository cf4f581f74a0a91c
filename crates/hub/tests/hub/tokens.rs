//! `POST /auth/agent-token`.

use serde_json::{Value, json};
use talon_hub::HubConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, config};

/// Status and body.
pub async fn post(address: &str, body: &str) -> (u16, Value) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /auth/agent-token HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200") {
        assert!(
            head.to_lowercase().contains("cache-control: no-store"),
            "{head}"
        );
    }
    let status = head[9..12].parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A token for an API key.
pub async fn trade(address: &str, api_key: &str) -> String {
    let (status, body) = post(address, &json!({"api_key": api_key}).to_string()).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(900)));
    body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_traded_until_it_is_revoked() {
    let world = World::new();
    let hub = world.hub(config()).await;
    let (key, id) = world.api_key("acme").await;
    trade(&hub.address, &key).await;
    let of = |body: &'static str| post(&hub.address, body);
    assert_eq!(of(r#"{"api_key":"sai_unknown"}"#).await.0, 401);
    assert_eq!(of(r#"{"api_key":"something"}"#).await.0, 403);
    for odd in ["", "[]", "{}", r#"{"api_key":7}"#, "{"] {
        assert_eq!(post(&hub.address, odd).await.0, 400, "{odd}");
    }
    assert_eq!(post(&hub.address, &"x".repeat(5_000)).await.0, 413);
    world.faulty.down(true);
    let body = json!({"api_key": key}).to_string();
    assert_eq!(post(&hub.address, &body).await.0, 503);
    world.faulty.down(false);
    assert!(world.store.revoke_api_key(&id).await.unwrap());
    assert_eq!(post(&hub.address, &body).await.0, 401);
}

#[tokio::test]
async fn trading_has_a_limit() {
    let world = World::new();
    let trades_per_second = 2.0;
    let hub = world
        .hub(HubConfig {
            trades_per_second,
            ..config()
        })
        .await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(post(&hub.address, r#"{"api_key":"sai_guess"}"#).await.0);
    }
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429));
}
