//! Peers that are slow, hostile or too many, and those beside them.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::json;
use talon_core::deliver::TaskUpdate;
use talon_core::task::TaskState;
use talon_hub::{HubConfig, RateLimit};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::{Message, http::StatusCode};

use crate::client::Client;
use crate::world::{World, config, end, next, task};

#[tokio::test]
async fn a_frame_that_is_too_large_closes_the_connection() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("research-pro").await;
    let mut stream = hub.deliver(task("t1", "research-pro")).await;
    agent.task().await;
    // As large as may be: taken, stored, passed on.
    let most = "x".repeat(1024 * 1024 - 300);
    assert_eq!(agent.complete("t1", "completed", &most).await, true);
    assert_eq!(end(&mut stream).await.1.len(), most.len());
    for size in [1024 * 1024 + 1, 5 * 1024 * 1024] {
        let client = hub.client().await;
        let (mut sink, mut stream) = client.socket.split();
        let flood = async {
            let _ = sink.send(Message::text("x".repeat(size))).await;
            std::future::pending::<()>().await;
        };
        let code = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                    Some(Ok(_)) => {}
                    other => panic!("no closing frame: {other:?}"),
                }
            }
        };
        let code = tokio::select! {
            code = code => code,
            () = flood => unreachable!(),
        };
        assert_eq!(code, 1009, "{size}");
    }
    agent.heartbeat().await;
}

#[tokio::test]
async fn a_flood_is_cut() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    world.agent("calm", "acme").await;
    let hub = world.hub(config()).await;
    let mut calm = hub.agent("calm").await;
    let mut agent = hub.agent("research-pro").await;
    for _ in 0..5_000 {
        if agent
            .socket
            .feed(Message::text(r#"{"method":"x"}"#))
            .await
            .is_err()
        {
            break;
        }
    }
    let _ = agent.socket.flush().await;
    let error = agent.frame(|f| f.get("error").is_some()).await;
    assert_eq!(error["error"]["code"], -32029);
    assert_eq!(agent.closed().await, 1008);
    calm.heartbeat().await;
    // Before registering, much less is too much.
    let mut stranger = hub.client().await;
    for _ in 0..40 {
        stranger.send(json!({"method": "heartbeat"})).await;
    }
    assert_eq!(stranger.closed().await, 1008);
}

#[tokio::test]
async fn bytes_are_limited_as_frames_are() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let rate = RateLimit {
        bytes: 1_000.0,
        bytes_burst: 100_000.0,
        ..config().rate
    };
    let hub = world.hub(HubConfig { rate, ..config() }).await;
    let mut agent = hub.agent("research-pro").await;
    for _ in 0..3 {
        agent
            .send(json!({"method": "x", "params": {"a": "y".repeat(50_000)}}))
            .await;
    }
    assert_eq!(agent.closed().await, 1008);
}

#[tokio::test]
async fn only_text_is_spoken() {
    let world = World::new();
    let hub = world.hub(config()).await;
    let mut binary = hub.client().await;
    binary.send_binary(vec![1, 2, 3]).await;
    assert_eq!(binary.closed().await, 1003);
    // A masked text frame of one byte that is no UTF-8; a frame with an opcode that does not exist.
    for bytes in [
        [0x81, 0x81, 0, 0, 0, 0, 0xFF],
        [0x83, 0x81, 0, 0, 0, 0, 0x41],
    ] {
        let mut garbled = hub.client().await;
        garbled.tcp().write_all(&bytes).await.unwrap();
        assert_eq!(garbled.closed().await, 1007);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped_and_its_tasks_stay() {
    let world = World::new();
    world.agent("slow", "acme").await;
    world.agent("quick", "acme").await;
    let write_timeout = Duration::from_secs(2);
    let (max_open_tasks, window) = (60, 60);
    let hub = world
        .hub(HubConfig {
            write_timeout,
            max_open_tasks,
            window,
            ..config()
        })
        .await;
    let mut quick = hub.agent("quick").await;
    let _unread = hub.agent("slow").await;
    let mut streams = Vec::new();
    for n in 0..60 {
        let mut large = task(&format!("t{n}"), "slow");
        large.text = "x".repeat(256 * 1024); // 15 MiB: more than sockets hold
        streams.push(hub.deliver(large).await);
    }
    let mut beside = hub.deliver(task("beside", "quick")).await;
    quick.task().await;
    quick.complete("beside", "completed", "fine").await;
    assert_eq!(end(&mut beside).await.1, "fine");
    hub.online("slow", false).await;
    let mut slow = hub.agent("slow").await;
    for _ in 0..60 {
        let id = slow.task().await;
        slow.complete(&id, "completed", &id).await;
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(end(stream).await.1, format!("t{n}"));
    }
}

#[tokio::test]
async fn a_slow_follower_misses_pieces_but_never_the_end() {
    let world = World::new();
    world.agent("talker", "acme").await;
    let hub = world.hub(config()).await;
    let mut agent = hub.agent("talker").await;
    let mut slow = hub.deliver(task("t1", "talker")).await;
    agent.task().await;
    let piece = "x".repeat(100_000);
    for _ in 0..20 {
        agent.status("t1", "working", &piece).await;
    }
    agent.complete("t1", "completed", "whole").await;
    let mut heard = 0;
    let last = loop {
        match next(&mut slow).await.unwrap() {
            TaskUpdate::Status { text, .. } => heard += text.len(),
            TaskUpdate::Done { state, text } => break (state, text),
        }
    };
    assert!(
        (piece.len()..=config().max_following).contains(&heard),
        "{heard}"
    );
    assert_eq!(last, (TaskState::Completed, "whole".to_owned()));
}

#[tokio::test]
async fn there_is_room_for_so_many_and_no_more() {
    let world = World::new();
    world.agent("research-pro", "acme").await;
    let (max_connections, max_unregistered) = (3, 2);
    let hub = world
        .hub(HubConfig {
            max_connections,
            max_unregistered,
            ..config()
        })
        .await;
    let refused = || async {
        match tokio_tungstenite::connect_async(&hub.url).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert!(response.headers().contains_key("retry-after"));
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    let mut one = hub.client().await;
    let _two = hub.client().await;
    refused().await;
    one.register("research-pro", "research-pro-token").await;
    let three = hub.client().await; // registering makes room for one more that has not
    assert_eq!(hub.hub.stats().connections, 3);
    refused().await;
    drop(three);
    crate::world::until("the place is free", || async {
        hub.hub.stats().connections == 2
    })
    .await;
    let _three = Client::connect(&hub.url).await;
}
