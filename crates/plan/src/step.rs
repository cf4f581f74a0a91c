//! The vocabulary of plans: steps, needs, blocks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::card::AgentCard;
use talon_core::cloud::{BucketRef, NewBucket, NewToken};
use talon_core::condition::Reason;
use talon_core::mutation::Mutation;
use talon_core::resource::ResourceKind;
use talon_core::secret::SecretRef;

use crate::input::{Held, HeldScope};
use crate::knock::Knock;
use crate::know::Facts;
use crate::report::{Action, Verdict};

/// What is to be done for one agent, in order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What was decided for each resource, and why.
    pub verdicts: Vec<Verdict>,
    /// Written before the first step.
    pub opening: Vec<Mutation>,
    /// In an order in which every step comes after those it depends on.
    pub steps: Vec<Step>,
    /// What must be looked at before more can be decided.
    pub needs: Vec<Need>,
    /// Why nothing can be done, if that is so.
    pub block: Option<Block>,
    /// Why effects were taken out of this plan, if they were.
    pub held: Option<Held>,
    /// When to come back although nothing is to be done now.
    pub recheck_in: Option<Duration>,
    /// Whether the Worker itself is to be spoken to; no part of what makes the agent deployed.
    pub knock: Knock,
    /// What is known of each resource.
    pub facts: Facts,
}

impl Plan {
    /// Whether reality is as desired, as far as is known: nothing to do, to look at, or to wait for. Whether the Worker
    /// has been spoken to is not asked.
    pub fn is_converged(&self) -> bool {
        self.steps.is_empty()
            && self.opening.is_empty()
            && self.needs.is_empty()
            && self.block.is_none()
            && self.held.is_none()
            && self.recheck_in.is_none()
    }

    /// The writes that archive the row, if the plan is to do so: it then has no other step. They go into the database
    /// together with the status, so that no crash leaves an archived row that tells of something else.
    pub fn archiving(&self) -> Option<&[Mutation]> {
        self.steps.iter().find_map(|s| match &s.kind {
            StepKind::Record(writes) if writes.contains(&Mutation::Archive) => {
                Some(writes.as_slice())
            }
            _ => None,
        })
    }

    /// Takes out the steps that are withheld.
    pub(crate) fn withhold(mut self, held: &Held, deleting: bool) -> Self {
        let risky = |step: &Step| match held.scope {
            HeldScope::All => true,
            HeldScope::Risky => deleting || step.rebuilds || step.kind.destroys(),
        };
        let before = self.steps.len();
        let mut gone: Vec<StepId> = Vec::new();
        self.steps.retain(|step| {
            let out = step.kind.has_effect()
                && (risky(step) || step.after.iter().any(|a| gone.contains(a)));
            if out {
                gone.push(step.id);
            }
            !out
        });
        if self.steps.len() != before {
            for verdict in &mut self.verdicts {
                if !matches!(verdict.action, Action::Keep) {
                    verdict.action = Action::Wait;
                    verdict.why = format!("held ({}): {}", held.reason, verdict.why);
                }
            }
            if !self.steps.iter().any(|s| s.kind.has_effect()) {
                self.opening.clear();
            }
            self.held = Some(held.clone());
        }
        self
    }
}

/// Identifies a step within its plan.
pub type StepId = u8;

/// One effect, or one record to be put right.
#[derive(Debug, Clone)]
pub struct Step {
    /// Unique within the plan.
    pub id: StepId,
    /// What to do.
    pub kind: StepKind,
    /// Which steps must have succeeded before.
    pub after: Vec<StepId>,
    /// Whether it makes again what was there before (the brake stops these).
    pub rebuilds: bool,
    /// For people.
    pub why: String,
}

/// What a step does. Each but `Record` is exactly one mutating call, apart from `EmptyBucket`, which makes as many as
/// fit in its time slice, and `DeleteToken`, which makes one for each token.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Writes records that were found to lag behind reality; no call.
    Record(Vec<Mutation>),
    /// Makes the bucket.
    CreateBucket(NewBucket),
    /// Makes the R2 token.
    CreateToken(NewToken),
    /// Gives the R2 token a new value, because the old one is lost.
    RollToken {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Removes a token of our name that is not the recorded one.
    DropToken {
        /// Its id.
        id: String,
    },
    /// Uploads the Worker.
    Upload(Box<UploadPlan>),
    /// Makes a Worker that holds keys until the real upload inherits them: it answers nothing and has no address.
    UploadStub {
        /// Script name.
        worker: String,
    },
    /// Switches the workers.dev address on.
    EnableRoute {
        /// Script name.
        worker: String,
    },
    /// Changes secrets in one call.
    PushSecrets {
        /// Script name.
        worker: String,
        /// To set.
        set: Vec<Supply>,
        /// To remove.
        unset: Vec<String>,
    },
    /// Registers the card. The executor puts in the hash of the auth token that is current by then.
    RegisterCard(Box<AgentCard>),
    /// Removes the Worker.
    DeleteWorker {
        /// Script name.
        worker: String,
    },
    /// Removes objects and unfinished uploads, for one time slice.
    EmptyBucket(BucketRef),
    /// Removes the bucket.
    DeleteBucket(BucketRef),
    /// Removes the R2 token, and every other of its name: one result for all of them, so that none that stays is
    /// forgotten over another that is gone.
    DeleteToken {
        /// Their ids.
        ids: Vec<String>,
        /// Their name.
        name: String,
    },
    /// Removes the card.
    DeregisterCard,
}

