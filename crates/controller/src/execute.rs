//! Executes a plan, step by step: intent → call → record. Makes no choices.

mod made;

use std::sync::Arc;
use std::time::Duration;

use talon_core::Snapshot;
use talon_core::clock::{Clock, Random};
use talon_core::cloud::{
    Binding, BucketRef, CallClass, CallCx, Cloud, CloudError, Migration, SecretChange, WorkerUpload,
};
use talon_core::mutation::Mutation;
use talon_core::name::WorkerMarks;
use talon_core::registry::{Registry, RegistryError};
use talon_plan::desired::{BUCKET_BINDING, OBJECT_BINDING, STUB_CODE, TRY_VARIABLE};
use talon_plan::effect::{self, Answer, StepCx};
use talon_plan::status::PassFailure;
use talon_plan::step::{StepId, UploadPlan, brings_auth_token};
use talon_plan::{Plan, Step, StepKind, World};
use talon_store::{Store, StoreError};
use talon_worker::Bundle;

use crate::answers;
use crate::brake::Brake;
use crate::failure::{self, Verdict};
use crate::lease::Lease;
use crate::logbook::LogBook;
use crate::observe::Values;
use crate::tell;
use made::Made;

/// What an execution needs from the daemon.
pub struct Executor<'a> {
    /// The database.
    pub store: &'a dyn Store,
    /// Cloudflare.
    pub cloud: &'a dyn Cloud,
    /// The Router.
    pub registry: &'a dyn Registry,
    /// Where each step is told.
    pub book: &'a LogBook,
    /// The mass-change brake learns what was uploaded and deleted.
    pub brake: &'a Brake,
    /// The code.
    pub bundle: &'a Bundle,
    /// As planning sees the world.
    pub world: &'a World,
    /// Time.
    pub clock: &'a Arc<dyn Clock>,
    /// Chance.
    pub random: &'a dyn Random,
    /// How long a bucket may be emptied at a time.
    pub empty_slice: Duration,
}

/// How an execution ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The last failure.
    pub failure: Option<PassFailure>,
    /// Not before.
    pub retry_after: Option<Duration>,
    /// Whether the pass must end without another write: the lease is lost, or the daemon stops.
    pub interrupted: bool,
    /// Whether something could not be finished in its time slice and wants to go on at once.
    pub unfinished: bool,
}

enum StepError {
    Cloud(CloudError),
    /// Of several things only these refused.
    Partly {
        stays: String,
        error: CloudError,
    },
    Registry(RegistryError),
    Defect(String),
}

impl From<CloudError> for StepError {
    fn from(e: CloudError) -> Self {
        Self::Cloud(e)
    }
}

impl StepError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Cloud(e) => failure::of_cloud(e),
            Self::Partly { stays, error } => {
                let mut verdict = failure::of_cloud(error);
                for message in [&mut verdict.failure.message, &mut verdict.pass.message] {
                    *message = format!("{stays}: {message}");
                }
                verdict
            }
            Self::Registry(e) => failure::of_registry(e),
            Self::Defect(text) => failure::internal(text.clone()),
        }
    }
}

