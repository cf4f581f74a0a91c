//! The seam where uploaded code is run. The simulator itself only keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use talon_core::secret::SecretValue;

use crate::r2_binding::Door;
use crate::tails::Traces;

/// A module of a deployed version.
#[derive(Debug, Clone)]
pub struct RunModule {
    /// Name by which other modules import it.
    pub name: String,
    /// `application/javascript+module`, `text/plain`, …
    pub content_type: String,
    /// The content.
    pub body: Bytes,
}

/// A binding of a deployed version.
#[derive(Debug, Clone)]
pub struct RunBinding {
    /// Name in `env`.
    pub name: String,
    /// Cloudflare's type word.
    pub kind: String,
    /// The other fields as they were uploaded; no secret among them.
    pub fields: Map<String, Value>,
    /// The value of a `secret_text`.
    pub secret: Option<Arc<SecretValue>>,
}

/// A Durable Object class of a Worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClass {
    /// Whether its storage is SQLite.
    pub sqlite: bool,
    /// Stays the same when the class is renamed.
    pub namespace_id: String,
}

/// What serves requests after a deployment.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// Version id.
    pub version_id: String,
    /// The entry module.
    pub main_module: String,
    /// All modules.
    pub modules: Vec<RunModule>,
    /// All bindings.
    pub bindings: Vec<RunBinding>,
    /// Compatibility date.
    pub compatibility_date: String,
    /// Compatibility flags.
    pub compatibility_flags: Vec<String>,
    /// Durable Object classes of the Worker.
    pub classes: BTreeMap<String, RunClass>,
}

/// What a simulator offers to code that runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// The R2 buckets.
    pub(crate) r2: Door,
    /// Where what Workers print is passed on.
    pub(crate) traces: Traces,
}

/// A running Worker.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Where it speaks plain HTTP.
    pub address: SocketAddr,
    /// To be kept until the answer is complete: a Worker in use is not put to rest.
    pub in_use: Arc<()>,
}

/// Why a Worker that is there does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRunning {
    /// Nothing on this machine can run Workers; says why.
    #[error("Workers are not run here: {0}")]
    NoRuntime(String),
    /// It does not start or ended at once; says what it printed.
    #[error("the Worker does not start: {0}")]
    Broken(String),
    /// Not known to the runner, or gone meanwhile.
    #[error("there is no such Worker")]
    Gone,
}

/// What is wrong with uploaded code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// It does not start; what it threw, or why it did not get so far.
    DoesNotStart(String),
    /// It does not export this Durable Object class, which it is to have.
    LacksClass(String),
}

/// Told about every change of what is live, one at a time and in order, and asked when somebody wants a Worker.
#[async_trait]
pub trait Runner: Send + Sync {
    /// `worker` now runs `version` (first upload, new upload, new secrets, another version chosen). Must return quickly;
    /// may call back into the simulator's handle.
    fn deployed(&self, worker: &str, version: &Deployed);

    /// `worker` is gone. Must return quickly.
    fn deleted(&self, worker: &str);

    /// Whether it runs anything at all: if not, nothing is set up for it.
    fn runs_code(&self) -> bool {
        false
    }

    /// The simulator is about to serve. Called once, before everything else, inside of a tokio runtime.
    fn attached(&self, _host: Host) {}

    /// Whether a version that is about to be uploaded starts.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn validate(&self, _worker: &str, _version: &Deployed) -> Result<(), Complaint> {
        Ok(())
    }

    /// A live Worker, started if need be.
    ///
    /// # Errors
    /// It does not run.
    async fn reach(&self, _worker: &str) -> Result<Reached, NotRunning> {
        Err(NotRunning::NoRuntime(
            "this simulator was started without a runtime".to_owned(),
        ))
    }

    /// The simulator stops: so must everything that runs.
    async fn shutdown(&self) {}
}

/// Runs nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoRunner;

#[async_trait]
impl Runner for NoRunner {
    fn deployed(&self, _worker: &str, _version: &Deployed) {}
    fn deleted(&self, _worker: &str) {}
}

/// A change that the runner has yet to hear of.
#[derive(Debug)]
pub(crate) enum RunnerEvent {
    /// See [`Runner::deployed`].
    Deployed(String, Deployed),
    /// See [`Runner::deleted`].
    Deleted(String),
}

impl RunnerEvent {
    pub(crate) fn tell(&self, runner: &dyn Runner) {
        match self {
            Self::Deployed(worker, version) => runner.deployed(worker, version),
            Self::Deleted(worker) => runner.deleted(worker),
        }
    }
}
