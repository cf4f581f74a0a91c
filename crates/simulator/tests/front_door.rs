//! workers.dev on a local port, and the life of the processes behind it.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HOST;
use serde_json::json;
use support::Cloud;
use support::stage::{Stage, kill, metadata, runs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WORKER: &str = r#"
export default {
  async fetch(request) {
    const url = new URL(request.url);
    switch (url.pathname) {
      case "/url": return new Response(request.url);
      case "/slow": await scheduler.wait(Number(url.searchParams.get("ms"))); return new Response("done");
      case "/stream": {
        const { readable, writable } = new TransformStream();
        const writer = writable.getWriter();
        const encoder = new TextEncoder();
        (async () => {
          await writer.write(encoder.encode("first"));
          await scheduler.wait(500);
          await writer.write(encoder.encode("second"));
          await writer.close();
        })();
        return new Response(readable);
      }
      case "/echo": {
        const [mine, theirs] = Object.values(new WebSocketPair());
        theirs.accept();
        theirs.addEventListener("message", (e) => theirs.send("echo " + e.data));
        return new Response(null, { status: 101, webSocket: mine });
      }
      default: return new Response("not here", { status: 404 });
    }
  }
};
"#;

async fn deploy(stage: &Stage, worker: &str) {
    stage
        .deploy(worker, WORKER, metadata(json!([]), false))
        .await
        .result();
    stage.enable(worker, true).await;
}

#[tokio::test]
async fn names_for_browsers_and_names_of_nobody() {
    let stage = Stage::set().await;
    deploy(&stage, "agent").await;
    let door = stage.cloud.sim.front_door().unwrap();
    let ask = async |host: &str| {
        let request = stage.cloud.http.get(format!("http://{door}/url"));
        let answer = request.header(HOST, host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let url = stage.cloud.sim.browsable_url("agent").unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    assert_eq!(
        host,
        format!("agent.dev.workers.localhost:{}", url.port().unwrap())
    );
    assert_eq!(ask(&host).await, (200, format!("http://{host}/url")));
    assert_eq!(
        ask("agent.dev.workers.dev:99").await.1,
        "https://agent.dev.workers.dev/url"
    );
    for nobody in ["agent.other.workers.dev", "nobody.dev.workers.dev"] {
        assert_eq!(ask(nobody).await, (404, "error code: 1042".to_owned()));
    }
    assert_eq!(ask("127.0.0.1").await.0, 404);
    let streamed = stage.get("agent", "/stream").await;
    assert_eq!(streamed, (200, "firstsecond".to_owned()));
    stage.cloud.sim.shutdown().await;
}

/// A frame of at most 125 bytes; clients mask (RFC 6455, 5.3).
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

async fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).await?;
    Ok((head[0] & 0x0f, payload))
}

async fn open_socket(stage: &Stage) -> TcpStream {
    let door = stage.cloud.sim.front_door().unwrap();
    let mut stream = TcpStream::connect(door).await.unwrap();
    let request = "GET /echo HTTP/1.1\r\nHost: agent.dev.workers.dev\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(
        head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    stream
}

#[tokio::test]
async fn web_sockets_pass_in_both_directions() {
    let stage = Stage::set().await;
    deploy(&stage, "agent").await;
    let mut socket = open_socket(&stage).await;
    for word in ["one", "two"] {
        socket.write_all(&frame(1, word.as_bytes())).await.unwrap();
        let (opcode, payload) = read_frame(&mut socket).await.unwrap();
        assert_eq!(
            (opcode, String::from_utf8(payload).unwrap()),
            (1, format!("echo {word}"))
        );
    }
    // The client's goodbye reaches the Worker, whose answer comes back.
    socket
        .write_all(&frame(8, &1000_u16.to_be_bytes()))
        .await
        .unwrap();
    let (opcode, payload) = read_frame(&mut socket).await.unwrap();
    assert_eq!((opcode, &payload[..2]), (8, &1000_u16.to_be_bytes()[..]));

    // The Worker's end reaches the client.
    let mut socket = open_socket(&stage).await;
    kill(stage.runner.pid("agent").unwrap());
    assert!(read_frame(&mut socket).await.is_err());
    // Whoever asks next is answered by a new process.
    stage
        .until("it answers again", async |s| {
            s.get("agent", "/url").await.0 == 200
        })
        .await;
    stage.cloud.sim.shutdown().await;
}

#[tokio::test]
async fn a_request_in_flight_outlives_a_new_version_of_a_worker_without_objects() {
    let stage = Stage::set().await;
    deploy(&stage, "agent").await;
    stage.get("agent", "/url").await;
    let first = stage.runner.pid("agent").unwrap();
    let slow = tokio::spawn(stage.request(Method::GET, "agent", "/slow?ms=1500").send());
    // It has been taken in once the Worker answers another that came later.
    stage.get("agent", "/slow?ms=200").await;
    let changed = format!("{WORKER}//");
    stage
        .deploy("agent", &changed, metadata(json!([]), false))
        .await
        .result();
    stage
        .until("the new version runs", async |s| {
            s.runner.pid("agent").is_some_and(|p| p != first)
        })
        .await;
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, "done".to_owned())
    );
    stage
        .until("the old one ends", async |_| !runs(first))
        .await;
    stage.cloud.sim.shutdown().await;
}

