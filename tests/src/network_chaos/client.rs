//! A client of the network: an agent that somebody runs themselves, which gives tasks to others over the Hub. It speaks the
//! protocol and knows nothing of Talon.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talon_core::task::TaskState;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::errand::{End, Errand};

const HEARTBEAT: Duration = Duration::from_secs(30);
/// Longer than the Hub waits for any answer.
const SILENCE: Duration = Duration::from_secs(240);

/// Codes of refusals that pass: the agent has too much to do; the Hub cannot now.
const PASSING: [i64; 2] = [-32003, -32603];

/// What came of asking.
#[derive(Debug)]
pub enum Heard {
    /// The end.
    End(End),
    /// Not now.
    Later(String),
    /// Never.
    Refused(String),
}

/// A connection that is registered.
pub struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: u64,
}

impl Line {
    /// Trades the key, connects, registers. Fails while the Hub is away, or has not noticed yet that the line before is
    /// gone.
    pub async fn open(
        http: &reqwest::Client,
        hub: SocketAddr,
        name: &str,
        api_key: &str,
    ) -> Result<Self> {
        let traded: Value = http
            .post(format!("http://{hub}/auth/agent-token"))
            .json(&json!({"api_key": api_key}))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let token = traded["token"].as_str().context("no token")?;
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{hub}/ws/agents")).await?;
        let mut line = Self { socket, last: 0 };
        let id = line
            .call(
                "agent.register",
                json!({"agent_name": name, "auth_token": token}),
            )
            .await?;
        let answer = line.until(|frame| frame["id"] == id).await?;
        ensure!(answer["result"]["registered"] == true, "{answer}");
        Ok(line)
    }

    /// Gives a task and waits for its end. An error means that the line is gone.
    pub async fn ask(&mut self, errand: &Errand) -> Result<Heard> {
        let params = json!({
            "agent_id": errand.agent,
            "message": errand.text(),
            "session_id": errand.session,
            "task_id": errand.id,
        });
        let id = self.call("agent.send_task", params).await?;
        let result = |frame: &Value| {
            frame["method"] == "delegation.result" && frame["params"]["original_id"] == id
        };
        let answer = self
            .until(|frame| result(frame) || (frame["id"] == id && frame.get("error").is_some()))
            .await?;
        if let Some(error) = answer.get("error") {
            let passes = error["code"].as_i64().is_some_and(|c| PASSING.contains(&c));
            let why = error.to_string();
            return Ok(if passes {
                Heard::Later(why)
            } else {
                Heard::Refused(why)
            });
        }
        let status = &answer["params"]["status"];
        let state: TaskState = serde_json::from_value(status["state"].clone())?;
        let text = status["message"]["parts"][0]["text"].as_str();
        let text = text.context("no text")?.to_owned();
        Ok(Heard::End(End { state, text }))
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<String> {
        self.last += 1;
        let id = format!("msg-{}", self.last);
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await?;
        Ok(id)
    }

    async fn send(&mut self, frame: Value) -> Result<()> {
        Ok(self.socket.send(Message::text(frame.to_string())).await?)
    }

    /// The next frame that fits. The heart goes on beating.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let silence = tokio::time::sleep(SILENCE);
        tokio::pin!(silence);
        let mut heart = tokio::time::interval(HEARTBEAT);
        loop {
            let message = tokio::select! {
                message = self.socket.next() => message.context("closed")??,
                _ = heart.tick() => {
                    self.send(json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {}})).await?;
                    continue;
                }
                () = &mut silence => bail!("the Hub never answers"),
            };
            if let Message::Text(text) = message {
                let frame: Value = serde_json::from_str(&text)?;
                if fits(&frame) {
                    return Ok(frame);
                }
            }
        }
    }
}
