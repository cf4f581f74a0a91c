//! Connections whose peer takes nothing: ended, since as long as an answer cannot be written nobody looks whether it may go
//! on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// After so many times its patience without having taken everything that was there for it, a peer that takes a little now
/// and then is given up too.
const DRIBBLE: u32 = 10;

/// A stream whose writes fail once the peer takes nothing for too long. Reading is left to whoever knows what is expected.
pub struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Nothing was taken since; armed while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// When there last was nothing left to write, if something waits now.
    behind: Option<Instant>,
}

impl<S> Impatient<S> {
    /// With so much patience.
    pub fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            behind: None,
        }
    }

    /// What to say of a write or flush that went so.
    fn timed<T>(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        if went.is_ready() {
            self.stalled = None;
        } else {
            self.behind.get_or_insert(now);
            let patience = self.patience;
            let sleep = self
                .stalled
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(sleep.as_mut().poll(cx));
            return Poll::Ready(Err(given_up()));
        }
        let too_long = self.patience * DRIBBLE;
        match self.behind {
            Some(since) if now.duration_since(since) >= too_long => Poll::Ready(Err(given_up())),
            _ => went,
        }
    }
}

fn given_up() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the peer does not take what is sent",
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, went)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timed(cx, went)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked only when everything before was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.behind = None;
        let went = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, went)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.timed(cx, went)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);
    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = duplex(16);
        let mut stream = Impatient::new(ours, PATIENCE);
        let written = tokio::time::timeout(BOUND, stream.write_all(&[0; 1_000]));
        let error = written
            .await
            .expect("it ends")
            .expect_err("nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_a_byte_now_and_then_is_given_up_too() {
        let (ours, mut theirs) = duplex(1);
        let mut stream = Impatient::new(ours, PATIENCE);
        tokio::spawn(async move {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(PATIENCE / 10).await;
            }
        });
        let written = tokio::time::timeout(BOUND, stream.write_all(&[0; 100_000]));
        let error = written.await.expect("it ends").expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_everything_is_borne_with_however_long_it_lasts() {
        let (ours, mut theirs) = duplex(16);
        let mut stream = Impatient::new(ours, Duration::from_secs(60));
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.map(|_| all.len())
        });
        for _ in 0..100 {
            stream.write_all(&[0; 100]).await.expect("written");
            stream.flush().await.expect("flushed");
        }
        drop(stream);
        assert_eq!(read.await.expect("read").expect("read"), 10_000);
    }
}