impl StepKind {
    /// Whether it touches the world outside the database's records.
    pub fn has_effect(&self) -> bool {
        !matches!(self, Self::Record(_))
    }

    /// Whether it destroys something.
    pub fn destroys(&self) -> bool {
        match self {
            Self::DropToken { .. }
            | Self::DeleteWorker { .. }
            | Self::EmptyBucket(_)
            | Self::DeleteBucket(_)
            | Self::DeleteToken { .. }
            | Self::DeregisterCard => true,
            Self::Record(_)
            | Self::CreateBucket(_)
            | Self::CreateToken(_)
            | Self::RollToken { .. }
            | Self::Upload(_)
            | Self::UploadStub { .. }
            | Self::EnableRoute { .. }
            | Self::PushSecrets { .. }
            | Self::RegisterCard(_) => false,
        }
    }

    /// Which resource it is about.
    pub fn resource(&self) -> ResourceKind {
        match self {
            Self::CreateBucket(_) | Self::DeleteBucket(_) => ResourceKind::R2Bucket,
            Self::EmptyBucket(_) => ResourceKind::R2Objects,
            Self::CreateToken(_)
            | Self::RollToken { .. }
            | Self::DropToken { .. }
            | Self::DeleteToken { .. } => ResourceKind::R2Token,
            Self::EnableRoute { .. } => ResourceKind::WorkerRoute,
            Self::RegisterCard(_) | Self::DeregisterCard => ResourceKind::AgentCard,
            Self::Record(_)
            | Self::Upload(_)
            | Self::UploadStub { .. }
            | Self::PushSecrets { .. }
            | Self::DeleteWorker { .. } => ResourceKind::Worker,
        }
    }

    /// A short name for logs, events and the report.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record(_) => "record",
            Self::CreateBucket(_) => "create-bucket",
            Self::CreateToken(_) => "create-token",
            Self::RollToken { .. } => "roll-token",
            Self::DropToken { .. } => "drop-token",
            Self::Upload(_) => "upload",
            Self::UploadStub { .. } => "upload-stub",
            Self::EnableRoute { .. } => "enable-route",
            Self::PushSecrets { .. } => "push-secrets",
            Self::RegisterCard(_) => "register-card",
            Self::DeleteWorker { .. } => "delete-worker",
            Self::EmptyBucket(_) => "empty-bucket",
            Self::DeleteBucket(_) => "delete-bucket",
            Self::DeleteToken { .. } => "delete-token",
            Self::DeregisterCard => "deregister-card",
        }
    }
}

/// Everything an upload says, apart from secret values and the try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadPlan {
    /// Script name.
    pub worker: String,
    /// Hash of what is baked in; becomes the `code-` tag.
    pub code: String,
    /// The text module.
    pub identity_md: String,
    /// Plain variables, without `TALON_TRY`.
    pub plain: Vec<(String, String)>,
    /// The bucket to bind.
    pub bucket: BucketRef,
    /// Secrets to send.
    pub supply: Vec<Supply>,
    /// Secrets to take over from what is live.
    pub inherit: Vec<String>,
    /// From this version rather than the latest.
    pub inherit_version: Option<String>,
    /// Whether the Durable Object migration is to be sent.
    pub migrate: bool,
    /// Whether there is no Worker yet (its address must then be switched on).
    pub fresh: bool,
}

impl UploadPlan {
    /// Whether it carries a new auth token (and so makes a candidate).
    pub fn brings_auth_token(&self) -> bool {
        brings_auth_token(&self.supply)
    }
}

/// Whether these supplies bring a new auth token.
pub fn brings_auth_token(supply: &[Supply]) -> bool {
    supply
        .iter()
        .any(|s| matches!(s.source, SupplySource::AuthToken))
}

/// One secret to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// Name on the Worker.
    pub name: String,
    /// Where its value comes from.
    pub source: SupplySource,
    /// Its fingerprint, where it is known before.
    pub fingerprint: Option<String>,
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupplySource {
    /// A reference of the row.
    Reference {
        /// Whose key it is.
        provider: String,
        /// Where it is read.
        reference: SecretRef,
    },
    /// Handed in over HTTP for this call, and kept nowhere.
    WriteThrough {
        /// Whose key it is.
        provider: String,
    },
    /// A text that is not secret by itself: model, keep-alive, revision.
    Text(String),
    /// Derived from the install key.
    ControlToken,
    /// Made anew for this call.
    AuthToken,
    /// Id of the R2 token.
    R2AccessKeyId,
    /// Derived from the value the R2 token got in this pass.
    R2SecretAccessKey,
}

/// Something that must be looked at before more can be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Lists that were fetched after this moment (database clock); it may lie ahead.
    ListsAfter(DateTime<Utc>),
    /// The Worker's settings.
    Settings,
    /// The names of the Worker's secrets.
    SecretNames,
}

/// Why nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// In one word.
    pub reason: Reason,
    /// For people; says what to do.
    pub message: String,
    /// What it is about.
    pub at: String,
    /// Whether a person is needed.
    pub stalled: bool,
}
