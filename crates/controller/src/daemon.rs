//! The daemon: claims due agents, runs their passes, keeps their leases, resyncs, sweeps, and stops in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use talon_core::clock::{Clock, Random};
use talon_core::cloud::{CallClass, Cloud};
use talon_core::condition::Reason;
use talon_core::deliver::{Waker, WorkerDoor};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::logs::AgentLogs;
use talon_core::mutation::{Finish, Mutation, Progress};
use talon_core::registry::Registry;
use talon_core::secret_writer::SecretWriter;
use talon_core::tail::TailCloud;
use talon_core::{AgentId, InstallId};
use talon_plan::status::PassFailure;
use talon_plan::{R2Endpoint, Subdomain, World};
use talon_secrets::{InstallKey, SecretReader};
use talon_store::{Claim, HoldKind, Store, StoreError};
use talon_worker::Bundle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::backoff::RetryPolicy;
use crate::brake::Brake;
use crate::config::{ControllerConfig, seconds};
use crate::inventory::Surveyor;
use crate::lease::Lease;
use crate::logbook::LogBook;
use crate::logs::DaemonLogs;
use crate::pass::{self, knock};
use crate::secret_writer::KeyWriter;
use crate::shared::Shared;
use crate::tell::{HoldTold, safe};
use crate::times::PassTimes;
use crate::waker::AgentWaker;
use crate::{high_water, resync, sweep};

/// Longest sleep without looking whether something is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Wait after the database failed.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// What a daemon is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Cloudflare.
    pub cloud: Arc<dyn Cloud>,
    /// The Router.
    pub registry: Arc<dyn Registry>,
    /// Reads references.
    pub secrets: Arc<dyn SecretReader>,
    /// The code to deploy.
    pub bundle: Arc<Bundle>,
    /// The Workers themselves, at their own addresses; without it none is woken after a write, and what was pushed stays
    /// unverified.
    pub door: Option<Arc<dyn WorkerDoor>>,
    /// This installation.
    pub install: InstallId,
    /// The root of control tokens.
    pub key: Arc<InstallKey>,
    /// Where Workers find R2 over S3.
    pub r2_endpoint: R2Endpoint,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

/// Why a daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting makes no sense.
    #[error("the settings make no sense: {0}")]
    Settings(String),
}

/// A daemon, ready to run.
#[derive(Clone)]
pub struct Daemon {
    inner: Arc<Inner>,
}

/// Ordered maps and `biased` selects: what happens next never hangs on a hash seed, so that a simulation can replay it.
struct Inner {
    shared: Arc<Shared>,
    holder: String,
    running: Mutex<BTreeMap<AgentId, Arc<Lease>>>,
    wake: Notify,
    resync_now: Notify,
}

