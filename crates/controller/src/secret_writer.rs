//! Keys handed in over HTTP: under the row's lease, written down, sent, written down again; kept nowhere.
//!
//! What is begun goes on when the caller goes away: between the call and its record nobody hangs up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::cloud::CallClass;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::secret::{SecretValue, names};
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, StoredKey};
use talon_core::{AgentId, AgentName, Snapshot};
use talon_plan::keys::{self, Ask, Fate, NewKey, Refusal};
use talon_plan::{Input, Plan, World};
use talon_secrets::Redactor;
use talon_store::{Claim, StoreError, StoreResult};
use tokio_util::sync::CancellationToken;

use crate::config::seconds;
use crate::execute::{Executor, Outcome};
use crate::failure;
use crate::lease::Lease;
use crate::observe::{self, Anchor, Values};
use crate::shared::Shared;

/// How long a pass that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the lease is free.
const POLL: Duration = Duration::from_millis(100);
/// How often what a look or a call shows may change the plan.
const ROUNDS: usize = 4;

/// Hands keys through to Workers.
pub struct KeyWriter {
    shared: Arc<Shared>,
    holder: String,
}

/// One request, with all it needs: it outlives its caller.
struct Request {
    shared: Arc<Shared>,
    holder: String,
    agent: AgentName,
    ask: Ask,
    values: Values,
}

/// How a request that could be carried out ended.
enum End {
    /// As it was asked for.
    Done,
    /// There was nothing to do.
    Nothing,
}

type Ended<T> = Result<T, SecretWriteError>;

impl KeyWriter {
    /// Works beside the daemon's passes, under leases of its own.
    pub(crate) fn new(shared: Arc<Shared>, holder: &str) -> Self {
        Self {
            shared,
            holder: format!("{holder}-keys"),
        }
    }

    /// What the agent is called, for the log; an error if it is only a record by now.
    async fn name(&self, id: AgentId) -> Ended<AgentName> {
        let found = self.shared.store.load(id).await;
        match found.map_err(|e| not_begun(&e))? {
            Some(snapshot) if !snapshot.agent.is_archived() => Ok(snapshot.agent.name),
            _ => Err(SecretWriteError::NotFound),
        }
    }

    async fn carry_out(&self, id: AgentId, ask: Ask, values: Values) -> Ended<End> {
        let agent = self.name(id).await?;
        let mut values = values;
        // The fingerprints of what is made for the call are keyed by it.
        values.insert(
            names::CONTROL_TOKEN.to_owned(),
            self.shared.key.control_token(id),
        );
        let request = Request {
            shared: self.shared.clone(),
            holder: self.holder.clone(),
            agent,
            ask,
            values,
        };
        match tokio::spawn(request.run(id)).await {
            Ok(ended) => ended,
            Err(_) => Err(SecretWriteError::Unknown(
                "the controller hit a defect of its own; whether the Worker was written to is not known".to_owned(),
            )),
        }
    }
}

#[async_trait]
impl SecretWriter for KeyWriter {
    async fn set_keys(
        &self,
        id: AgentId,
        keys: Vec<(KeyName, SecretValue)>,
    ) -> Ended<Vec<StoredKey>> {
        for (at, (name, value)) in keys.iter().enumerate() {
            if let Some(why) = value.unusable() {
                let text = format!("the value of {name} {why}: hand in the bare key");
                return Err(SecretWriteError::Invalid(text));
            }
            if keys[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(SecretWriteError::Invalid(format!("{name} is given twice")));
            }
        }
        let control = self.shared.key.control_token(id);
        let mut stored = Vec::with_capacity(keys.len());
        let mut values = Values::new();
        let mut asked = Vec::with_capacity(keys.len());
        for (name, value) in keys {
            let text = name.to_string();
            let fingerprint = value.fingerprint(&control, &text);
            asked.push(NewKey {
                name: text.clone(),
                provider: name.provider().to_string(),
                fingerprint: fingerprint.clone(),
            });
            values.insert(text, value);
            stored.push(StoredKey { name, fingerprint });
        }
        if stored.is_empty() {
            return Ok(stored);
        }
        self.carry_out(id, Ask::Set(asked), values).await?;
        Ok(stored)
    }

    async fn unset_key(&self, id: AgentId, key: &KeyName) -> Ended<bool> {
        let ask = Ask::Unset(key.to_string());
        let end = self.carry_out(id, ask, Values::new()).await?;
        Ok(matches!(end, End::Done))
    }

    async fn rotate_auth(&self, id: AgentId) -> Ended<()> {
        self.carry_out(id, Ask::RotateAuth, Values::new())
            .await
            .map(drop)
    }
}

