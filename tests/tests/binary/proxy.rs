//! Stands between Workers and their Hub, and keeps every frame.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

/// A proxy for WebSockets. Serves until its runtime ends.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: OnceLock<String>,
    frames: Mutex<Vec<String>>,
}

impl Proxy {
    /// Listens. Whoever connects before it leads anywhere is turned away, and comes back.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, serving.clone()));
            }
        });
        Self { address, shared }
    }

    /// Its address, for Workers.
    pub fn url(&self) -> String {
        format!("ws://{}/ws/agents", self.address)
    }

    /// Where the Hub is.
    pub fn lead_to(&self, address: &str) {
        let target = format!("ws://{address}/ws/agents");
        self.shared.target.set(target).expect("one Hub");
    }

    /// Every text frame so far, of both directions.
    pub fn frames(&self) -> Vec<String> {
        let frames = self.shared.frames.lock();
        frames.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn relay(stream: TcpStream, shared: Arc<Shared>) {
    let Some(target) = shared.target.get() else {
        return;
    };
    let (Ok(worker), Ok((hub, _))) = (accept_async(stream).await, connect_async(target).await)
    else {
        return;
    };
    let (mut to_worker, mut from_worker) = worker.split();
    let (mut to_hub, mut from_hub) = hub.split();
    let keep = |message: &Message| {
        if let Message::Text(text) = message {
            let mut frames = shared.frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.push(text.as_str().to_owned());
        }
    };
    let up = async {
        while let Some(Ok(message)) = from_worker.next().await {
            keep(&message);
            if to_hub.send(message).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = from_hub.next().await {
            keep(&message);
            if to_worker.send(message).await.is_err() {
                return;
            }
        }
    };
    // When one side has gone, the other hears of it by the end of its connection.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
