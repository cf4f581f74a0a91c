//! An agent, as far as the Hub can see.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest wait for anything that must come.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub connection_id: String,
    /// Read while something else was waited for.
    aside: VecDeque<Value>,
    last: u64,
}

impl Client {
    pub async fn connect(url: &str) -> Self {
        let (socket, _) = tokio::time::timeout(SOON, tokio_tungstenite::connect_async(url))
            .await
            .expect("in time")
            .expect("a WebSocket");
        let mut client = Self {
            socket,
            connection_id: String::new(),
            aside: VecDeque::new(),
            last: 0,
        };
        let hello = client.read().await;
        assert_eq!(hello["method"], "connection.established");
        client.connection_id = hello["params"]["connection_id"]
            .as_str()
            .unwrap()
            .to_owned();
        client
    }

    pub async fn registered(url: &str, name: &str, token: &str) -> Self {
        let mut client = Self::connect(url).await;
        let result = client.register(name, token).await;
        assert_eq!(result, json!({"registered": true, "agent_id": name}));
        client
    }

    pub async fn register(&mut self, name: &str, token: &str) -> Value {
        self.register_with(json!({"agent_name": name, "auth_token": token}))
            .await
    }

    pub async fn register_with(&mut self, params: Value) -> Value {
        self.call("agent.register", params).await["result"].clone()
    }

    pub async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("sent");
    }

    /// Sends a request and waits for its reply.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = format!("msg-{}", self.last);
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        self.frame(|f| f["id"] == *id && f.get("method").is_none())
            .await
    }

    /// The next frame that fits; others are put aside.
    pub async fn frame(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.aside.iter().position(&fits) {
            return self.aside.remove(at).unwrap();
        }
        loop {
            let frame = self.read().await;
            if fits(&frame) {
                return frame;
            }
            self.aside.push_back(frame);
        }
    }

    pub async fn notification(&mut self, method: &str) -> Value {
        self.frame(|f| f["method"] == *method).await
    }

    /// The next task: its id.
    pub async fn task(&mut self) -> String {
        let frame = self.notification("task.execute").await;
        assert!(frame["id"].is_u64());
        frame["params"]["id"].as_str().unwrap().to_owned()
    }

    /// What is read until nothing more comes for a moment: to show that something does not come.
    pub async fn quiet(&mut self, wait: Duration) -> Vec<Value> {
        let mut all: Vec<Value> = self.aside.drain(..).collect();
        while let Ok(frame) = tokio::time::timeout(wait, self.read()).await {
            all.push(frame);
        }
        all
    }

    pub async fn status(&mut self, task: &str, state: &str, text: &str) -> Value {
        let status = status(state, text);
        let params = json!({"task_id": task, "status": status, "final": false});
        self.call("task.status", params).await["result"]["accepted"].clone()
    }

    pub async fn complete(&mut self, task: &str, state: &str, text: &str) -> Value {
        let status = status(state, text);
        let params = json!({"task_id": task, "status": status, "final": true});
        self.call("task.complete", params).await["result"]["accepted"].clone()
    }

    async fn read(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    assert_eq!(frame["jsonrpc"], "2.0", "{text}");
                    return frame;
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    async fn message(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(SOON, self.socket.next());
        next.await.expect("in time")?.ok()
    }

    /// Waits until the Hub closes: the code. 0 if it went without a word.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.message().await {
                Some(Message::Close(Some(frame))) => return frame.code.into(),
                Some(_) => {}
                None => return 0,
            }
        }
    }

    pub async fn heartbeat(&mut self) {
        self.send(json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {}}))
            .await;
        let ack = self.notification("heartbeat_ack").await;
        assert_eq!(ack, json!({"jsonrpc": "2.0", "method": "heartbeat_ack"}));
    }

    /// A heartbeat; the code if the Hub closes instead of answering.
    pub async fn beat(&mut self) -> Option<u16> {
        let beat = Message::text(r#"{"method":"heartbeat"}"#);
        if self.socket.send(beat).await.is_err() {
            return Some(self.closed().await);
        }
        loop {
            match self.message().await {
                Some(Message::Text(text)) if text.contains("heartbeat_ack") => return None,
                Some(Message::Close(frame)) => return Some(frame.map_or(0, |f| f.code.into())),
                Some(_) => {}
                None => return Some(0),
            }
        }
    }

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.socket
            .send(Message::Binary(Bytes::from(bytes)))
            .await
            .expect("sent");
    }

    /// The bare TCP stream.
    pub fn tcp(&mut self) -> &mut TcpStream {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(tcp) => tcp,
            _ => unreachable!("no TLS here"),
        }
    }
}

fn status(state: &str, text: &str) -> Value {
    json!({"state": state, "message": {"role": "agent", "parts": [{"type": "text", "text": text}]}})
}