impl Executor<'_> {
    /// Executes the plan. `Err` only when the database fails or the lease is lost.
    pub async fn run(
        &self,
        lease: &Lease,
        snapshot: &Snapshot,
        plan: Plan,
        values: &Values,
        class: CallClass,
    ) -> Result<Outcome, StoreError> {
        let mut made = Made::begin(self.random, snapshot, &plan);
        let mut outcome = Outcome::default();
        let mut failed: Vec<StepId> = Vec::new();
        let mut pending: Vec<Mutation> = plan.opening;
        for mut step in plan.steps {
            if lease.stop.is_cancelled() {
                outcome.interrupted = true;
                break;
            }
            if step.after.iter().any(|s| failed.contains(s)) {
                failed.push(step.id);
                continue;
            }
            made.fill(&mut step.kind, snapshot, values);
            let cx_sha = made.auth_sha256.clone();
            let cx_try = made.try_id.clone();
            let token_name = talon_core::name::token_name(&self.world.install, snapshot.agent.id);
            let cx = StepCx {
                snapshot,
                try_id: &cx_try,
                auth_sha256: cx_sha.as_deref(),
                token_name: &token_name,
                settle: self.world.timing.settle(),
                cloud_now: self.cloud.clock_now(),
            };
            pending.extend(effect::intent(&step.kind, &cx));
            if step.kind.has_effect() && !pending.is_empty() {
                self.store.commit(&lease.claim, &pending).await?;
                tell::transition(self.book, snapshot, &pending);
                pending.clear();
            }
            let begun = self.clock.monotonic();
            let call = self.call(lease, snapshot, &step, values, &mut made, class);
            let (called, answers) = answers::heard(call).await;
            let took = self.clock.monotonic().saturating_sub(begun);
            let told = |failed: Option<&Verdict>| {
                tell::step(
                    self.book,
                    snapshot,
                    step.kind.name(),
                    &answers,
                    took,
                    failed,
                );
            };
            match called {
                Ok(answer) => {
                    if step.kind.has_effect() {
                        told(None);
                    }
                    if matches!(answer, Answer::Emptied { empty: false, .. }) {
                        outcome.unfinished = true;
                        failed.push(step.id);
                    }
                    let cloud_now = self.cloud.clock_now();
                    pending.extend(effect::done(
                        &step.kind,
                        &answer,
                        &StepCx { cloud_now, ..cx },
                    ));
                }
                Err(StepError::Registry(RegistryError::StaleEpoch)) => {
                    return Err(StoreError::StaleEpoch);
                }
                Err(error) => {
                    let verdict = error.verdict().redacted(&made.redactor(values));
                    told(Some(&verdict));
                    pending.extend(effect::failed(&step.kind, &verdict.failure, &cx));
                    outcome.retry_after = outcome.retry_after.max(verdict.retry_after);
                    outcome.failure = Some(match outcome.failure.take() {
                        Some(first) if first.stalled || !verdict.pass.stalled => first,
                        Some(_) | None => verdict.pass,
                    });
                    failed.push(step.id);
                    if verdict.failure.throttled {
                        break;
                    }
                }
            }
        }
        if !pending.is_empty() {
            self.store.commit(&lease.claim, &pending).await?;
        }
        Ok(outcome)
    }

    async fn call(
        &self,
        lease: &Lease,
        snapshot: &Snapshot,
        step: &Step,
        values: &Values,
        made: &mut Made,
        class: CallClass,
    ) -> Result<Answer, StepError> {
        let cx = CallCx {
            class,
            remaining: Some(lease.remaining(self.clock.as_ref())),
        };
        let claim = &lease.claim;
        match &step.kind {
            StepKind::Record(_) => Ok(Answer::Done),
            StepKind::CreateBucket(bucket) => self
                .cloud
                .create_bucket(cx, bucket)
                .await
                .map(|_| Answer::Done)
                .map_err(Into::into),
            StepKind::CreateToken(token) => {
                let created = self.cloud.create_token(cx, token).await?;
                made.r2_token_id = Some(created.id.clone());
                made.r2_token_value = Some(created.value);
                Ok(Answer::Token { id: created.id })
            }
            StepKind::RollToken { id, .. } => {
                made.r2_token_value = Some(self.cloud.roll_token(cx, id).await?);
                made.r2_token_id = Some(id.clone());
                Ok(Answer::Done)
            }
            StepKind::DropToken { id } => gone(self.cloud.delete_token(cx, id).await),
            StepKind::DeleteToken { ids, .. } => self.delete_tokens(lease, ids, class).await,
            StepKind::Upload(upload) => {
                let body = self.upload_body(snapshot, upload, values, made)?;
                let version = self.cloud.upload_worker(cx, &upload.worker, body).await?;
                made.auth_placed |= upload.brings_auth_token();
                self.brake.uploaded(claim.agent_id, &upload.worker);
                Ok(Answer::Version(version))
            }
            StepKind::UploadStub { worker } => {
                let marks = self.marks(snapshot, STUB_CODE, made);
                let body = talon_worker::stub::upload(marks.to_tags());
                let version = self.cloud.upload_worker(cx, worker, body).await?;
                self.brake.uploaded(claim.agent_id, worker);
                Ok(Answer::Version(version))
            }
            StepKind::EnableRoute { worker } => {
                self.cloud.set_worker_route(cx, worker, true).await?;
                Ok(Answer::Done)
            }
            StepKind::PushSecrets { worker, set, unset } => {
                let mut changes = Vec::with_capacity(set.len() + unset.len());
                for supply in set {
                    let value = Some(made.resolve(supply, values)?);
                    changes.push(SecretChange {
                        name: supply.name.clone(),
                        value,
                    });
                }
                changes.extend(unset.iter().map(|name| SecretChange {
                    name: name.clone(),
                    value: None,
                }));
                let version = self.cloud.change_secrets(cx, worker, changes).await?;
                made.auth_placed |= brings_auth_token(set);
                Ok(Answer::Version(version))
            }
            StepKind::RegisterCard(card) => {
                let done = self
                    .registry
                    .register(claim.agent_id, claim.epoch, card)
                    .await;
                done.map(|()| Answer::Done).map_err(StepError::Registry)
            }
            StepKind::DeleteWorker { worker } => {
                self.brake.deleted(claim.agent_id);
                gone(self.cloud.delete_worker(cx, worker).await)
            }
            StepKind::EmptyBucket(bucket) => self.empty(lease, bucket, class).await,
            StepKind::DeleteBucket(bucket) => gone(self.cloud.delete_bucket(cx, bucket).await),
            StepKind::DeregisterCard => {
                match self.registry.deregister(claim.agent_id, claim.epoch).await {
                    Ok(true) => Ok(Answer::Done),
                    Ok(false) => Ok(Answer::WasAbsent),
                    Err(e) => Err(StepError::Registry(e)),
                }
            }
        }
    }

    fn marks(&self, snapshot: &Snapshot, code: &str, made: &Made) -> WorkerMarks {
        WorkerMarks {
            install: self.world.install.clone(),
            agent: snapshot.agent.id,
            code: code.to_owned(),
            try_id: made.try_id.clone(),
        }
    }

    fn upload_body(
        &self,
        snapshot: &Snapshot,
        upload: &UploadPlan,
        values: &Values,
        made: &Made,
    ) -> Result<WorkerUpload, StepError> {
        let manifest = &self.bundle.manifest;
        let text = |name: &str, text: &str| Binding::PlainText {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let mut bindings: Vec<Binding> = upload.plain.iter().map(|(k, v)| text(k, v)).collect();
        bindings.push(text(TRY_VARIABLE, made.try_id.as_str()));
        bindings.push(Binding::R2Bucket {
            name: BUCKET_BINDING.to_owned(),
            bucket: upload.bucket.name.clone(),
            jurisdiction: upload.bucket.jurisdiction,
        });
        bindings.push(Binding::DurableObject {
            name: OBJECT_BINDING.to_owned(),
            class_name: manifest.durable_object_class.clone(),
        });
        for supply in &upload.supply {
            let value = made.resolve(supply, values)?;
            bindings.push(Binding::SecretText {
                name: supply.name.clone(),
                value,
            });
        }
        for name in &upload.inherit {
            bindings.push(Binding::Inherit {
                name: name.clone(),
                version_id: upload.inherit_version.clone(),
            });
        }
        let marks = self.marks(snapshot, &upload.code, made);
        Ok(WorkerUpload {
            main_module: manifest.main_module.clone(),
            modules: self.bundle.modules(&upload.identity_md),
            bindings,
            compatibility_date: manifest.compatibility_date.clone(),
            compatibility_flags: manifest.compatibility_flags.clone(),
            migration: upload.migrate.then(|| Migration {
                new_tag: manifest.migration_tag.clone(),
                new_sqlite_classes: vec![manifest.durable_object_class.clone()],
            }),
            tags: marks.to_tags(),
        })
    }

    /// Removes tokens, each on its own: one that stays keeps none of the others.
    async fn delete_tokens(
        &self,
        lease: &Lease,
        ids: &[String],
        class: CallClass,
    ) -> Result<Answer, StepError> {
        let mut removed = false;
        let mut stays: Vec<&str> = Vec::new();
        let mut why = None;
        for id in ids {
            let cx = CallCx {
                class,
                remaining: Some(lease.remaining(self.clock.as_ref())),
            };
            match self.cloud.delete_token(cx, id).await {
                Ok(()) => removed = true,
                Err(CloudError::NotFound(_)) => {}
                Err(e @ CloudError::Throttled { .. }) => return Err(e.into()),
                Err(e) => {
                    stays.push(id);
                    why.get_or_insert(e);
                }
            }
        }
        match why {
            None if removed => Ok(Answer::Done),
            None => Ok(Answer::WasAbsent),
            Some(error) if ids.len() == 1 => Err(error.into()),
            Some(error) => Err(StepError::Partly {
                stays: stays.join(", "),
                error,
            }),
        }
    }

    /// Empties a bucket for one time slice: page by page, then unfinished uploads.
    async fn empty(
        &self,
        lease: &Lease,
        bucket: &BucketRef,
        class: CallClass,
    ) -> Result<Answer, StepError> {
        let begun = self.clock.monotonic();
        let mut removed = 0u64;
        loop {
            let cx = CallCx {
                class,
                remaining: Some(lease.remaining(self.clock.as_ref())),
            };
            let page = match self.cloud.list_objects(cx, bucket).await {
                Ok(page) => page,
                Err(CloudError::NotFound(_)) => return Ok(Answer::WasAbsent),
                Err(e) => return Err(e.into()),
            };
            if page.keys.is_empty() {
                break;
            }
            let left = self.cloud.delete_objects(cx, bucket, &page.keys).await?;
            removed += page.keys.len().saturating_sub(left.len()) as u64;
            if left.len() >= page.keys.len() {
                return Err(StepError::Cloud(CloudError::Transient(
                    talon_core::cloud::ApiMessage {
                        call: "S3 DeleteObjects",
                        http: None,
                        code: None,
                        message: format!("none of {} objects could be removed", left.len()),
                        ray: None,
                    },
                )));
            }
            let spent = self.clock.monotonic().saturating_sub(begun);
            if spent >= self.empty_slice || lease.stop.is_cancelled() {
                return Ok(Answer::Emptied {
                    removed,
                    empty: false,
                });
            }
        }
        let cx = CallCx {
            class,
            remaining: Some(lease.remaining(self.clock.as_ref())),
        };
        for upload in self.cloud.list_uploads(cx, bucket).await? {
            match self.cloud.abort_upload(cx, bucket, &upload).await {
                Ok(()) | Err(CloudError::NotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Answer::Emptied {
            removed,
            empty: true,
        })
    }
}

/// A deletion: what was not there counts as done.
fn gone(answer: Result<(), CloudError>) -> Result<Answer, StepError> {
    match answer {
        Ok(()) => Ok(Answer::Done),
        Err(CloudError::NotFound(_)) => Ok(Answer::WasAbsent),
        Err(e) => Err(e.into()),
    }
}
