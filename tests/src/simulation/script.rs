//! Scripted histories of one agent: one change, made by processes that die where they are told to.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use talon_core::secret::{Provider, SecretRef};
use talon_worker::Bundle;
use tokio::time::sleep;

use super::faults::CallFault;
use super::seat::{Crash, Seat};
use super::stage::{KEY, Sim};

/// The one agent.
pub const AGENT: &str = "research-pro";

/// How long everything may take to come right.
pub const BOUND: Duration = Duration::from_secs(3 * 3_600);

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The agent is new.
    Create,
    /// Another model: one push.
    Model,
    /// The key behind a reference is another, and a second provider is added.
    Keys,
    /// A provider is taken away.
    KeyGone,
    /// New code: one upload.
    Bundle,
    /// New code and another model at once.
    BundleAndModel,
    /// Only the card.
    Card,
    /// The agent goes, with objects in its bucket.
    Delete,
    /// The agent goes, its bucket stays.
    DeleteKeepingBucket,
    /// Somebody deleted the Worker.
    WorkerGone,
    /// Somebody deleted the token.
    TokenGone,
    /// Somebody deleted the bucket.
    BucketGone,
    /// Somebody uploaded something else.
    WorkerEdited,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Model,
        Self::Keys,
        Self::KeyGone,
        Self::Bundle,
        Self::BundleAndModel,
        Self::Card,
        Self::Delete,
        Self::DeleteKeepingBucket,
        Self::WorkerGone,
        Self::TokenGone,
        Self::BucketGone,
        Self::WorkerEdited,
    ];

    /// Whether the database wakes the daemon; what somebody else did is found by a resync.
    fn wakes(self) -> bool {
        match self {
            Self::Create
            | Self::Model
            | Self::Keys
            | Self::KeyGone
            | Self::BundleAndModel
            | Self::Card
            | Self::Delete
            | Self::DeleteKeepingBucket => true,
            Self::Bundle
            | Self::WorkerGone
            | Self::TokenGone
            | Self::BucketGone
            | Self::WorkerEdited => false,
        }
    }

    /// A stage on which the change is about to be seen.
    pub async fn stage(self, seed: u64) -> Sim {
        let mut sim = Sim::new(seed).await;
        sim.weather(Sim::calm());
        let mut spec = Sim::spec();
        sim.secrets.set("env:TALON_SECRET_OPENAI", "sk-openai");
        let openai = || {
            (
                Provider("openai".to_owned()),
                SecretRef("env:TALON_SECRET_OPENAI".to_owned()),
            )
        };
        if self == Self::KeyGone {
            spec.api_key_refs.extend([openai()]);
        }
        if self != Self::Create {
            sim.start(Seat::default());
            sim.apply(AGENT, &spec).await;
            sim.steady().await;
            // The first list after the upload has become the baseline.
            sleep(Duration::from_secs(400)).await;
            sim.steady().await;
            while let Some(process) = sim.processes.pop() {
                process.stop().await;
            }
        }
        let agent = sim.live(AGENT).await;
        let status = agent.map(|a| a.agent.status);
        let worker = status.as_ref().and_then(|s| s.worker_name.clone());
        let worker = worker.unwrap_or_default();
        let bucket = status.as_ref().and_then(|s| s.r2_bucket.clone());
        let bucket = bucket.unwrap_or_default();
        match self {
            Self::Create => drop(sim.apply(AGENT, &spec).await),
            Self::Model | Self::BundleAndModel => {
                "anthropic/claude-opus-4-1".clone_into(&mut spec.model);
                sim.apply(AGENT, &spec).await;
                if self == Self::BundleAndModel {
                    sim.bundle = Bundle::from_source("next", "export default {};");
                }
            }
            Self::Keys => {
                sim.secrets.set(KEY, "sk-ant-another");
                spec.api_key_refs.extend([openai()]);
                sim.apply(AGENT, &spec).await;
            }
            Self::KeyGone => {
                spec.api_key_refs.remove(&openai().0);
                sim.apply(AGENT, &spec).await;
            }
            Self::Bundle => sim.bundle = Bundle::from_source("next", "export default {};"),
            Self::Card => {
                spec.description = Some("Another description.".to_owned());
                sim.apply(AGENT, &spec).await;
            }
            Self::Delete | Self::DeleteKeepingBucket => {
                sim.account.outside("objects", |w, _| {
                    let found = w.now.buckets.get_mut(&bucket);
                    let found = found.expect("the bucket is there");
                    found.objects = (0..2_500).map(|n| format!("key-{n}")).collect();
                    found.uploads = ["upload-1", "upload-2"].map(str::to_owned).into();
                });
                sim.delete(AGENT, self == Self::DeleteKeepingBucket).await;
            }
            Self::WorkerGone => drop(
                sim.account
                    .outside("the Worker goes", |w, _| w.now.workers.remove(&worker)),
            ),
            Self::TokenGone => sim
                .account
                .outside("the token goes", |w, _| w.now.tokens.clear()),
            Self::BucketGone => drop(
                sim.account
                    .outside("the bucket goes", |w, _| w.now.buckets.remove(&bucket)),
            ),
            Self::WorkerEdited => sim.account.outside("the Worker is edited", |w, now| {
                let found = w.now.workers.get_mut(&worker);
                let found = found.expect("the Worker is there");
                "edited".clone_into(&mut found.etag);
                found.texts.clear();
                found.secrets.remove("OPENCLAW_MODEL");
                found.modified_on = now;
            }),
        }
        sim
    }
}

