use futures::{FutureExt, StreamExt};

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A peer that takes nothing until asked.
fn pipe(slots: usize) -> (impl Sink<Message> + Unpin, mpsc::Receiver<Message>) {
    let (sender, receiver) = mpsc::channel(slots);
    let sink = futures::sink::unfold(sender, |sender, message| async move {
        sender.send(message).await.map_err(|_| Gone)?;
        Ok::<_, Gone>(sender)
    });
    (Box::pin(sink), receiver)
}

fn text(message: &Message) -> &str {
    match message {
        Message::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn frames_leave_in_order_and_nothing_after_the_closing_one() {
    let (outbox, writer) = outbox(64 * UNIT, SOON);
    let (sink, mut peer) = pipe(64);
    for n in 0..20 {
        outbox.send(n.to_string()).await.unwrap();
    }
    outbox.close(1012, "bye");
    outbox.send("late".to_owned()).await.unwrap();
    writer.run(sink).await;
    for n in 0..20 {
        assert_eq!(text(&peer.recv().await.unwrap()), n.to_string());
    }
    assert!(matches!(peer.recv().await, Some(Message::Close(Some(c))) if c.code == 1012));
    assert!(peer.recv().await.is_none());
    assert_eq!(outbox.send("later".to_owned()).await, Err(Gone));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_makes_the_sender_wait() {
    let (outbox, writer) = outbox(10 * UNIT, SOON);
    for _ in 0..10 {
        outbox.send("small".to_owned()).await.unwrap();
    }
    let mut eleventh = Box::pin(outbox.send("x".repeat(5 * UNIT)));
    assert!(eleventh.as_mut().now_or_never().is_none());
    let (sink, peer) = pipe(64);
    let writing = tokio::spawn(writer.run(sink));
    eleventh.await.unwrap();
    // Larger than the whole outbox: alone in it.
    outbox.send("x".repeat(100 * UNIT)).await.unwrap();
    outbox.close(1000, "");
    writing.await.unwrap();
    let peer = futures::stream::unfold(peer, |mut p| async { p.recv().await.map(|m| (m, p)) });
    assert_eq!(peer.count().await, 13);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up() {
    let (outbox, writer) = outbox(10 * UNIT, SOON);
    let (sink, _peer) = pipe(1);
    let writing = tokio::spawn(writer.run(sink));
    let start = tokio::time::Instant::now();
    let refused = loop {
        if let Err(gone) = outbox.send("x".repeat(4 * UNIT)).await {
            break gone;
        }
    };
    assert_eq!(refused, Gone);
    assert_eq!(start.elapsed(), SOON);
    writing.await.unwrap();
    outbox.gone().await;
}
