//! One Worker over time: when there is a process for it, and which version that runs.
//!
//! A task of its own for each Worker takes commands one after the other, so that there are never two processes on one
//! directory of Durable Objects.

use std::collections::HashMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::config::{self, R2, Storage};
use super::output::Output;
use super::process::{Process, StartError};
use super::{Ground, lock};
use crate::r2_binding::BUCKET_HEADER;
use crate::runner::{Deployed, NotRunning, Reached};

/// The first pause before a Worker that crashed is started again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that lived so long was healthy: pauses begin anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// How long requests to an old version may go on, where that harms nobody.
const DRAIN: Duration = Duration::from_secs(30);

/// What the runner asks of a Worker's task.
pub(super) enum Command {
    /// Runs this version from now on.
    Deploy(Box<Deployed>),
    /// Somebody wants it.
    Reach(oneshot::Sender<Result<Reached, NotRunning>>),
    /// Others need the room.
    Rest,
    /// It is gone, with what it kept.
    Delete,
    /// The simulator stops.
    Stop(oneshot::Sender<()>),
}

/// The Workers that have a process, by the directory that is theirs alone.
pub(super) type Running = HashMap<PathBuf, Entry>;

/// One of them.
pub(super) struct Entry {
    wanted_at: Instant,
    in_use: Arc<()>,
    has_objects: bool,
    inbox: WeakUnboundedSender<Command>,
}

/// A process and what goes with it.
struct Alive {
    process: Process,
    in_use: Arc<()>,
    since: Instant,
}

/// See the module.
pub(super) struct Worker {
    name: String,
    version: Box<Deployed>,
    storage: PathBuf,
    ground: Arc<Ground>,
    output: Arc<Output>,
    pid: Arc<Mutex<Option<u32>>>,
    alive: Option<Alive>,
    /// How often in a row it ended too soon or did not start.
    failures: u32,
    /// Not started before this.
    pause_until: Option<Instant>,
    /// Started again when the pause is over, without being asked.
    comes_back: bool,
}

enum Next {
    Command(Option<Command>),
    Ended,
    ComesBack,
    Idle,
}

impl Worker {
    pub(super) fn new(
        name: &str,
        version: Box<Deployed>,
        ground: Arc<Ground>,
        output: Arc<Output>,
        pid: Arc<Mutex<Option<u32>>>,
    ) -> Self {
        output.hide(version.bindings.iter().filter_map(|b| b.secret.clone()));
        Self {
            name: name.to_owned(),
            version,
            storage: ground.storage(name),
            ground,
            output,
            pid,
            alive: None,
            failures: 0,
            pause_until: None,
            comes_back: false,
        }
    }

    /// Until the Worker is deleted or the runner dropped.
    pub(super) async fn run(
        mut self,
        mut commands: UnboundedReceiver<Command>,
        me: WeakUnboundedSender<Command>,
    ) {
        loop {
            let comes_back_at = self.pause_until.filter(|_| self.comes_back);
            let idle_at = self.idle_at();
            let next = tokio::select! {
                biased;
                () = ended(&mut self.alive) => Next::Ended,
                command = commands.recv() => Next::Command(command),
                () = at(comes_back_at) => Next::ComesBack,
                () = at(idle_at) => Next::Idle,
            };
            match next {
                Next::Ended => self.crashed(),
                Next::Command(Some(Command::Deploy(version))) => self.deploy(version, &me).await,
                Next::Command(Some(Command::Reach(answer))) => {
                    let reached = self.reach(&me).await;
                    let _ = answer.send(reached);
                }
                Next::Command(Some(Command::Rest)) | Next::Idle => {
                    if !self.is_in_use() {
                        self.end().await;
                    }
                }
                Next::ComesBack => {
                    self.comes_back = false;
                    self.pause_until = None;
                    if self.start(&me).await.is_err() {
                        self.comes_back = self.has_objects();
                    }
                }
                Next::Command(Some(Command::Delete)) => {
                    self.end().await;
                    if let Err(error) = remove(&self.storage) {
                        tracing::warn!(worker = self.name, %error, "the storage of a deleted Worker stays");
                    }
                    return;
                }
                Next::Command(Some(Command::Stop(done))) => {
                    self.end().await;
                    let _ = done.send(());
                    return;
                }
                Next::Command(None) => {
                    self.end().await;
                    return;
                }
            }
        }
    }

    fn has_objects(&self) -> bool {
        !self.version.classes.is_empty()
    }

    fn is_in_use(&self) -> bool {
        // One is ours, one the register's.
        self.alive
            .as_ref()
            .is_some_and(|a| Arc::strong_count(&a.in_use) > 2)
    }

    /// When it has been idle for long enough. One with Durable Objects may have alarms and outgoing connections, which
    /// nobody sees from here: it stays.
    fn idle_at(&self) -> Option<Instant> {
        self.alive.as_ref().filter(|_| !self.has_objects())?;
        let idle = self.ground.options.idle;
        if self.is_in_use() {
            return Some(Instant::now() + idle);
        }
        let running = lock(&self.ground.running);
        running.get(&self.storage).map(|e| e.wanted_at + idle)
    }