/// How a scripted history ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Calls sent to Cloudflare that change something, after the change.
    pub calls: u64,
    /// Calls of the first process that change something, at Cloudflare or in the database.
    pub points: u64,
    /// How many of the processes died, or were frozen, where they were to.
    pub died: usize,
    /// How often each call was sent.
    pub writes: std::collections::BTreeMap<&'static str, u64>,
}

/// Makes the change by processes that die in turn, each succeeded after a pause, and a last one that lives.
pub fn play(
    change: Change,
    seed: u64,
    crashes: &[Crash],
    pause: Duration,
    faults: &[(&'static str, CallFault)],
) -> Outcome {
    history(async {
        let mut outcome = Outcome::default();
        let mut sim = change.stage(seed).await;
        sim.account.state().writes.clear();
        for (operation, fault) in faults {
            let mut state = sim.account.state();
            let armed = state.faults.armed.entry(operation).or_default();
            armed.push(*fault);
        }
        for crash in crashes {
            sim.start(Seat::doomed(*crash));
            if !change.wakes() {
                sim.processes[0].daemon.resync_now();
            }
            sim.until(BOUND, async |s| {
                s.processes[0].seat.is_dead() || s.wrong().await.is_empty()
            })
            .await;
            outcome.died += usize::from(sim.processes[0].seat.is_dead());
            sim.crash(0).await;
            sleep(pause).await;
        }
        sim.start(Seat::default());
        sim.until(BOUND, async |s| s.wrong().await.is_empty()).await;
        outcome.points = sim.processes[0].seat.calls();
        let fired = sim.account.state().faults.total();
        if fired < faults.len() as u64 {
            outcome.wrong.push(format!(
                "O11: {fired} of {} faults have fired",
                faults.len()
            ));
        }
        outcome.wrong.extend(sim.settle(BOUND).await);
        let state = sim.account.state();
        outcome.writes.clone_from(&state.writes);
        outcome.calls = state.calls();
        if !outcome.wrong.is_empty() {
            outcome.wrong.extend(state.story.iter().cloned());
        }
        outcome
    })
}

/// Makes the change by a process that is frozen at its call of this number; another one takes over, and when all is
/// well the first goes on, unaware.
pub fn freeze(change: Change, seed: u64, at: u64) -> Outcome {
    history(async {
        let mut sim = change.stage(seed).await;
        sim.account.state().writes.clear();
        sim.start(Seat::freezing(at));
        if !change.wakes() {
            sim.processes[0].daemon.resync_now();
        }
        let frozen = async |s: &Sim| s.processes[0].seat.is_frozen();
        let froze = sim.until(Duration::from_secs(600), frozen).await;
        let mut outcome = Outcome {
            died: usize::from(froze),
            ..Outcome::default()
        };
        sim.start(Seat::default());
        sim.until(BOUND, async |s| s.wrong().await.is_empty()).await;
        // `settle` thaws.
        outcome.wrong.extend(sim.settle(BOUND).await);
        outcome.points = sim.database.stale.load(Ordering::Relaxed);
        outcome
    })
}

/// Runs a history on a runtime of its own, with virtual time.
///
/// # Panics
/// If there is no runtime to be had, or the history never ends.
pub fn history<T>(history: impl Future<Output = T>) -> T {
    // Without this a history in which everybody waits for somebody else would never end, for no time would pass.
    let history = async { tokio::time::timeout(30 * 8 * BOUND, history).await };
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(history)
        .expect("the history ends")
}

/// Plays every one of these on all cores; returns those that went wrong, in their order, with what was wrong.
pub fn every<J: Sync + Clone + Send>(
    jobs: &[J],
    play: impl Fn(&J) -> Vec<String> + Sync,
) -> Vec<(J, Vec<String>)> {
    let next = AtomicUsize::new(0);
    let broken: Mutex<Vec<(usize, Vec<String>)>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    let wrong = guarded(|| play(job));
                    if !wrong.is_empty() {
                        let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
                        broken.push((at, wrong));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
    broken.sort();
    broken
        .into_iter()
        .map(|(at, wrong)| (jobs[at].clone(), wrong))
        .collect()
}

/// A panic counts as something wrong.
pub fn guarded(play: impl FnOnce() -> Vec<String>) -> Vec<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(play)) {
        Ok(wrong) => wrong,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            vec![format!("panic: {}", text.unwrap_or_default())]
        }
    }
}