impl Request {
    async fn run(self, id: AgentId) -> Ended<End> {
        let lease = self.lease(id).await?;
        let ended = self.under_lease(&lease).await;
        // The rest is the controller's: a Worker to be deployed, a card to be registered, an outcome to be found out.
        let store = &self.shared.store;
        if let Err(error) = store.enqueue(&[id]).await {
            tracing::debug!(%error, "the agent could not be made due; the next resync finds it");
        }
        if let Err(error) = store.release(&lease.claim).await {
            tracing::debug!(%error, "a lease could not be given back; it will run out");
        }
        match &ended {
            Ok(End::Done) => tracing::info!(agent = %self.agent, ask = self.what(), "done"),
            Ok(End::Nothing) => {}
            Err(error) => {
                let error = crate::tell::safe(&error.to_string());
                tracing::warn!(agent = %self.agent, ask = self.what(), error, "not done");
            }
        }
        ended
    }

    fn what(&self) -> &'static str {
        match self.ask {
            Ask::Set(_) => "set-keys",
            Ask::Unset(_) => "unset-key",
            Ask::RotateAuth => "rotate-auth",
        }
    }

    /// Takes the row's lease as a pass does; waits a little for one that is under way.
    async fn lease(&self, id: AgentId) -> Ended<Lease> {
        let shared = &self.shared;
        let length = seconds(shared.config.lease_seconds);
        let begun = shared.clock.monotonic();
        loop {
            // Taken before the database is asked: what is believed of a lease must not outlast it.
            let until = shared.clock.monotonic() + length;
            let claimed: StoreResult<Option<Claim>> =
                shared.store.claim_agent(id, &self.holder, length).await;
            match claimed {
                Ok(Some(claim)) => return Ok(Lease::new(claim, CancellationToken::new(), until)),
                Ok(None) if shared.clock.monotonic().saturating_sub(begun) < PATIENCE => {
                    tokio::time::sleep(POLL).await;
                }
                Ok(None) => {
                    return Err(SecretWriteError::Busy {
                        message: "the controller is at work on the agent; try again".to_owned(),
                        retry_after: Duration::from_secs(2),
                    });
                }
                Err(StoreError::NotFound) => {
                    return Err(SecretWriteError::NotFound);
                }
                Err(error) => return Err(not_begun(&error)),
            }
        }
    }

    async fn under_lease(&self, lease: &Lease) -> Ended<End> {
        let shared = &self.shared;
        let begun = shared.clock.monotonic();
        let mut newer_than = Duration::ZERO;
        let mut last = None;
        for _ in 0..ROUNDS {
            let mut world = shared.base.clone();
            world.held = shared.held().await.map_err(|e| not_begun(&e))?;
            let before = self.load(lease).await.map_err(|e| not_begun(&e))?;
            let plan = match self.decide(&world, &before, newer_than).await? {
                Ok(plan) => plan,
                Err(moment) => {
                    newer_than = moment;
                    continue;
                }
            };
            if plan.steps.is_empty() {
                return Ok(End::Nothing);
            }
            if plan.steps.iter().any(|s| s.rebuilds) && newer_than < begun {
                // Making again what was there before rests on a look of this request.
                newer_than = begun;
                continue;
            }
            let ended = self.execute(lease, &world, &before, plan).await;
            match self.judge(lease, &before, ended).await? {
                Some(error) => last = Some(error),
                None => return Ok(End::Done),
            }
        }
        Err(last.unwrap_or_else(|| SecretWriteError::Busy {
            message: "what the agent has at Cloudflare cannot be told yet; try again".to_owned(),
            retry_after: Duration::from_secs(5),
        }))
    }

    async fn load(&self, lease: &Lease) -> StoreResult<Snapshot> {
        let found = self.shared.store.load(lease.claim.agent_id).await?;
        found.ok_or(StoreError::NotFound)
    }

    /// The plan, from lists that are at least so young; the inner error: younger ones are needed (our clock).
    async fn decide(
        &self,
        world: &World,
        snapshot: &Snapshot,
        newer_than: Duration,
    ) -> Ended<Result<Plan, Duration>> {
        let shared = &self.shared;
        let anchor = Anchor {
            database: snapshot.now,
            monotonic: shared.clock.monotonic(),
        };
        shared.surveyor.want(snapshot.agent.spec.r2.jurisdiction);
        let latest = shared.surveyor.latest();
        let inventory = match latest.filter(|i| i.taken > newer_than) {
            Some(inventory) => inventory,
            None => {
                let asked = shared
                    .surveyor
                    .newer_than(newer_than, CallClass::UserChange)
                    .await;
                asked.map_err(|e| self.failed(failure::of_cloud(&e)))?
            }
        };
        let observed = observe::lists(world, snapshot, Some(&inventory), anchor);
        let input = Input {
            snapshot,
            observed: &observed,
            world,
        };
        match keys::plan(&input, &self.ask) {
            Ok(plan) => Ok(Ok(plan)),
            Err(Refusal::Conflict(message)) => Err(SecretWriteError::Conflict(message)),
            Err(Refusal::Busy(message, retry_after)) => Err(SecretWriteError::Busy {
                message,
                retry_after,
            }),
            Err(Refusal::LookAfter(moment)) => {
                Ok(Err(anchor.to_monotonic(moment).max(inventory.taken)))
            }
        }
    }

    async fn execute(
        &self,
        lease: &Lease,
        world: &World,
        before: &Snapshot,
        plan: Plan,
    ) -> StoreResult<Outcome> {
        let shared = &self.shared;
        let executor = Executor {
            store: shared.store.as_ref(),
            cloud: shared.cloud.as_ref(),
            registry: shared.registry.as_ref(),
            book: &shared.book,
            brake: &shared.brake,
            bundle: &shared.bundle,
            world,
            clock: &shared.clock,
            random: shared.random.as_ref(),
            empty_slice: Duration::ZERO,
        };
        executor
            .run(lease, before, plan, &self.values, CallClass::UserChange)
            .await
    }

    /// What became of it, by what is written down: `None` if it is done; `Some` if nothing was changed and the Worker
    /// that was to hold the keys turned out not to be there, so that it can be tried with a new one.
    async fn judge(
        &self,
        lease: &Lease,
        before: &Snapshot,
        ended: StoreResult<Outcome>,
    ) -> Ended<Option<SecretWriteError>> {
        // What is written down tells also of an execution that the database cut short.
        let after = match self.load(lease).await {
            Ok(after) => after,
            Err(error) => return Err(unknown(&error)),
        };
        let failed = ended.as_ref().is_ok_and(|o| o.failure.is_some());
        match keys::fate(&self.ask, &after, failed || ended.is_err()) {
            Fate::Done => return Ok(None),
            Fate::Open => {
                return Err(SecretWriteError::Unknown(
                    "Cloudflare's answer was lost; the Worker may have the new value or be as before. Doing the same again \
                     is safe"
                        .to_owned(),
                ));
            }
            Fate::AsBefore => {}
        }
        self.put_back(lease, before, &after).await?;
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(error) => return Err(not_begun(&error)),
        };
        let vanished = |s: &Snapshot| {
            let worker = s.resource(ResourceKind::Worker);
            worker.is_none_or(|r| r.state != ResourceState::Present)
        };
        let error = SecretWriteError::Failed {
            message: outcome
                .failure
                .as_ref()
                .map(|f| f.message.clone())
                .unwrap_or_default(),
            retry_after: outcome
                .failure
                .as_ref()
                .is_none_or(|f| !f.stalled)
                .then(|| outcome.retry_after.unwrap_or(Duration::from_secs(2))),
        };
        if !vanished(before) && vanished(&after) {
            return Ok(Some(error));
        }
        Err(error)
    }

    /// What was written down as on its way and was not sent goes back to what it was.
    async fn put_back(&self, lease: &Lease, before: &Snapshot, after: &Snapshot) -> Ended<()> {
        let back = keys::put_back(&self.ask, before, after);
        if back.is_empty() {
            return Ok(());
        }
        // If this fails the controller finds it out by itself: no Worker has the key.
        match self.shared.store.commit(&lease.claim, &back).await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_begun(&error)),
        }
    }

    fn failed(&self, verdict: failure::Verdict) -> SecretWriteError {
        let verdict = verdict.redacted(&Redactor::new());
        SecretWriteError::Failed {
            message: verdict.pass.message,
            retry_after: (!verdict.pass.stalled)
                .then(|| verdict.retry_after.unwrap_or(Duration::from_secs(2))),
        }
    }
}

/// The database failed before anything was sent.
fn not_begun(error: &StoreError) -> SecretWriteError {
    SecretWriteError::Failed {
        message: error.to_string(),
        retry_after: Some(Duration::from_secs(2)),
    }
}

/// The database failed when it was asked what became of it.
fn unknown(error: &StoreError) -> SecretWriteError {
    SecretWriteError::Unknown(format!(
        "{error}; what became of the call cannot be told. Doing the same again is safe"
    ))
}
