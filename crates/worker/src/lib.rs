//! The Worker bundle that gets deployed: its sources stand in `runtime/` (TypeScript, with a build and tests of their
//! own), this is their Rust side. [`Bundle`] is what gets uploaded; [`workshop::Workshop`] finds and builds it.
//!
//! Nothing third-party and no built bundle is in the repository. Whoever builds only the Rust code gets a placeholder
//! with the final bindings, which answers `/healthz` and nothing else.

use std::path::Path;

use sha2::{Digest, Sha256};
use talon_core::bundle::{BundleManifest, OBJECT_BINDING};
use talon_core::cloud::{Binding, Migration, Module, WorkerUpload};

pub mod stub;
pub mod workshop;

mod carried {
    //! What the binary carries; written by `build.rs`.
    include!(concat!(env!("OUT_DIR"), "/carried.rs"));
}

/// Name of the text module that holds the agent's identity.
pub const IDENTITY_MODULE: &str = "IDENTITY.md";
/// Name of the manifest in a bundle's folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Variable that names a built bundle to tests of the runtime, and to the build of a release.
pub const BUNDLE_VARIABLE: &str = "TALON_WORKER_BUNDLE_DIR";

const PLACEHOLDER: &str = "placeholder";

/// A bundle, ready to be uploaded with any agent's identity.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: BundleManifest,
    source: String,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file is missing or unreadable.
    #[error("{file}: {error}")]
    Unreadable {
        /// Which one.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// The manifest is not one.
    #[error("{MANIFEST_FILE} is not a bundle's manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The module is not the one that the manifest describes.
    #[error("{module} is not the file that {MANIFEST_FILE} describes (sha256 differs)")]
    Changed {
        /// Name of the module.
        module: String,
    },
}

impl Bundle {
    /// The bundle that this binary carries: the runtime in a release, otherwise the placeholder.
    pub fn embedded() -> Self {
        carried::PREBUILT
            .and_then(|(manifest, source)| Self::checked(manifest, source.to_owned()).ok())
            .unwrap_or_else(Self::placeholder)
    }

    /// The final bindings and no behaviour: lets the whole life of an agent's resources be driven without npm.
    pub fn placeholder() -> Self {
        Self::from_source(PLACEHOLDER, include_str!("placeholder.js"))
    }

    /// Whether no agent will ever answer with this bundle.
    pub fn is_placeholder(&self) -> bool {
        self.manifest.engine == PLACEHOLDER
    }

    /// A bundle from the text of its main module.
    pub fn from_source(engine: &str, source: &str) -> Self {
        Self {
            manifest: BundleManifest {
                sha256: sha256(source),
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

    /// The bundle in a folder, as the build leaves it. Fails if its module is not the one that its manifest describes.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        let read = |name: &str| {
            let file = dir.join(name);
            std::fs::read_to_string(&file).map_err(|error| BundleError::Unreadable {
                file: file.display().to_string(),
                error,
            })
        };
        let manifest = read(MANIFEST_FILE)?;
        let named: BundleManifest = serde_json::from_str(&manifest)?;
        Self::checked(&manifest, read(&named.main_module)?)
    }

    fn checked(manifest: &str, source: String) -> Result<Self, BundleError> {
        let manifest: BundleManifest = serde_json::from_str(manifest)?;
        if manifest.sha256 != sha256(&source) {
            return Err(BundleError::Changed {
                module: manifest.main_module,
            });
        }
        Ok(Self { manifest, source })
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

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let manifest = Bundle::from_source("engine 1", "export default {};").manifest;
        let json = serde_json::to_string(&manifest).expect("JSON");
        std::fs::write(dir.path().join(MANIFEST_FILE), json).expect("written");
        std::fs::write(dir.path().join("worker.js"), source).expect("written");
        dir
    }

    #[test]
    fn a_folder_is_read_back() {
        let dir = written("export default {};");
        let bundle = Bundle::load(dir.path()).expect("a bundle");
        assert_eq!(bundle.manifest.engine, "engine 1");
        assert!(!bundle.is_placeholder());
        assert_eq!(bundle.modules("me")[0].body, b"export default {};");
    }

    #[test]
    fn a_changed_module_is_refused() {
        let dir = written("export default { evil };");
        let error = Bundle::load(dir.path()).expect_err("must be refused");
        assert!(matches!(error, BundleError::Changed { .. }), "{error}");
    }

    #[test]
    fn a_folder_without_a_bundle_says_which_file_is_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = Bundle::load(dir.path()).expect_err("nothing there");
        assert!(error.to_string().contains(MANIFEST_FILE), "{error}");
    }
}
