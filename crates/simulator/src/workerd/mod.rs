//! Runs uploaded Workers in `workerd`, Cloudflare's own runtime: one process for each Worker, started when it is first
//! wanted.
//!
//! - `install` finds the binary or fetches it; `config` turns a version into a configuration, which goes through a pipe;
//!   `capnp` is the format of that; `process` is one process; `worker` decides when there is one; `validate` tries
//!   uploads; `output` keeps what is printed.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use std::sync::Arc;
//! use talon_simulator::{SimConfig, Simulator, WorkerdOptions, WorkerdRunner};
//!
//! let runner = Arc::new(WorkerdRunner::new(WorkerdOptions::default())?);
//! let cloud = Simulator::start(SimConfig {
//!     runner: runner.clone(),
//!     front_door: Some(([127, 0, 0, 1], 0).into()),
//!     ..SimConfig::default()
//! })
//! .await?;
//! // … upload a Worker, enable its workers.dev route …
//! println!("browse {:?}", cloud.browsable_url("agent-a"));
//! # Ok(())
//! # }
//! ```

mod capnp;
mod config;
mod install;
mod output;
mod process;
mod validate;
mod worker;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::runner::{Complaint, Deployed, Host, NotRunning, Reached, Runner};
use output::Output;
use worker::{Command, Running, Worker};

pub(crate) use config::PROTO_HEADER;
pub use install::Announce;

/// How Workers are run. The default suits a local set-up.
#[derive(Clone)]
pub struct WorkerdOptions {
    /// The binary; `None`: the one in the cache, fetched from npm when it is first needed. The default is `TALON_WORKERD`.
    pub binary: Option<PathBuf>,
    /// Where a fetched binary is kept. The default is `TALON_CACHE_DIR`, else `talon` in the user's cache directory.
    pub cache_dir: Option<PathBuf>,
    /// Where Durable Objects keep what they have, one directory for each Worker; `None`: a temporary one. What an
    /// earlier simulator left there is removed, since its Workers are gone.
    pub state_dir: Option<PathBuf>,
    /// Most Workers that run at once (measured with the agents' own code: 30 MB each, 75 MB for the first). Beyond it, the
    /// one that was not asked for longest is put to rest, with its outgoing connections and alarms, until it is wanted
    /// again; one that is just answering is not.
    pub max_running: usize,
    /// A Worker without Durable Objects that nobody asks for rests after this.
    pub idle: Duration,
    /// How long a Worker may take to start.
    pub start_timeout: Duration,
    /// Told when something takes long, such as a download. The default writes to the log.
    pub announce: Arc<Announce>,
}

impl Default for WorkerdOptions {
    fn default() -> Self {
        Self {
            binary: std::env::var_os("TALON_WORKERD")
                .filter(|v| !v.is_empty())
                .map(PathBuf::from),
            cache_dir: install::default_cache(),
            state_dir: None,
            max_running: 100,
            idle: Duration::from_secs(600),
            start_timeout: Duration::from_secs(30),
            announce: Arc::new(|line: &str| tracing::info!("{line}")),
        }
    }
}

/// A [`Runner`] over workerd. Serves one simulator.
///
/// - A process starts when its Worker is first asked for. A new version ends the old process and, if there was one,
///   starts the new at once, so that alarms and outgoing connections go on; a request in flight is cut off if the Worker
///   has Durable Objects (which Cloudflare resets too) and may finish if it has none. A crashed one with Durable Objects
///   comes back by itself, with growing pauses.
/// - Durable Objects are kept in the state directory: over restarts and new versions, until the Worker is deleted.
/// - All processes end with this one, even if it is killed.
/// - Bindings: `plain_text`, `secret_text`, `json`, `version_metadata`, `r2_bucket`, and Durable Objects of the same
///   Worker. Others are not in `env`. Cron triggers do not fire.
/// - Where there is no workerd and none can be fetched, uploads are not validated and [`Runner::reach`] says why.
pub struct WorkerdRunner {
    ground: Arc<Ground>,
    workers: Mutex<HashMap<String, Handle>>,
}

/// What the runner holds of a Worker.
struct Handle {
    inbox: mpsc::UnboundedSender<Command>,
    output: Arc<Output>,
    pid: Arc<Mutex<Option<u32>>>,
}

/// What all Workers stand on.
struct Ground {
    options: WorkerdOptions,
    host: OnceLock<Host>,
    runtime: OnceLock<tokio::runtime::Handle>,
    /// Found or fetched once; a failure is final too.
    binary: OnceCell<Result<PathBuf, String>>,
    state: PathBuf,
    /// How many Workers there have been.
    made: AtomicU64,
    running: Mutex<Running>,
    /// Removed with the last Worker.
    _scratch: Option<TempDir>,
}

