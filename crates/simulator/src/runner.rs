//! The seam where uploaded code will be run. The simulator itself only keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use talon_core::secret::SecretValue;

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
    /// Durable Object classes of the Worker; `true` for those with SQLite storage.
    pub classes: BTreeMap<String, bool>,
}

/// Told about every change of what is live, one at a time and in order. Must return quickly and may call back into the
/// simulator's handle.
pub trait Runner: Send + Sync {
    /// `worker` now runs `version` (first upload, new upload, new secrets, another version chosen).
    fn deployed(&self, worker: &str, version: &Deployed);
    /// `worker` is gone.
    fn deleted(&self, worker: &str);
}

/// Runs nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoRunner;

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
