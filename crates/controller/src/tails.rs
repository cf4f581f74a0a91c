//! Workers' tails: one for each Worker that is followed, shared by those who follow it.
//!
//! Guarantees: so many tails at once; a tail is removed at Cloudflare when the last follower leaves; nothing of it is kept,
//! on disk, in a database or in the daemon's log; who reads too slowly is left behind, and holds up nobody.
//!
//! What a Worker prints was written by it and its visitors. Everything that has the shape of a key is taken out, and the
//! agent's control token. Its other secrets cannot be looked for: their values are not kept anywhere to compare with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::clock::Clock;
use talon_core::cloud::{CallClass, CallCx, CloudError};
use talon_core::logs::{LogFeed, LogLevel, LogLine, LogSource, MAX_TEXT, TailError};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::tail::{TailCause, TailCloud, TailEvent, TailMessage, TailSocket};
use talon_core::text::clip;
use talon_core::{AgentId, name};
use talon_secrets::Redactor;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::Instant;

use crate::failure;
use crate::shared::Shared;

/// Most Workers that are followed at once. Cloudflare allows ten tails of one Worker; of ours each has one at most.
pub const AT_ONCE: usize = 16;
/// Lines that a follower may lie behind, of a few KiB at most each.
const BEHIND: usize = 256;
/// Longest time that a call to Cloudflare may take.
const CALL: Duration = Duration::from_secs(20);
/// How often in a row it is tried to open a tail again, be it that opening fails or that what was opened ends at once.
const TRIES: u32 = 5;
/// The pause before the first of these; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// A tail that lived longer counts as steady: what ends it is no part of a row.
const STEADY: Duration = Duration::from_secs(30);
/// A tail is opened again so long before Cloudflare ends it.
const BEFORE_EXPIRY: chrono::TimeDelta = chrono::TimeDelta::seconds(30);
/// Most lines of one run of a Worker.
const MOST_LINES: usize = 100;
/// Most characters of a text that are looked through for keys: a key at the cut must not be left half.
const LOOKED_THROUGH: usize = 4 * MAX_TEXT;

/// The tail of one Worker, if it is open.
type Open = Option<broadcast::Sender<LogLine>>;
type Slot = tokio::sync::Mutex<Open>;

/// The slots of the Workers that are followed, and of no others.
#[derive(Default)]
struct Slots(Mutex<BTreeMap<AgentId, Arc<Slot>>>);

impl Slots {
    fn all(&self) -> MutexGuard<'_, BTreeMap<AgentId, Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of one agent, locked.
    async fn take(self: &Arc<Self>, agent: AgentId) -> Taken {
        loop {
            let slot = self.all().entry(agent).or_default().clone();
            let open = slot.clone().lock_owned().await;
            // Whoever held it before may have left it empty, and so taken it away.
            let is_there = self
                .all()
                .get(&agent)
                .is_some_and(|now| Arc::ptr_eq(now, &slot));
            if is_there {
                return Taken {
                    slots: self.clone(),
                    agent,
                    open,
                };
            }
        }
    }
}

/// A slot that nobody else looks at. One that is left empty is taken away, even if whoever held it was given up.
struct Taken {
    slots: Arc<Slots>,
    agent: AgentId,
    open: OwnedMutexGuard<Open>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Before the lock is: who waits for it finds that this is no slot any more.
        if self.open.is_none() {
            self.slots.all().remove(&self.agent);
        }
    }
}

/// See the module.
pub struct Tails {
    shared: Arc<Shared>,
    cloud: Arc<dyn TailCloud>,
    slots: Arc<Slots>,
    places: Arc<Semaphore>,
}

/// What is needed to keep one tail going.
struct Tail {
    cloud: Arc<dyn TailCloud>,
    clock: Arc<dyn Clock>,
    worker: String,
    redactor: Redactor,
    lines: broadcast::Sender<LogLine>,
    agent: AgentId,
    slots: Arc<Slots>,
    /// The pause before it is opened again for the first time.
    pause: Duration,
    _place: OwnedSemaphorePermit,
}

