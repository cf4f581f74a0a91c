//! How much a Hub takes:
//! `cargo run --release -p talon-hub --example load [agents] [tasks per second] [seconds] [memory|sqlite] [hostile]`.
//!
//! The agents are a process of their own, so that the Hub's memory is the Hub's. Each answers at once, in one piece and an
//! end, as a quick Worker would. Prints what a task took from being handed in to its end, and what a connection costs.
//! With `hostile` (how many of each kind) the same load comes a second time, beside peers of a third process that flood,
//! send huge frames, half frames and garbage, and hang (`hostile.rs`); the last line compares the two.
//!
//! `load 2000 1000 10 memory 4` on two cores that nothing else used, 2026-11-29, agents and peers on the same two: median
//! 0.2 ms and 99 % within 0.5 ms alone, 0.3 and 8.0 ms beside 28 hostile peers; 0.25 and 0.49 cores; 13.6 KiB for an idle
//! connection. With `sqlite`, where each change of a task is written to disk: 4.8 and 12.9 ms alone, 19.5 and 161 ms beside them; 1.0
//! cores. All 10,000 tasks were answered each time, none took a second.

mod hostile;

use std::collections::HashMap;
use std::error::Error;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use talon_core::clock::{Clock, Random};
use talon_core::deliver::{Deliver, TaskUpdate};
use talon_core::mutation::Mutation;
use talon_core::snapshot::AuthTokenState;
use talon_core::task::{NewTask, TaskId, TaskState};
use talon_core::{AgentName, Owner, TryId};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, MemoryStore, WholeStore};
use talon_store_sqlite::SqliteStore;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::hostile::Hostile;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, address, count] = &arguments[..] {
        match role.as_str() {
            "agents" => return run_agents(address, count.parse()?).await,
            "hostile" => return run_hostile(address, count.parse()?).await,
            _ => {}
        }
    }
    let number = |at: usize, usual: u64| match arguments.get(at) {
        Some(text) => text.parse::<u64>(),
        None => Ok(usual),
    };
    let (agents, rate, seconds) = (number(0, 2_000)?, number(1, 1_000)?, number(2, 10)?);
    let on_sqlite = arguments.get(3).is_some_and(|word| word == "sqlite");
    let load = Load {
        agents,
        rate,
        seconds,
    };
    measure(load, on_sqlite, number(4, 0)?).await
}

/// So many agents, so many tasks a second, for so long.
#[derive(Clone, Copy)]
struct Load {
    agents: u64,
    rate: u64,
    seconds: u64,
}

/// The name of a hostile peer that registers.
fn hostile_name(kind: Hostile, n: u64) -> Result<AgentName, Failure> {
    let kind = Hostile::ALL.iter().position(|k| *k == kind).unwrap_or(0);
    Ok(AgentName::parse(&format!("hostile-{kind}-{n}"))?)
}

