//! What a runtime bundle says of itself: everything the planner needs to know about the code that gets deployed.

use serde::{Deserialize, Serialize};

/// Name of the Durable Object's binding in the Worker's `env`.
pub const OBJECT_BINDING: &str = "AGENT";

/// The manifest of a Worker bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleManifest {
    /// SHA-256 of the main module, hex.
    pub sha256: String,
    /// For people: which engine, which version.
    pub engine: String,
    /// Name of the main module.
    pub main_module: String,
    /// Compatibility date of the upload.
    pub compatibility_date: String,
    /// Compatibility flags of the upload.
    pub compatibility_flags: Vec<String>,
    /// The exported Durable Object class.
    pub durable_object_class: String,
    /// The migration tag that stands for this class.
    pub migration_tag: String,
}