impl Tails {
    pub(crate) fn new(shared: Arc<Shared>, cloud: Arc<dyn TailCloud>) -> Self {
        Self {
            shared,
            cloud,
            slots: Arc::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What the agent's Worker prints from now on.
    pub async fn follow(&self, agent: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
        let worker = self.worker(agent).await?;
        // Held while it is opened: who comes meanwhile shares it.
        let mut slot = self.slots.take(agent).await;
        if let Some(lines) = &*slot.open {
            return Ok(self.follower(lines.subscribe()));
        }
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| TailError::TooMany(AT_ONCE))?;
        let socket = self.cloud.open_tail(terms(), &worker).await;
        let socket = socket.map_err(|error| refused(&error))?;
        let (lines, follower) = broadcast::channel(BEHIND);
        let mut redactor = Redactor::new();
        redactor.add(&self.shared.key.control_token(agent));
        let tail = Tail {
            cloud: self.cloud.clone(),
            clock: self.shared.clock.clone(),
            worker,
            redactor,
            lines: lines.clone(),
            agent,
            slots: self.slots.clone(),
            pause: PAUSE,
            _place: place,
        };
        *slot.open = Some(lines);
        tokio::spawn(tail.run(socket));
        Ok(self.follower(follower))
    }

    /// The agent's Worker, by the name that is derived: a row must not choose whose lines are shown.
    async fn worker(&self, agent: AgentId) -> Result<String, TailError> {
        let loaded = self.shared.store.load(agent).await;
        let loaded = loaded.map_err(|error| TailError::Failed {
            message: error.to_string(),
            retry_after: Some(Duration::from_secs(2)),
        })?;
        let snapshot = loaded
            .filter(|snapshot| !snapshot.agent.is_archived())
            .ok_or(TailError::NotFound)?;
        match snapshot.resource(ResourceKind::Worker) {
            Some(worker) if worker.state == ResourceState::Present => Ok(name::worker_name(
                &self.shared.base.install,
                agent,
                &snapshot.agent.name,
            )),
            Some(_) | None => Err(TailError::NotDeployed),
        }
    }

    fn follower(&self, lines: broadcast::Receiver<LogLine>) -> Box<dyn LogFeed> {
        Box::new(Follower {
            lines,
            clock: self.shared.clock.clone(),
            is_over: false,
        })
    }
}

/// A person waits, but what is deployed and deleted goes first.
fn terms() -> CallCx {
    CallCx {
        class: CallClass::Retry,
        remaining: Some(CALL),
    }
}

fn refused(error: &CloudError) -> TailError {
    let verdict = failure::of_cloud(error);
    if verdict.failure.not_found {
        return TailError::NotDeployed;
    }
    let passes = !verdict.pass.stalled;
    TailError::Failed {
        message: crate::tell::safe(&verdict.pass.message),
        retry_after: passes.then(|| verdict.retry_after.unwrap_or(Duration::from_secs(2))),
    }
}

impl Tail {
    async fn run(self, mut socket: Box<dyn TailSocket>) {
        let mut since = Instant::now();
        let mut tries = Tries(0);
        loop {
            let ended = tokio::select! {
                biased;
                () = self.lines.closed() => {
                    if self.leave(socket.id()).await {
                        return;
                    }
                    continue;
                }
                () = self.before(socket.expires_at()) => Ok(None),
                event = socket.next() => event,
            };
            match ended {
                Ok(Some(event)) => {
                    for line in lines(&event, &self.redactor, self.clock.now()) {
                        // Nobody may listen at this moment; that is looked at above.
                        let _ = self.lines.send(line);
                    }
                }
                Ok(None) | Err(_) => {
                    tries.after(since.elapsed());
                    match self.again(socket.id(), &mut tries).await {
                        Some(next) => socket = next,
                        None => return,
                    }
                    since = Instant::now();
                }
            }
        }
    }

    /// Ends the tail if nobody follows it any more. Somebody may just have come.
    async fn leave(&self, id: &str) -> bool {
        let mut slot = self.slots.take(self.agent).await;
        if self.lines.receiver_count() > 0 {
            return false;
        }
        *slot.open = None;
        // Under the lock: whoever comes now opens another one, and Cloudflare allows but few.
        self.close(id).await;
        true
    }

    async fn close(&self, id: &str) {
        if let Err(error) = self.cloud.close_tail(terms(), &self.worker, id).await {
            let error = crate::tell::safe(&error.to_string());
            tracing::debug!(error, "a tail could not be removed; it expires by itself");
        }
    }

    /// Opens another tail in the place of one that ended. `None`: it is given up, or nobody follows.
    async fn again(&self, ended: &str, tries: &mut Tries) -> Option<Box<dyn TailSocket>> {
        self.close(ended).await;
        let mut why = "Cloudflare ends it as soon as it is opened".to_owned();
        while let Some(factor) = tries.next() {
            tokio::select! {
                biased;
                () = self.lines.closed() => break,
                () = tokio::time::sleep(self.pause * factor) => {}
            }
            match self.cloud.open_tail(terms(), &self.worker).await {
                Ok(socket) => {
                    self.say(
                        LogLevel::Info,
                        "the tail was opened again; lines in between are lost",
                    );
                    return Some(socket);
                }
                Err(CloudError::NotFound(_)) => {
                    why = "the Worker is gone".to_owned();
                    break;
                }
                Err(error) => why = refused(&error).to_string(),
            }
        }
        self.say(LogLevel::Error, &format!("the tail ended: {why}"));
        *self.slots.take(self.agent).await.open = None;
        None
    }

