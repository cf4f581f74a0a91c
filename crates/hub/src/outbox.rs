//! What waits to be written to one connection: bounded in bytes, in order. Whoever puts something in waits while it is
//! full; a peer that takes longer than the write timeout for one frame is given up.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message};
use futures::{Sink, SinkExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// One unit of the bound, in bytes; a frame counts at least one, which bounds their number too.
const UNIT: usize = 1024;

/// The connection is gone; nothing can be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

struct Queued {
    message: Message,
    /// Given back when the frame has been written.
    _room: Option<OwnedSemaphorePermit>,
}

/// Where frames are put.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    units: u32,
    gone: CancellationToken,
}

/// What writes them.
pub struct Writer {
    queue: mpsc::UnboundedReceiver<Queued>,
    room: Arc<Semaphore>,
    gone: CancellationToken,
    timeout: Duration,
}

/// An outbox of at most `max` bytes.
pub fn outbox(max: usize, timeout: Duration) -> (Outbox, Writer) {
    let units = u32::try_from(max / UNIT).unwrap_or(u32::MAX).max(1);
    let (sender, receiver) = mpsc::unbounded_channel(); // bounded by the room
    let room = Arc::new(Semaphore::new(units as usize));
    let gone = CancellationToken::new();
    let outbox = Outbox {
        queue: sender,
        room: room.clone(),
        units,
        gone: gone.clone(),
    };
    let writer = Writer {
        queue: receiver,
        room,
        gone,
        timeout,
    };
    (outbox, writer)
}

impl Outbox {
    /// Puts a text frame in, as soon as there is room.
    pub async fn send(&self, text: String) -> Result<(), Gone> {
        let units = u32::try_from(text.len() / UNIT)
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .min(self.units);
        let room = self.room.clone().acquire_many_owned(units).await;
        let room = room.map_err(|_| Gone)?;
        let queued = Queued {
            message: Message::Text(text.into()),
            _room: Some(room),
        };
        self.queue.send(queued).map_err(|_| Gone)
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&self) {
        let message = Message::Ping(Vec::new().into());
        let _ = self.queue.send(Queued {
            message,
            _room: None,
        });
    }

    /// Puts the closing frame in; nothing is written after it.
    pub fn close(&self, code: u16, reason: &'static str) {
        let reason = reason.into();
        let message = Message::Close(Some(CloseFrame { code, reason }));
        let _ = self.queue.send(Queued {
            message,
            _room: None,
        });
    }

    /// Returns when nothing can be written any more.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

impl Writer {
    /// Writes until the closing frame is out, the peer is gone or too slow, or every [`Outbox`] is dropped.
    pub async fn run<S>(mut self, mut sink: S)
    where
        S: Sink<Message> + Unpin,
    {
        while let Some(queued) = self.queue.recv().await {
            let last = matches!(queued.message, Message::Close(_));
            let more = !last && !self.queue.is_empty();
            let write = async {
                sink.feed(queued.message).await?;
                // Frames that wait together leave together.
                if more { Ok(()) } else { sink.flush().await }
            };
            let written = tokio::time::timeout(self.timeout, write).await;
            if last || !matches!(written, Ok(Ok(()))) {
                break;
            }
        }
        self.room.close();
        self.gone.cancel();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