impl Daemon {
    /// Puts the parts together. Touches nothing yet.
    pub fn new(parts: Parts, config: ControllerConfig) -> Self {
        let mut dice = [0u8; 8];
        parts.random.fill(&mut dice);
        let holder = format!(
            "{}-{}",
            std::process::id(),
            talon_core::name::base32_lower(&dice)
        );
        let list_lag = seconds(config.list_lag_seconds);
        let brake = Brake::new(
            parts.store.clone(),
            parts.install.clone(),
            config.brake.clone(),
            list_lag,
        );
        let brake = Arc::new(brake);
        let surveyor = Arc::new(Surveyor::new(
            parts.cloud.clone(),
            parts.clock.clone(),
            brake.clone(),
            seconds(config.list_spacing_seconds),
        ));
        let base = World {
            install: parts.install,
            account_id: parts.cloud.account_id().to_owned(),
            subdomain: Subdomain::Missing,
            hub_url: config.hub_url.clone(),
            r2_endpoint: parts.r2_endpoint,
            bundle: parts.bundle.manifest.clone(),
            knocks: parts.door.is_some(),
            timing: config.timing(),
            held: None,
        };
        let account = Account::new(parts.clock.clone());
        let shared = Arc::new(Shared {
            store: parts.store,
            cloud: parts.cloud,
            registry: parts.registry,
            secrets: parts.secrets,
            bundle: parts.bundle,
            door: parts.door,
            knocks: Semaphore::new(knock::AT_ONCE),
            key: parts.key,
            book: Arc::new(LogBook::new(parts.clock.clone())),
            clock: parts.clock,
            random: parts.random,
            config,
            account,
            surveyor,
            brake,
            hold_told: HoldTold::default(),
            times: Arc::default(),
            base,
        });
        let inner = Inner {
            shared,
            holder,
            running: Mutex::new(BTreeMap::new()),
            wake: Notify::new(),
            resync_now: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Wakes agents of this daemon's installation through this door.
    pub fn waker(&self, door: Arc<dyn WorkerDoor>) -> Arc<dyn Waker> {
        Arc::new(AgentWaker::new(door, self.inner.shared.clone()))
    }

    /// Hands keys through to the Workers of this daemon's installation, beside its passes.
    pub fn secret_writer(&self) -> Arc<dyn SecretWriter> {
        let inner = &self.inner;
        Arc::new(KeyWriter::new(inner.shared.clone(), &inner.holder))
    }

    /// How long this daemon's passes take.
    pub fn times(&self) -> Arc<PassTimes> {
        self.inner.shared.times.clone()
    }

    /// The lines of this daemon's agents: the controller's of this process, and their Workers' where there is a way to
    /// tails. To be asked for once: each has tails of its own.
    pub fn logs(&self, tails: Option<Arc<dyn TailCloud>>) -> Arc<dyn AgentLogs> {
        Arc::new(DaemonLogs::new(self.inner.shared.clone(), tails))
    }

    /// Asks for a resync now rather than when it is due.
    pub fn resync_now(&self) {
        self.inner.resync_now.notify_one();
    }

    /// Runs until told to stop; then ends within `shutdown_seconds` and a little, with every lease given back.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), DaemonError> {
        self.inner
            .shared
            .config
            .check()
            .map_err(DaemonError::Settings)?;
        let inner = &self.inner;
        inner.check_restore().await?;
        if !inner.shared.config.account_starts_empty {
            inner.shared.brake.learn().await?;
        }
        let helpers = stop.child_token();
        let mut tasks = JoinSet::new();
        let (waker, heart, comparer) = (inner.clone(), inner.clone(), inner.clone());
        let (s1, s2, s3) = (helpers.clone(), CancellationToken::new(), helpers.clone());
        let heart_stop = s2.clone();
        tasks.spawn(async move { waker.listen(s1).await });
        tasks.spawn(async move { heart.keep_leases(s2).await });
        tasks.spawn(async move { comparer.compare_regularly(s3).await });
        inner.clone().work(stop).await;
        heart_stop.cancel();
        helpers.cancel();
        while tasks.join_next().await.is_some() {}
        inner.remember_high_water().await;
        Ok(())
    }
}

impl Inner {
    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<AgentId, Arc<Lease>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds if the database is older than it was.
    async fn check_restore(&self) -> Result<(), DaemonError> {
        let Some(path) = &self.shared.config.high_water_file else {
            return Ok(());
        };
        let (mark, last) = (
            high_water::read(path),
            self.shared.store.last_change().await?,
        );
        if last < mark {
            let reason = format!(
                "the database is older than it was (change {last}, seen {mark}): it was restored. Nothing is made again or \
                 destroyed until somebody looked: talon doctor, then talon release-hold"
            );
            if self
                .shared
                .store
                .set_hold(HoldKind::RestoredDatabase, &reason)
                .await?
            {
                tracing::error!(reason, "holding");
            }
            if let Err(error) = high_water::reset(path, last) {
                tracing::warn!(%error, "the high-water mark could not be written");
            }
        }
        Ok(())
    }

    async fn remember_high_water(&self) {
        let Some(path) = &self.shared.config.high_water_file else {
            return;
        };
        if let Ok(last) = self.shared.store.last_change().await
            && let Err(error) = high_water::raise(path, last)
        {
            tracing::warn!(%error, "the high-water mark could not be written");
        }
    }

