//! Tails: who may listen, what is heard of a Worker that runs, and when it ends.

mod support;

use futures::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use support::Cloud;
use support::stage::{Stage, metadata};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const TAILS: &str = "workers/scripts/agent/tails";
const WORKER: &str = r#"
export default {
  async fetch(request) {
    console.log("asked for", new URL(request.url).pathname);
    return new Response("here");
  }
};
"#;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(url: &str, protocol: Option<&str>) -> Result<Socket, Error> {
    let mut request = url.into_client_request().unwrap();
    if let Some(protocol) = protocol {
        let value = protocol.parse().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", value);
    }
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), socket.next());
        match next.await.expect("in time")? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

#[tokio::test]
async fn a_running_worker_is_heard_until_the_tail_is_removed() {
    let stage = Stage::set().await;
    stage
        .deploy("agent", WORKER, metadata(json!([]), false))
        .await
        .result();
    stage.enable("agent", true).await;
    let cloud = &stage.cloud;
    let tail = cloud
        .json(Method::POST, TAILS, json!({"filters": []}))
        .await
        .result()
        .clone();
    let (id, url) = (tail["id"].as_str().unwrap(), tail["url"].as_str().unwrap());
    assert_eq!(cloud.get(TAILS).await.result()["id"], id);
    assert!(listen(url, None).await.is_err(), "without its protocol");
    let mut socket = listen(url, Some("trace-v1")).await.unwrap();
    socket
        .send(Message::text(r#"{"debug":false}"#))
        .await
        .unwrap();

    assert_eq!(stage.get("agent", "/some/path?q=1").await.0, 200);
    let (mut printed, mut answered) = (false, false);
    while !(printed && answered) {
        let event = next(&mut socket).await.expect("an event");
        assert_eq!(event["scriptName"], "agent");
        if event["event"].is_null() {
            let said = event["logs"][0]["message"][0].as_str().unwrap();
            printed |= said.contains("asked for /some/path");
        } else {
            assert_eq!(event["event"]["response"]["status"], 200);
            let url = event["event"]["request"]["url"].as_str().unwrap();
            assert_eq!(url, "https://agent.dev.workers.dev/some/path?q=1");
            answered = true;
        }
    }

    cloud.delete(&format!("{TAILS}/{id}")).await.result();
    assert_eq!(next(&mut socket).await, None);
    assert_eq!(cloud.delete(&format!("{TAILS}/{id}")).await.status, 404);
    assert!(listen(url, Some("trace-v1")).await.is_err(), "it is gone");
}

#[tokio::test]
async fn a_worker_has_ten_tails_and_one_that_is_not_there_has_none() {
    let cloud = Cloud::start().await;
    let new = || cloud.json(Method::POST, TAILS, json!({"filters": []}));
    assert_eq!(new().await.refused(), (404, 10007));
    cloud
        .upload("agent", support::metadata(json!([])))
        .await
        .result();
    for _ in 0..10 {
        new().await.result();
    }
    assert_eq!(new().await.status, 400);
    let newest = cloud.get(TAILS).await.result()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    cloud.delete(&format!("{TAILS}/{newest}")).await.result();
    new().await.result();
    let (_, reader) = cloud
        .new_token("Workers Tail Read", &cloud.account_resource())
        .await;
    let path = format!("accounts/{}/{TAILS}", cloud.sim.account_id());
    let asked = cloud
        .http
        .get(format!("{}/{path}", cloud.sim.api_base()))
        .bearer_auth(reader);
    assert_eq!(support::send(asked).await.status, 200);
}