#[tokio::test]
async fn only_so_many_run_and_idle_ones_rest() {
    let stage = Stage::with(|o| {
        o.max_running = 2;
        o.idle = Duration::from_secs(3);
    })
    .await;
    let names = ["one", "two", "three"];
    for name in names {
        deploy(&stage, name).await;
        assert_eq!(stage.get(name, "/url").await.0, 200);
    }
    stage
        .until("the first gave way", async |s| {
            s.runner.pid("one").is_none()
        })
        .await;
    assert_eq!(
        stage.get("one", "/url").await.0,
        200,
        "and comes back when it is wanted"
    );
    stage
        .until("all rest", async |s| {
            names.iter().all(|n| s.runner.pid(n).is_none())
        })
        .await;
    stage.cloud.sim.shutdown().await;
}

#[tokio::test]
async fn without_a_runtime_all_but_running_works() {
    let runner = talon_simulator::WorkerdRunner::new(talon_simulator::WorkerdOptions {
        binary: Some("/nowhere/workerd".into()),
        ..Default::default()
    });
    let runner = std::sync::Arc::new(runner.unwrap());
    let cloud = Cloud::with(|config| {
        config.runner = runner.clone();
        config.front_door = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let stage = Stage { cloud, runner };
    stage
        .deploy("agent", "export default {", metadata(json!([]), false))
        .await
        .result();
    stage.enable("agent", true).await;
    let (status, text) = stage.get("agent", "/").await;
    assert_eq!(status, 503);
    assert!(
        text.contains("Workers are not run here") && text.contains("/nowhere/workerd"),
        "{text}"
    );
    stage.cloud.sim.shutdown().await;
}

/// Says in the environment that this process is to be the victim of the test below.
const VICTIM: &str = "TALON_TEST_VICTIM";

/// The victim: a simulator with a running Worker, which says its number and waits for its end.
#[tokio::test]
async fn victim_of_the_next_test() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let stage = Stage::set().await;
    deploy(&stage, "agent").await;
    assert_eq!(stage.get("agent", "/url").await.0, 200);
    println!("\npid {}", stage.runner.pid("agent").unwrap());
    std::future::pending::<()>().await;
}

#[test]
fn processes_die_with_the_simulator_even_if_it_is_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim_of_the_next_test", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pid: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pid ")?.parse().ok())
        .unwrap();
    assert!(runs(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let began = Instant::now();
    while runs(pid) {
        assert!(began.elapsed() < Duration::from_secs(10), "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