    fn say(&self, level: LogLevel, text: &str) {
        let line = LogLine::new(self.clock.now(), LogSource::Worker, level, text);
        let _ = self.lines.send(line.with("talon", "tail"));
    }

    async fn before(&self, expiry: Option<DateTime<Utc>>) {
        match expiry {
            Some(expiry) => {
                let left = (expiry - BEFORE_EXPIRY - self.clock.now()).to_std();
                // One that is as good as over is used to its end: it must not be opened again and again.
                match left {
                    Ok(left) => tokio::time::sleep(left).await,
                    Err(_) => std::future::pending().await,
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// How often in a row it was tried to open a tail again.
struct Tries(u32);

impl Tries {
    /// One has ended that lived so long.
    fn after(&mut self, lived: Duration) {
        if lived > STEADY {
            self.0 = 0;
        }
    }

    /// How many pauses to wait before the next try; `None`: it is given up.
    fn next(&mut self) -> Option<u32> {
        let pauses = (self.0 < TRIES).then(|| 2_u32.pow(self.0));
        self.0 += 1;
        pauses
    }
}

/// What one run of a Worker reads as.
fn lines(event: &TailEvent, redactor: &Redactor, now: DateTime<Utc>) -> Vec<LogLine> {
    let at = event.at.unwrap_or(now);
    let clean = |text: &str| redactor.redact(&clip(text, LOOKED_THROUGH));
    let line = |at, level, text: &str| LogLine::new(at, LogSource::Worker, level, text);
    let is_ok = event.outcome == "ok";
    let mut told = Vec::new();
    let what = match &event.cause {
        TailCause::Request {
            method,
            path,
            status,
        } => {
            let status = status.map(|s| format!(" {s}")).unwrap_or_default();
            Some(format!("{method} {path}{status}"))
        }
        TailCause::Alarm => Some("alarm".to_owned()),
        TailCause::Scheduled => Some("scheduled".to_owned()),
        // What was printed outside of any request speaks for itself.
        TailCause::Other if is_ok => None,
        TailCause::Other => Some("run".to_owned()),
    };
    if let Some(mut what) = what {
        if let Some(took) = event.took_ms {
            what.push_str(&format!(" {took}ms"));
        }
        if !is_ok {
            what.push_str(&format!(" {}", event.outcome));
        }
        let level = if is_ok {
            LogLevel::Info
        } else {
            LogLevel::Error
        };
        told.push(line(at, level, &clean(&what)));
    }
    let printed = |message: &TailMessage| {
        let level = match message.level.as_str() {
            "debug" => LogLevel::Debug,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            _ => LogLevel::Info,
        };
        line(message.at.unwrap_or(at), level, &clean(&message.text))
            .with("console", clean(&message.level))
    };
    let threw = |message: &TailMessage| {
        line(
            message.at.unwrap_or(at),
            LogLevel::Error,
            &clean(&message.text),
        )
        .with("threw", clean(&message.level))
    };
    told.extend(event.logs.iter().take(MOST_LINES).map(printed));
    told.extend(event.exceptions.iter().take(MOST_LINES).map(threw));
    if event.truncated || event.logs.len().max(event.exceptions.len()) > MOST_LINES {
        told.push(line(at, LogLevel::Warn, "more was printed than is shown").with("talon", "tail"));
    }
    told
}

struct Follower {
    lines: broadcast::Receiver<LogLine>,
    clock: Arc<dyn Clock>,
    is_over: bool,
}

#[async_trait]
impl LogFeed for Follower {
    async fn next(&mut self) -> Option<LogLine> {
        if self.is_over {
            return None;
        }
        match self.lines.recv().await {
            Ok(line) => Some(line),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(missed)) => {
                self.is_over = true;
                let text =
                    format!("this reader is too slow: it missed {missed} lines and is left behind");
                let line =
                    LogLine::new(self.clock.now(), LogSource::Worker, LogLevel::Error, &text);
                Some(line.with("talon", "tail"))
            }
        }
    }
}

/// Where there is no way to Cloudflare's tails.
pub(crate) fn unavailable() -> TailError {
    TailError::Failed {
        message: "this daemon has no way to a Worker's tail".to_owned(),
        retry_after: None,
    }
}

#[cfg(test)]
#[path = "tails_tests.rs"]
mod tests;
