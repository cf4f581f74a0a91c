//! Watchers of the real daemon: many of them follow its stream of changes while agents are written, and the daemon is
//! killed with SIGKILL as often as wanted. Each takes its stream up again where it broke.
//!
//! What must hold for each of them, over all its streams together: the numbers of events only rise (nothing comes twice),
//! and the last state of every agent arrives (nothing is missed). States in between may be told as one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::Value;
use talon_secrets::InstallKey;
use talon_simulator::SimConfig;
use talon_store::ApplyOptions;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::site::{Engine, Site};
use crate::stage::{name, spec};

const AGENTS: &str = "/api/v1/openclaw/agents";
/// How long a watcher waits before it asks a daemon again that did not answer.
const AGAIN: Duration = Duration::from_millis(50);
/// How long everybody has to see the last change.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many watch.
    pub watchers: usize,
    /// How often the daemon is killed, evenly spread over the writes.
    pub kills: usize,
    /// How many specs are written.
    pub writes: usize,
    /// Pause after each.
    pub pause: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    options: Options,
    events: u64,
    resumed: u64,
    /// From the commit of a spec to its event, of every watcher and every write; in order. Empty if there were kills.
    delays: Vec<Duration>,
}

impl Report {
    /// How often streams were taken up again, of all watchers.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// The delay that this share of all events (0 to 100) did not exceed.
    pub fn percentile(&self, share: usize) -> Option<Duration> {
        let at = (self.delays.len() * share).div_ceil(100).checked_sub(1)?;
        self.delays.get(at).copied()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            watchers,
            kills,
            writes,
            ..
        } = self.options;
        write!(
            f,
            "{watchers} watchers, {writes} writes, {kills} kills: {} events, {} streams taken up again, none missed, none twice",
            self.events, self.resumed
        )?;
        if let (Some(half), Some(most), Some(all)) = (
            self.percentile(50),
            self.percentile(99),
            self.percentile(100),
        ) {
            let ms = |d: Duration| d.as_millis();
            write!(
                f,
                "; commit to event: p50 {} ms, p99 {} ms, longest {} ms",
                ms(half),
                ms(most),
                ms(all)
            )?;
        }
        Ok(())
    }
}

/// What is written: the last generation of each agent, and when each one was committed.
#[derive(Debug, Default)]
struct Written {
    last: HashMap<String, i64>,
    at: HashMap<(String, i64), Instant>,
}

/// What all watchers share.
struct Shared {
    /// Where the daemon is, from time to time.
    address: watch::Receiver<String>,
    token: String,
    /// From where everybody watches.
    from: i64,
    written: Mutex<Written>,
    /// How many streams were let in.
    begun: watch::Sender<usize>,
    /// Everything is written.
    complete: watch::Receiver<bool>,
    timed: bool,
}

/// What one watcher saw.
#[derive(Debug, Default)]
struct Seen {
    id: i64,
    generations: HashMap<String, i64>,
    events: u64,
    streams: u64,
    delays: Vec<Duration>,
}

impl Seen {
    fn take(&mut self, block: &str, shared: &Shared) -> Result<()> {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let (Some(kind), Some(id)) = (field("event:"), field("id:")) else {
            return Ok(());
        };
        let id: i64 = id.parse().context("an event's number")?;
        if kind == "BOOKMARK" {
            ensure!(
                id >= self.id,
                "a bookmark goes back from {} to {id}",
                self.id
            );
            self.id = id;
            return Ok(());
        }
        ensure!(id > self.id, "event {id} comes after {}", self.id);
        self.id = id;
        self.events += 1;
        let data: Value = serde_json::from_str(field("data:").context("data")?)?;
        let agent = data["name"].as_str().context("a name")?.to_owned();
        let generation = data["generation"].as_i64().context("a generation")?;
        if shared.timed && self.generations.get(&agent) != Some(&generation) {
            let written = shared
                .written
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // An event may be here before the writer has noted when it had committed.
            let at = written.at.get(&(agent.clone(), generation));
            self.delays
                .push(at.map_or(Duration::ZERO, Instant::elapsed));
        }
        self.generations.insert(agent, generation);
        Ok(())
    }

    fn has_everything(&self, shared: &Shared) -> bool {
        let written = shared
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        written.last == self.generations
    }
}

