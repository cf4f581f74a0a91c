//! Peers that mean harm, or do not know better. The load measurement runs them beside the agents it measures, and a test
//! shows that nobody beside them is hurt.

use std::error::Error;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Attempt = Result<(), Box<dyn Error + Send + Sync>>;

/// A way of being hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// Frames of 2 MiB, twice what is allowed.
    HugeFrames,
    /// As many frames as the socket takes.
    Flood,
    /// As many answers as the socket takes, to tasks that nobody gave it: each is looked up in the database.
    FalseAnswers,
    /// What is no WebSocket frame at all.
    Garbage,
    /// Connections that say nothing, not even what they want.
    Mute,
    /// WebSockets that register nobody and stop in the middle of a frame.
    HalfFrames,
    /// Registered, then as if the network were gone: it neither reads nor writes.
    HalfOpen,
}

impl Hostile {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::HugeFrames,
        Self::Flood,
        Self::FalseAnswers,
        Self::Garbage,
        Self::Mute,
        Self::HalfFrames,
        Self::HalfOpen,
    ];

    /// Whether it registers first.
    pub fn registers(self) -> bool {
        matches!(self, Self::Flood | Self::FalseAnswers | Self::HalfOpen)
    }

    /// Goes on for ever: whenever the Hub has thrown it out, it comes again after the pause. Those that register do it
    /// under this name, with this token.
    pub async fn attack(self, address: &str, name: &str, token: &str, pause: Duration) {
        loop {
            // That it ends in an error is the point.
            let _ = self.once(address, name, token).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Until it is thrown out.
    async fn once(self, address: &str, name: &str, token: &str) -> Attempt {
        if self == Self::Mute {
            let mut silent = TcpStream::connect(address).await?;
            let mut begun = TcpStream::connect(address).await?;
            begun
                .write_all(b"GET /ws/agents HTTP/1.1\r\nHost: ")
                .await?;
            tokio::time::sleep(Duration::from_secs(5)).await;
            silent.shutdown().await?;
            return Ok(());
        }
        let url = format!("ws://{address}/ws/agents");
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        if self.registers() {
            let params = json!({"agent_name": name, "auth_token": token});
            let register = json!({"id": "r", "method": "agent.register", "params": params});
            socket.send(Message::text(register.to_string())).await?;
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|text| text.contains("\"r\"")) {
                    break;
                }
            }
        }
        match self {
            Self::HugeFrames => flood(socket, |_| "x".repeat(2 * 1024 * 1024)).await,
            Self::Flood => flood(socket, |_| r#"{"method":"agent.nonsense"}"#.to_owned()).await,
            Self::FalseAnswers => flood(socket, false_answer).await,
            Self::Garbage => raw(socket, &[0x83, 0xFF, 0x00, 0xC1], Duration::ZERO).await,
            // A masked text frame of 1 MiB, of which two bytes come.
            Self::HalfFrames | Self::Mute => {
                let begun = [0x81, 0xFF, 0, 0, 0, 0, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6];
                raw(socket, &begun, Duration::from_secs(5)).await
            }
            Self::HalfOpen => raw(socket, &[], Duration::from_secs(5)).await,
        }
    }
}

fn false_answer(n: u64) -> String {
    let status =
        json!({"state": "completed", "message": {"parts": [{"type": "text", "text": "?"}]}});
    let params = json!({"task_id": format!("nobodys-{n}"), "status": status});
    json!({"id": n, "method": "task.complete", "params": params}).to_string()
}

/// Writes without a pause, and reads so that the other side is not slowed down by us.
async fn flood(socket: Socket, frame: impl Fn(u64) -> String) -> Attempt {
    let (mut sink, mut stream) = socket.split();
    let writing = async {
        for n in 0.. {
            sink.send(Message::text(frame(n))).await?;
        }
        Ok(())
    };
    let reading = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        written = writing => written,
        () = reading => Ok(()),
    }
}

/// Writes bytes past the WebSocket, then neither reads nor writes for so long.
async fn raw(socket: Socket, bytes: &[u8], then: Duration) -> Attempt {
    if let MaybeTlsStream::Plain(mut tcp) = socket.into_inner() {
        tcp.write_all(bytes).await?;
        tokio::time::sleep(then).await;
    }
    Ok(())
}