    async fn deploy(&mut self, version: Box<Deployed>, me: &WeakUnboundedSender<Command>) {
        self.output
            .hide(version.bindings.iter().filter_map(|b| b.secret.clone()));
        let had_objects = self.has_objects();
        self.version = version;
        // What was wrong with the old version says nothing about this one.
        self.failures = 0;
        self.pause_until = None;
        let was_alive = self.alive.is_some() || std::mem::take(&mut self.comes_back);
        if had_objects || self.has_objects() {
            self.end().await;
        } else if let Some(alive) = self.forget() {
            tokio::spawn(alive.process.drain(DRAIN));
        }
        if was_alive && self.start(me).await.is_err() {
            self.comes_back = self.has_objects();
        }
    }

    async fn reach(&mut self, me: &WeakUnboundedSender<Command>) -> Result<Reached, NotRunning> {
        if self.alive.is_none() {
            if self.pause_until.is_some_and(|until| Instant::now() < until) {
                return Err(NotRunning::Broken(self.last_words()));
            }
            self.start(me).await?;
        }
        let alive = self.alive.as_ref().ok_or(NotRunning::Gone)?;
        if let Some(entry) = lock(&self.ground.running).get_mut(&self.storage) {
            entry.wanted_at = Instant::now();
        }
        Ok(Reached {
            address: alive.process.address(),
            in_use: Arc::clone(&alive.in_use),
        })
    }

    async fn start(&mut self, me: &WeakUnboundedSender<Command>) -> Result<(), NotRunning> {
        let binary = self.ground.binary().await.map_err(NotRunning::NoRuntime)?;
        let Some(host) = self.ground.host.get() else {
            return Err(NotRunning::Gone);
        };
        make_room(&self.ground);
        let began = Instant::now();
        let started = match std::fs::create_dir_all(&self.storage) {
            Err(e) => Err(StartError::Spawn(e)),
            Ok(()) => {
                let config = config::write(
                    &self.name,
                    &self.version,
                    Storage::Disk(&self.storage),
                    Some(&R2 {
                        address: host.r2.address(),
                        header: BUCKET_HEADER,
                        value: &|binding| host.r2.ticket(binding),
                    }),
                );
                let patience = self.ground.options.start_timeout;
                Process::start(&binary, config, &self.output, patience).await
            }
        };
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                self.failed();
                let why = match error {
                    StartError::Spawn(e) => e.to_string(),
                    StartError::Ended => self.last_words(),
                    StartError::Slow(limit) => format!("it took longer than {limit:?}"),
                };
                tracing::warn!(worker = self.name, why, "a Worker does not start");
                return Err(NotRunning::Broken(why));
            }
        };
        tracing::debug!(
            worker = self.name,
            version = self.version.version_id,
            took = ?began.elapsed(),
            "a Worker runs"
        );
        *lock(&self.pid) = process.pid();
        let in_use = Arc::new(());
        lock(&self.ground.running).insert(
            self.storage.clone(),
            Entry {
                wanted_at: Instant::now(),
                in_use: Arc::clone(&in_use),
                has_objects: self.has_objects(),
                inbox: me.clone(),
            },
        );
        self.pause_until = None;
        self.comes_back = false;
        self.alive = Some(Alive {
            process,
            in_use,
            since: Instant::now(),
        });
        Ok(())
    }

    /// It ended by itself.
    fn crashed(&mut self) {
        let Some(alive) = self.forget() else {
            return;
        };
        if alive.since.elapsed() > HEALTHY {
            self.failures = 0;
        }
        self.failed();
        // Without a request nobody would notice that its alarms are gone.
        self.comes_back = self.has_objects();
        tracing::warn!(worker = self.name, "a Worker's process ended");
    }

    fn failed(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.pause_until = Some(Instant::now() + pause.min(LONGEST_PAUSE));
    }

    fn last_words(&self) -> String {
        let lines = self.output.lines();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }

    /// Takes the process out of every register, still running.
    fn forget(&mut self) -> Option<Alive> {
        *lock(&self.pid) = None;
        lock(&self.ground.running).remove(&self.storage);
        self.alive.take()
    }

    async fn end(&mut self) {
        self.comes_back = false;
        if let Some(mut alive) = self.forget() {
            alive.process.kill().await;
        }
    }
}

/// Puts one Worker to rest if as many run as may: the longest unasked, one without Durable Objects before one with.
fn make_room(ground: &Ground) {
    let running = lock(&ground.running);
    if running.len() < ground.options.max_running {
        return;
    }
    let resting = running
        .values()
        .filter(|e| Arc::strong_count(&e.in_use) <= 2)
        .min_by_key(|e| (e.has_objects, e.wanted_at));
    if let Some(inbox) = resting.and_then(|e| e.inbox.upgrade()) {
        let _ = inbox.send(Command::Rest);
    }
}

fn remove(folder: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn ended(alive: &mut Option<Alive>) {
    match alive {
        Some(alive) => {
            alive.process.ended().await;
        }
        None => pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