    /// Turns the store's hints into wake-ups.
    async fn listen(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                hint = self.shared.store.wait(LONGEST_SLEEP) => {
                    if hint.is_err() {
                        tokio::time::sleep(DATABASE_RETRY).await;
                    }
                    self.wake.notify_one();
                }
            }
        }
    }

    /// Renews the leases of running passes; stops those that lost theirs.
    async fn keep_leases(self: Arc<Self>, stop: CancellationToken) {
        let lease = seconds(self.shared.config.lease_seconds);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(lease / 3) => {}
            }
            let held: Vec<Arc<Lease>> = self.running().values().cloned().collect();
            if held.is_empty() {
                continue;
            }
            let claims: Vec<Claim> = held.iter().map(|l| l.claim.clone()).collect();
            let until = self.shared.clock.monotonic() + lease;
            match self.shared.store.renew(&claims, lease).await {
                Ok(lost) => {
                    for lease in &held {
                        if lost.contains(&lease.claim.agent_id) {
                            lease.stop.cancel();
                        } else {
                            lease.prolong(until);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed"),
            }
        }
    }

    /// Claims and runs until told to stop.
    async fn work(self: Arc<Self>, stop: CancellationToken) {
        let mut passes: JoinSet<()> = JoinSet::new();
        while !stop.is_cancelled() {
            let free = self
                .shared
                .config
                .concurrency
                .max(1)
                .saturating_sub(passes.len());
            // Taken before the database is asked: what is believed of a lease must not outlast it.
            let until = self.shared.clock.monotonic() + seconds(self.shared.config.lease_seconds);
            let claimed = if free > 0 {
                self.claim(free).await
            } else {
                Vec::new()
            };
            let all_taken = claimed.len() == free;
            for claim in claimed {
                passes.spawn(self.clone().guarded(claim, until, stop.child_token()));
            }
            if all_taken && !passes.is_empty() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    _ = passes.join_next() => {}
                }
                continue;
            }
            let sleep = self.next_due().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = passes.join_next(), if !passes.is_empty() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
        let patience = seconds(self.shared.config.shutdown_seconds);
        let all_ended = async { while passes.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all_ended).await.is_err() {
            passes.abort_all();
            while passes.join_next().await.is_some() {}
        }
        let left: Vec<Claim> = self.running().values().map(|l| l.claim.clone()).collect();
        for claim in left {
            if let Err(error) = self.shared.store.release(&claim).await {
                tracing::debug!(%error, "a lease could not be given back; it will run out");
            }
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Claim> {
        let lease = seconds(self.shared.config.lease_seconds);
        if let Err(error) = self.shared.brake.check_deletions().await {
            tracing::warn!(%error, "the brake could not look at the database");
            tokio::time::sleep(DATABASE_RETRY).await;
            return Vec::new();
        }
        match self
            .shared
            .store
            .claim_due(&self.holder, lease, limit)
            .await
        {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(%error, "nothing could be claimed");
                tokio::time::sleep(DATABASE_RETRY).await;
                Vec::new()
            }
        }
    }

    async fn next_due(&self) -> Duration {
        match self.shared.store.next_due_in().await {
            Ok(Some(due)) => due.clamp(Duration::from_millis(5), LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(_) => DATABASE_RETRY,
        }
    }

    /// Runs one pass; a defect in it stays with its agent.
    async fn guarded(self: Arc<Self>, claim: Claim, until: Duration, stop: CancellationToken) {
        let lease = Arc::new(Lease::new(claim.clone(), stop, until));
        self.running().insert(claim.agent_id, lease.clone());
        let inner = self.clone();
        let mut one = JoinSet::new();
        let begun = self.shared.clock.monotonic();
        one.spawn(async move { pass::run(&inner.shared, &lease).await });
        let ended = one.join_next().await;
        let took = self.shared.clock.monotonic().saturating_sub(begun);
        self.shared.times.add(took);
        match ended {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(StoreError::StaleEpoch))) => {
                tracing::info!(agent = %claim.agent_id, "another daemon has taken over");
            }
            Some(Ok(Err(
                error @ (StoreError::NotFound
                | StoreError::Stale { .. }
                | StoreError::Rejected { .. }
                | StoreError::Corrupt(_)),
            ))) => {
                // It would fail again at once, and as the longest due go before everybody else: its lease runs out first.
                let loaded = self.shared.store.load(claim.agent_id).await;
                let name = loaded.ok().flatten().map(|s| s.agent.name.to_string());
                tracing::error!(agent = %claim.agent_id, name = name.unwrap_or_default(), %error, "the database holds or refuses what a pass cannot deal with");
            }
            Some(Ok(Err(error @ StoreError::Unavailable(_)))) => {
                tracing::warn!(agent = %claim.agent_id, %error, "the pass could not be finished");
                tokio::time::sleep(DATABASE_RETRY).await;
                if let Err(error) = self.shared.store.release(&claim).await {
                    tracing::debug!(%error, "the lease could not be given back; it will run out");
                }
            }
            Some(Err(error)) if error.is_panic() => self.after_panic(&claim).await,
            Some(Err(_)) => {}
        }
        let mut running = self.running();
        if running
            .get(&claim.agent_id)
            .is_some_and(|l| l.claim.epoch == claim.epoch)
        {
            running.remove(&claim.agent_id);
        }
    }

    async fn after_panic(&self, claim: &Claim) {
        tracing::error!(agent = %claim.agent_id, "a pass panicked; this is a defect of Talon");
        let Ok(Some(snapshot)) = self.shared.store.load(claim.agent_id).await else {
            return;
        };
        let message =
            "the controller hit a defect of its own in this agent's pass; see its log".to_owned();
        let policy = RetryPolicy {
            initial: seconds(self.shared.config.backoff_initial_seconds),
            max: seconds(self.shared.config.backoff_max_seconds),
        };
        let failures = snapshot.work.failure_count + 1;
        let failure = PassFailure {
            reason: Reason::InternalError,
            message: message.clone(),
            stalled: failures >= 3,
            throttled: false,
        };
        let mut mutations = talon_plan::blind(&snapshot, &self.shared.base.timing, &failure);
        mutations.push(Mutation::Event(NewEvent {
            severity: Severity::Warning,
            reason: EventReason::InternalError,
            object: format!("agent/{}", snapshot.agent.name),
            message,
        }));
        let finish = Finish {
            mutations,
            loaded_generation: snapshot.agent.generation,
            loaded_reconcile_requested_at: snapshot.agent.reconcile_requested_at,
            loaded_hold: None,
            next_due_in: Some(policy.after(failures, self.shared.random.as_ref())),
            progress: Progress::Failed,
            plan_report: None,
        };
        if let Err(error) = self.shared.store.finish(claim, &finish).await {
            tracing::warn!(%error, "the panic could not be recorded");
        }
    }

    /// Resync, sweep, prune.
    async fn compare_regularly(self: Arc<Self>, stop: CancellationToken) {
        let interval = seconds(self.shared.config.resync_seconds).max(Duration::from_millis(100));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
                () = self.resync_now.notified() => {}
            }
            // Lists can take minutes to fail: whoever stops the daemon does not wait for them. A sweep that is cut off
            // here has written nothing it would have to take back.
            let compared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                compared = self.compare() => compared,
            };
            if let Err(error) = compared {
                tracing::warn!(%error, "the resync could not be done");
            }
            let keep = seconds(self.shared.config.keep_events_seconds);
            if let Err(error) = self.shared.store.prune(keep).await {
                tracing::warn!(%error, "old events could not be removed");
            }
            self.remember_high_water().await;
        }
    }

    async fn compare(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        sweep::want(shared).await?;
        let newest = shared.surveyor.latest().map_or(Duration::ZERO, |i| i.taken);
        let inventory = match shared.surveyor.newer_than(newest, CallClass::Resync).await {
            Ok(inventory) => inventory,
            Err(error) => {
                let error = safe(&error.to_string());
                tracing::warn!(error, "the account's lists could not be read");
                return Ok(());
            }
        };
        match resync::run(shared, &inventory).await? {
            Ok(report) => {
                tracing::info!(
                    agents = report.looked_at,
                    enqueued = report.woken,
                    workers = inventory.workers.len(),
                    buckets = inventory.buckets.len(),
                    tokens = inventory.tokens.values().map(Vec::len).sum::<usize>(),
                    "resync"
                );
            }
            Err(verdict) => tracing::warn!(error = safe(&verdict.pass.message), "resync"),
        }
        let name = "sweep";
        let lease = seconds(shared.config.resync_seconds).max(Duration::from_secs(5)) * 2;
        if shared.store.try_lease(name, &self.holder, lease).await? {
            let report = sweep::run(shared, &inventory).await?;
            if report.removed > 0 || !report.unowned.is_empty() {
                tracing::info!(
                    removed = report.removed,
                    unowned = report.unowned.len(),
                    "sweep"
                );
            }
        }
        Ok(())
    }
}
