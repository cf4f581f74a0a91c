//! An agent connected to the Hub, as far as these tests need one.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub struct Agent {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Agent {
    /// Connects and registers.
    pub async fn connect(address: &str, name: &str, token: &str) -> Self {
        let url = format!("ws://{address}/ws/agents");
        let (socket, _) = tokio_tungstenite::connect_async(url)
            .await
            .expect("a WebSocket");
        let mut agent = Self { socket };
        let params = json!({"agent_name": name, "auth_token": token});
        agent.send(json!({"jsonrpc": "2.0", "id": "msg-1", "method": "agent.register", "params": params}))
            .await;
        let reply = agent.until(|frame| frame["id"] == "msg-1").await;
        assert_eq!(reply["result"]["registered"], true, "{reply}");
        agent
    }

    async fn send(&mut self, frame: Value) {
        let text = Message::text(frame.to_string());
        self.socket.send(text).await.expect("sent");
    }

    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.socket.next().await.expect("open").expect("a frame");
            if let Message::Text(text) = message {
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                if fits(&frame) {
                    return frame;
                }
            }
        }
    }

    /// Answers the next task: a first piece, then the end.
    pub async fn answer(&mut self, piece: &str, whole: &str) -> Value {
        let task = self.until(|frame| frame["method"] == "task.execute").await;
        let id = task["params"]["id"].clone();
        for (method, state, text, last) in [
            ("task.status", "working", piece, false),
            ("task.complete", "completed", whole, true),
        ] {
            let message = json!({"role": "agent", "parts": [{"type": "text", "text": text}]});
            let params = json!({"task_id": id, "status": {"state": state, "message": message}, "final": last});
            self.send(json!({"jsonrpc": "2.0", "id": format!("m-{state}"), "method": method, "params": params}))
                .await;
        }
        task["params"].clone()
    }
}