impl Ground {
    /// The binary, or why there is none.
    async fn binary(self: &Arc<Self>) -> Result<PathBuf, String> {
        let options = self.options.clone();
        let find = async move {
            let found = tokio::task::spawn_blocking(move || {
                install::binary(
                    options.binary.as_deref(),
                    options.cache_dir.as_deref(),
                    options.announce.as_ref(),
                )
            });
            let found = found.await.unwrap_or_else(|e| Err(e.to_string()));
            if let Err(why) = &found {
                tracing::warn!("Workers are not run: {why}");
            }
            found
        };
        self.binary.get_or_init(|| find).await.clone()
    }

    /// Where a Worker's Durable Objects live: a place of its own even if another of the same name is just being removed.
    fn storage(&self, worker: &str) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.state.join(format!("{worker}.{number}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Everything behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WorkerdRunner {
    /// Makes a runner. Nothing runs and nothing is fetched yet.
    ///
    /// # Errors
    /// The state directory cannot be made or emptied.
    pub fn new(options: WorkerdOptions) -> io::Result<Self> {
        let (state, scratch) = match &options.state_dir {
            Some(folder) => (folder.join("durable-objects"), None),
            None => {
                let scratch = tempfile::Builder::new()
                    .prefix("talon-workers-")
                    .tempdir()?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        if scratch.is_none() {
            empty(&state)?;
        }
        Ok(Self {
            ground: Arc::new(Ground {
                options,
                host: OnceLock::new(),
                runtime: OnceLock::new(),
                binary: OnceCell::new(),
                state: std::path::absolute(state)?,
                made: AtomicU64::new(0),
                running: Mutex::default(),
                _scratch: scratch,
            }),
            workers: Mutex::default(),
        })
    }

    /// Finds or fetches workerd now rather than when it is first needed.
    ///
    /// # Errors
    /// Why there is none: Workers will not run.
    pub async fn prepare(&self) -> Result<PathBuf, String> {
        self.ground.binary().await
    }

    /// The last lines that a Worker printed, and workerd about it. Its secrets are cut out.
    pub fn output(&self, worker: &str) -> Vec<String> {
        let output = lock(&self.workers)
            .get(worker)
            .map(|h| Arc::clone(&h.output));
        output.map(|o| o.lines()).unwrap_or_default()
    }

    /// The process that runs a Worker now.
    pub fn pid(&self, worker: &str) -> Option<u32> {
        lock(&self.workers).get(worker).and_then(|h| *lock(&h.pid))
    }

    fn send(&self, worker: &str, command: Command) -> bool {
        lock(&self.workers)
            .get(worker)
            .is_some_and(|h| h.inbox.send(command).is_ok())
    }
}

/// An empty directory.
fn empty(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(folder)
}

#[async_trait]
impl Runner for WorkerdRunner {
    fn deployed(&self, worker: &str, version: &Deployed) {
        let Some(runtime) = self.ground.runtime.get() else {
            return;
        };
        let version = Box::new(version.clone());
        let mut workers = lock(&self.workers);
        if let Some(handle) = workers.get(worker) {
            let _ = handle.inbox.send(Command::Deploy(version));
            return;
        }
        let (inbox, commands) = mpsc::unbounded_channel();
        let traces = self.ground.host.get().map(|host| host.traces.clone());
        let output = Arc::new(Output::new(worker, traces));
        let pid = Arc::default();
        let made = Worker::new(
            worker,
            version,
            Arc::clone(&self.ground),
            Arc::clone(&output),
            Arc::clone(&pid),
        );
        runtime.spawn(made.run(commands, inbox.downgrade()));
        workers.insert(worker.to_owned(), Handle { inbox, output, pid });
    }

    fn deleted(&self, worker: &str) {
        // Dropping its inbox would end it as well, but leave its storage.
        if let Some(handle) = lock(&self.workers).remove(worker) {
            let _ = handle.inbox.send(Command::Delete);
        }
    }

    fn runs_code(&self) -> bool {
        true
    }

    fn attached(&self, host: Host) {
        let _ = self.ground.host.set(host);
        let _ = self.ground.runtime.set(tokio::runtime::Handle::current());
    }

    async fn validate(&self, worker: &str, version: &Deployed) -> Result<(), Complaint> {
        validate::starts(&self.ground, worker, version).await
    }

    async fn reach(&self, worker: &str) -> Result<Reached, NotRunning> {
        let (answer, reached) = oneshot::channel();
        if !self.send(worker, Command::Reach(answer)) {
            return Err(NotRunning::Gone);
        }
        reached.await.unwrap_or(Err(NotRunning::Gone))
    }

    async fn shutdown(&self) {
        let all: Vec<Handle> = lock(&self.workers).drain().map(|(_, h)| h).collect();
        let mut ends = Vec::new();
        for handle in all {
            let (done, end) = oneshot::channel();
            if handle.inbox.send(Command::Stop(done)).is_ok() {
                ends.push(end);
            }
        }
        for end in ends {
            let _ = end.await;
        }
    }
}