/// Follows one stream until it breaks, or everything was seen.
async fn follow(client: &reqwest::Client, shared: &Shared, seen: &mut Seen) -> Result<bool> {
    let address = shared.address.borrow().clone();
    let url = format!("{address}{AGENTS}?watch=1&resource_version={}", shared.from);
    let mut request = client.get(url).bearer_auth(&shared.token);
    if seen.id > 0 {
        request = request.header("last-event-id", seen.id);
    }
    // A daemon that is not there, or not there yet, is asked again.
    let Ok(response) = request.send().await else {
        return Ok(false);
    };
    let status = response.status();
    // All of them have one token, which may ask so often and no more.
    if status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
        return Ok(false);
    }
    ensure!(status.is_success(), "a watch is answered {status}");
    seen.streams += 1;
    shared.begun.send_modify(|streams| *streams += 1);
    let mut body = response.bytes_stream();
    let mut complete = shared.complete.clone();
    let mut text = String::new();
    loop {
        if *complete.borrow_and_update() && seen.has_everything(shared) {
            return Ok(true);
        }
        let chunk = tokio::select! {
            chunk = body.next() => chunk,
            changed = complete.changed() => {
                changed?;
                continue;
            }
        };
        let Some(Ok(chunk)) = chunk else {
            return Ok(false);
        };
        text += std::str::from_utf8(&chunk)?;
        // What a killed daemon had not written whole is told again.
        while let Some((block, rest)) = text.split_once("\n\n") {
            seen.take(block, shared)?;
            text = rest.to_owned();
        }
    }
}

async fn watch_all(client: reqwest::Client, shared: Arc<Shared>) -> Result<Seen> {
    let mut seen = Seen::default();
    while !follow(&client, &shared, &mut seen).await? {
        tokio::time::sleep(AGAIN).await;
    }
    Ok(seen)
}

/// Plays it on SQLite, with a daemon that works on the agents meanwhile.
pub async fn play(options: Options) -> Result<Report> {
    // Somebody may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    // All of them are one caller.
    let places = options.watchers + 1;
    site.launch
        .set("TALON_HTTP_LONG_ANSWERS", places.to_string());
    let key = std::fs::read_to_string(site.folder().join("install.key"))?;
    let token = InstallKey::from_hex(key.trim())?.operator_token();
    let mut daemon = site.daemon("daemon-0")?;
    let (tell_address, address) = watch::channel(site.address("daemon-0").await?);
    let (tell_complete, complete) = watch::channel(false);
    let shared = Arc::new(Shared {
        address,
        token: token.expose().to_owned(),
        from: site.store.last_change().await?,
        written: Mutex::default(),
        begun: watch::Sender::new(0),
        complete,
        timed: options.kills == 0,
    });
    let client = reqwest::Client::builder().build()?;
    let mut watchers = JoinSet::new();
    for _ in 0..options.watchers {
        watchers.spawn(watch_all(client.clone(), shared.clone()));
    }
    // One caller may not ask as often as all of them would.
    let mut begun = shared.begun.subscribe();
    let all_watch = begun.wait_for(|streams| *streams >= options.watchers);
    let began = tokio::time::timeout(PATIENCE, all_watch).await;
    began.context("not everybody was let in")??;
    let every = options.writes.div_ceil(options.kills + 1);
    let mut kills = 0;
    for n in 0..options.writes {
        if n > 0 && n % every == 0 && kills < options.kills {
            kills += 1;
            daemon.kill()?;
            let log = format!("daemon-{kills}");
            daemon = site.daemon(&log)?;
            // Writes go on while it starts; watchers knock until it answers.
            write(&site, &shared, n).await?;
            tell_address.send_replace(site.address(&log).await?);
        } else {
            write(&site, &shared, n).await?;
        }
        tokio::time::sleep(options.pause).await;
    }
    ensure!(kills == options.kills, "too few writes for so many kills");
    tell_complete.send_replace(true);
    let ended = tokio::time::timeout(PATIENCE, async {
        let mut all = Vec::new();
        while let Some(seen) = watchers.join_next().await {
            all.push(seen??);
        }
        Ok::<_, anyhow::Error>(all)
    });
    let all = match ended.await {
        Ok(all) => all?,
        Err(_) => anyhow::bail!("somebody missed something\n{}", site.dump().await),
    };
    let mut delays: Vec<Duration> = all.iter().flat_map(|s| s.delays.iter().copied()).collect();
    delays.sort_unstable();
    Ok(Report {
        options,
        events: all.iter().map(|s| s.events).sum(),
        resumed: all.iter().map(|s| s.streams.saturating_sub(1)).sum(),
        delays,
    })
}

/// A new agent, or a change of one of those that are there.
async fn write(site: &Site<'_>, shared: &Shared, n: usize) -> Result<()> {
    let agent = format!("agent-{}", n % 20);
    let mut wanted = spec();
    wanted.description = Some(format!("write {n}"));
    let owner = talon_core::Owner::default();
    let options = ApplyOptions::default();
    let applied = site
        .store
        .apply(&name(&agent), &owner, &wanted, options)
        .await?;
    let mut written = shared
        .written
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let generation = applied.generation.0;
    written
        .at
        .insert((agent.clone(), generation), Instant::now());
    written.last.insert(agent, generation);
    Ok(())
}
