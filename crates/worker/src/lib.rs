//! The Worker bundle that gets deployed: its sources stand in `runtime/`, this is their Rust side.
//!
//! The bundle here is a placeholder with the final bindings: it answers `/healthz` and nothing else, so that the whole
//! life of an agent's resources can be driven before the runtime itself exists.

use sha2::{Digest, Sha256};
use talon_core::bundle::{BundleManifest, OBJECT_BINDING};
use talon_core::cloud::{Binding, Migration, Module, WorkerUpload};

/// Name of the text module that holds the agent's identity.
pub const IDENTITY_MODULE: &str = "IDENTITY.md";

/// A bundle, ready to be uploaded with any agent's identity.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: BundleManifest,
    source: String,
}

impl Bundle {
    /// The bundle that this binary carries.
    pub fn embedded() -> Self {
        Self::from_source("placeholder", include_str!("../runtime/worker.js"))
    }

    /// A bundle from the text of its main module.
    pub fn from_source(engine: &str, source: &str) -> Self {
        Self {
            manifest: BundleManifest {
                sha256: hex::encode(Sha256::digest(source.as_bytes())),
                engine: engine.to_owned(),
                main_module: "worker.js".to_owned(),
                compatibility_date: "2026-11-01".to_owned(),
                compatibility_flags: vec!["nodejs_compat".to_owned()],
                durable_object_class: "OpenClawAgent".to_owned(),
                migration_tag: "v1".to_owned(),
            },
            source: source.to_owned(),
        }
    }

    /// An upload of this bundle. Its Durable Object is bound; the migration that makes it goes along on wish, as it
    /// may with the first upload only.
    pub fn upload(
        &self,
        identity_md: &str,
        mut bindings: Vec<Binding>,
        tags: Vec<String>,
        migrate: bool,
    ) -> WorkerUpload {
        let manifest = &self.manifest;
        bindings.push(Binding::DurableObject {
            name: OBJECT_BINDING.to_owned(),
            class_name: manifest.durable_object_class.clone(),
        });
        WorkerUpload {
            main_module: manifest.main_module.clone(),
            modules: self.modules(identity_md),
            bindings,
            compatibility_date: manifest.compatibility_date.clone(),
            compatibility_flags: manifest.compatibility_flags.clone(),
            migration: migrate.then(|| Migration {
                new_tag: manifest.migration_tag.clone(),
                new_sqlite_classes: vec![manifest.durable_object_class.clone()],
            }),
            tags,
        }
    }

    /// The modules of an upload.
    pub fn modules(&self, identity_md: &str) -> Vec<Module> {
        vec![
            Module {
                name: self.manifest.main_module.clone(),
                content_type: "application/javascript+module",
                body: self.source.clone().into_bytes(),
            },
            Module {
                name: IDENTITY_MODULE.to_owned(),
                content_type: "text/plain",
                body: identity_md.as_bytes().to_vec(),
            },
        ]
    }
}