async fn measure(load: Load, on_sqlite: bool, hostile: u64) -> Result<(), Failure> {
    let agents = load.agents;
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn WholeStore> = if on_sqlite {
        let url = format!("sqlite://{}", folder.path().join("load.db").display());
        SqliteStore::migrate(&url).await?;
        Arc::new(SqliteStore::open(&url).await?)
    } else {
        Arc::new(MemoryStore::new(Arc::new(System)))
    };
    let mut names = Vec::new();
    for n in 0..agents {
        names.push(AgentName::parse(&format!("agent-{n}"))?);
    }
    for n in 0..hostile {
        for kind in Hostile::ALL.into_iter().filter(|kind| kind.registers()) {
            names.push(hostile_name(kind, n)?);
        }
    }
    make_agents(&*store, names).await?;
    let parts = HubParts {
        store,
        key: SigningKey::new([1; 32]),
        search: None,
        waker: None,
        clock: Arc::new(System),
        random: Arc::new(Dice),
    };
    let hub = Hub::start(parts, HubConfig::default()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let routes = hub.routes();
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let before = resident_kib()?;
    let start = Instant::now();
    let (_others, ready) = process("agents", &address, agents).await?;
    println!("agents: {ready}");
    let took = start.elapsed().as_secs_f64();
    let (registered, after) = (hub.stats().registered, resident_kib()?);
    let each = (after - before) as f64 / agents as f64;
    println!(
        "registered: {registered} in {took:.1} s; {each:.1} KiB of memory per connection ({before} → {after} KiB)"
    );

    let alone = round(&hub, load, "alone").await?;
    if hostile > 0 {
        let (_others, ready) = process("hostile", &address, hostile).await?;
        println!("hostile peers: {ready}");
        let beside = round(&hub, load, "beside").await?;
        println!(
            "beside hostile peers tasks took, against alone: median × {:.2}, 99 % × {:.2}",
            beside.0 / alone.0,
            beside.1 / alone.1
        );
    }
    hub.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// Another process of this program, and the line it says when it is ready. It ends with the handle.
async fn process(
    role: &str,
    address: &str,
    count: u64,
) -> Result<(tokio::process::Child, String), Failure> {
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args([role, address, &count.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let ready = BufReader::new(output).lines().next_line().await?;
    Ok((child, ready.ok_or("it ended at once")?))
}

/// The load once; median and 99th percentile of what a task took, in milliseconds.
async fn round(hub: &Hub, load: Load, name: &str) -> Result<(f64, f64), Failure> {
    let cpu = cpu_seconds()?;
    let latencies = hand_in(hub, load, name).await?;
    let told = report(latencies, load);
    let cpu = cpu_seconds()? - cpu;
    println!(
        "processor time of the Hub: {:.2} cores; memory at the end {} KiB",
        cpu / load.seconds as f64,
        resident_kib()?
    );
    Ok(told)
}

async fn make_agents(store: &dyn WholeStore, agents: Vec<AgentName>) -> Result<(), Failure> {
    let owner = Owner("load".to_owned());
    let mut names = HashMap::new();
    for name in agents {
        let applied = store
            .apply(&name, &owner, &spec(), ApplyOptions::default())
            .await?;
        names.insert(applied.id, name);
    }
    while !names.is_empty() {
        for claim in store
            .claim_due("load", Duration::from_secs(3_600), 500)
            .await?
        {
            let Some(name) = names.remove(&claim.agent_id) else {
                continue;
            };
            let try_id = TryId::new(1, claim.agent_id.0.as_u128());
            let sha256 = hex::encode(Sha256::digest(format!("token of {name}")));
            let state = AuthTokenState::Current;
            let candidate = Mutation::AuthTokenCandidate {
                try_id: try_id.clone(),
                sha256,
            };
            let current = Mutation::AuthTokenState { try_id, state };
            store.commit(&claim, &[candidate, current]).await?;
        }
    }
    Ok(())
}

/// Hands tasks in at the rate; how long each took, in microseconds. A task that did not complete is a failure.
async fn hand_in(hub: &Hub, load: Load, name: &str) -> Result<Vec<u64>, Failure> {
    let Load {
        agents,
        rate,
        seconds,
    } = load;
    let begin = Instant::now();
    let late = Arc::new(AtomicU64::new(0));
    let mut running = tokio::task::JoinSet::new();
    for n in 0..rate * seconds {
        tokio::time::sleep_until(begin + Duration::from_secs_f64(n as f64 / rate as f64)).await;
        let task = NewTask {
            id: TaskId::parse(&format!("{name}-{n}"))?,
            agent: format!("agent-{}", n % agents),
            session: TaskId::parse("s")?,
            text: "What is the weather like where you run? ".repeat(5),
            metadata: Value::Null,
            asked_by: None,
            deadline_in: Duration::from_secs(60),
        };
        let (hub, late) = (hub.clone(), late.clone());
        running.spawn(async move {
            let start = Instant::now();
            let mut stream = hub.deliver(task).await?;
            while let Some(update) = stream.next().await {
                if let TaskUpdate::Done { state, text } = update {
                    let took = start.elapsed();
                    if took > Duration::from_secs(1) {
                        late.fetch_add(1, Ordering::Relaxed);
                    }
                    let answered = state == TaskState::Completed;
                    return if answered {
                        Ok(took.as_micros() as u64)
                    } else {
                        Err(text.into())
                    };
                }
            }
            Err::<u64, Failure>("the stream ended early".into())
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.push(done??);
    }
    let took = begin.elapsed().as_secs_f64();
    let all = latencies.len() as f64;
    println!(
        "answered: {all} tasks in {took:.2} s = {:.0}/s; {} took more than 1 s",
        all / took,
        late.load(Ordering::Relaxed)
    );
    Ok(latencies)
}

/// Tells what tasks took; median and 99th percentile, in milliseconds.
fn report(mut latencies: Vec<u64>, load: Load) -> (f64, f64) {
    latencies.sort_unstable();
    let last = latencies.len().saturating_sub(1);
    let at = |share: f64| {
        let at = (latencies.len() as f64 * share) as usize;
        latencies.get(at.min(last)).copied().unwrap_or(0) as f64 / 1_000.0
    };
    let (median, most) = (at(0.5), at(0.99));
    println!(
        "from handing in to the end, {}/s for {} s: median {median:.1} ms, 99 % {most:.1} ms, longest {:.1} ms",
        load.rate,
        load.seconds,
        at(1.0)
    );
    (median, most)
}

/// The third process: so many hostile peers of each kind, for ever.
async fn run_hostile(address: &str, each: u64) -> Result<(), Failure> {
    let mut all = tokio::task::JoinSet::new();
    for n in 0..each {
        for kind in Hostile::ALL {
            let (address, name) = (address.to_owned(), hostile_name(kind, n)?);
            all.spawn(async move {
                let token = format!("token of {name}");
                let pause = Duration::from_millis(100);
                kind.attack(&address, name.as_str(), &token, pause).await;
            });
        }
    }
    println!("{} of {} kinds", all.len(), Hostile::ALL.len());
    while all.join_next().await.is_some() {}
    Ok(())
}

/// The other process: agents that answer at once.
async fn run_agents(address: &str, agents: u64) -> Result<(), Failure> {
    let url = format!("ws://{address}/ws/agents");
    let (ready, mut is_ready) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(100));
    let mut all = tokio::task::JoinSet::new();
    for n in 0..agents {
        let (url, ready, gate) = (url.clone(), ready.clone(), gate.clone());
        all.spawn(async move {
            let place = gate.acquire_owned().await?;
            let (socket, _) = tokio_tungstenite::connect_async(&url).await?;
            let name = format!("agent-{n}");
            let token = format!("token of {name}");
            let (mut sink, mut stream) = socket.split();
            let params = json!({"agent_name": name, "auth_token": token});
            let register = json!({"id": "r", "method": "agent.register", "params": params});
            sink.send(Message::text(register.to_string())).await?;
            let mut place = Some(place);
            let mut heart = tokio::time::interval(Duration::from_secs(30));
            loop {
                let message = tokio::select! {
                    message = stream.next() => message.ok_or("closed")??,
                    _ = heart.tick() => {
                        sink.send(Message::text(r#"{"method":"heartbeat"}"#)).await?;
                        continue;
                    }
                };
                let Message::Text(text) = message else {
                    continue;
                };
                let frame: Value = serde_json::from_str(&text)?;
                if frame["id"] == "r" {
                    if frame["result"]["registered"] != true {
                        return Err::<(), Failure>(text.as_str().into());
                    }
                    place.take();
                    ready.send(())?;
                } else if frame["method"] == "task.execute" {
                    let id = &frame["params"]["id"];
                    for (n, method, state) in [
                        (1, "task.status", "working"),
                        (2, "task.complete", "completed"),
                    ] {
                        let parts =
                            json!([{"type": "text", "text": "Sunny, as always. ".repeat(10)}]);
                        let status =
                            json!({"state": state, "message": {"role": "agent", "parts": parts}});
                        let params = json!({"task_id": id, "status": status});
                        let report =
                            json!({"jsonrpc": "2.0", "id": n, "method": method, "params": params});
                        sink.feed(Message::text(report.to_string())).await?;
                    }
                    sink.flush().await?;
                }
            }
        });
    }
    for _ in 0..agents {
        tokio::select! {
            _ = is_ready.recv() => {}
            Some(ended) = all.join_next() => ended??,
        }
    }
    println!("{agents} registered");
    while let Some(ended) = all.join_next().await {
        let _ = ended; // the Hub has closed
    }
    Ok(())
}

fn resident_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// User and system time of this process; Linux counts in hundredths.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<f64>().ok())
            .ok_or("odd stat")
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

struct System;

impl Clock for System {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Dice;

impl Random for Dice {
    fn fill(&self, buffer: &mut [u8]) {
        rand::Rng::fill(&mut rand::rng(), buffer);
    }
}
