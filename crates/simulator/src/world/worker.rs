//! Workers, their versions and deployments.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::World;
use super::binding::Binding;
use crate::reply::{ApiError, Handled};
use crate::runner::{Deployed, RunClass, RunModule, RunnerEvent};

/// A module as it was uploaded.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// An immutable version: code, bindings and settings that go with them.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) created_on: DateTime<Utc>,
    /// What made it: `api`, `wrangler`, `secret`.
    pub(crate) source: &'static str,
    pub(crate) main_module: String,
    /// Whether it is in module syntax.
    pub(crate) has_modules: bool,
    pub(crate) modules: Arc<Vec<Module>>,
    pub(crate) etag: String,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) compatibility_date: String,
    pub(crate) compatibility_flags: Vec<String>,
    pub(crate) usage_model: String,
    pub(crate) limits: Option<Value>,
    pub(crate) placement: Option<Value>,
    pub(crate) annotations: Map<String, Value>,
}

/// Which versions serve, since when.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) created_on: DateTime<Utc>,
    pub(crate) versions: Vec<(String, f64)>,
    pub(crate) annotations: Map<String, Value>,
}

/// A Durable Object class that a migration has declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) sqlite: bool,
    pub(crate) namespace_id: String,
}

impl Class {
    /// What the runner gets to see.
    pub(crate) fn run(&self) -> RunClass {
        RunClass {
            sqlite: self.sqlite,
            namespace_id: self.namespace_id.clone(),
        }
    }
}

/// A Worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) name: String,
    /// Immutable id.
    pub(crate) tag: String,
    pub(crate) created_on: DateTime<Utc>,
    pub(crate) modified_on: DateTime<Utc>,
    /// `None`: never set.
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) migration_tag: Option<String>,
    pub(crate) classes: BTreeMap<String, Class>,
    pub(crate) logpush: bool,
    pub(crate) observability: Option<Value>,
    pub(crate) tail_consumers: Option<Value>,
    /// Whether workers.dev serves it.
    pub(crate) enabled: bool,
    pub(crate) previews_enabled: bool,
    pub(crate) schedules: Vec<(String, DateTime<Utc>)>,
    /// Oldest first; never empty.
    pub(crate) versions: Vec<Arc<Version>>,
    /// Oldest first; never empty.
    pub(crate) deployments: Vec<Arc<Deployment>>,
}

impl Worker {
    /// The newest version.
    pub(crate) fn latest(&self) -> Option<&Arc<Version>> {
        self.versions.last()
    }

    /// A version by its id, with or without hyphens.
    pub(crate) fn version(&self, id: &str) -> Option<&Arc<Version>> {
        self.versions
            .iter()
            .find(|v| v.id == id || v.id.replace('-', "") == id)
    }

    /// The version that serves most requests.
    pub(crate) fn live(&self) -> Option<&Arc<Version>> {
        let deployment = self.deployments.last()?;
        let (id, _) = deployment
            .versions
            .iter()
            .max_by(|a, b| a.1.total_cmp(&b.1))?;
        self.version(id)
    }

    /// Whether the newest version is one of those that serve.
    pub(crate) fn latest_is_deployed(&self) -> bool {
        match (self.latest(), self.deployments.last()) {
            (Some(latest), Some(d)) => d.versions.iter().any(|(id, _)| *id == latest.id),
            (Some(_), None) | (None, Some(_) | None) => false,
        }
    }

    /// What the runner gets to see.
    pub(crate) fn deployed(&self) -> Option<Deployed> {
        Some(self.live()?.run(&self.classes))
    }
}

impl Version {
    /// What the runner gets to see of it, with the Worker's classes.
    pub(crate) fn run(&self, classes: &BTreeMap<String, Class>) -> Deployed {
        Deployed {
            version_id: self.id.clone(),
            main_module: self.main_module.clone(),
            modules: self
                .modules
                .iter()
                .map(|m| RunModule {
                    name: m.name.clone(),
                    content_type: m.content_type.clone(),
                    body: m.body.clone(),
                })
                .collect(),
            bindings: self.bindings.iter().map(Binding::run).collect(),
            compatibility_date: self.compatibility_date.clone(),
            compatibility_flags: self.compatibility_flags.clone(),
            classes: classes
                .iter()
                .map(|(name, class)| (name.clone(), class.run()))
                .collect(),
        }
    }
}

/// Hash of the code alone: secrets and settings do not change it.
pub(crate) fn etag(main_module: &str, modules: &[Module]) -> String {
    let mut sorted: Vec<&Module> = modules.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    hash.update(main_module);
    for module in sorted {
        for part in [
            module.name.as_bytes(),
            module.content_type.as_bytes(),
            &module.body,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hex::encode(hash.finalize())
}

impl World {
    /// Adds a version to a Worker and, if `live`, lets it serve everything.
    pub(crate) fn add_version(
        &mut self,
        name: &str,
        version: Version,
        live: bool,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Version>> {
        let version = Arc::new(version);
        let deployment = live.then(|| {
            Arc::new(Deployment {
                id: self.chance.uuid(),
                created_on: now,
                versions: vec![(version.id.clone(), 100.0)],
                annotations: version.annotations.clone(),
            })
        });
        let worker = self
            .change(now)
            .worker_mut(name)
            .ok_or_else(ApiError::no_worker)?;
        worker.versions.push(Arc::clone(&version));
        if let Some(deployment) = deployment {
            worker.deployments.push(deployment);
            worker.modified_on = now;
            self.announce(name);
        }
        Ok(version)
    }

    /// Queues what is live now for the runner.
    pub(crate) fn announce(&mut self, name: &str) {
        let deployed = self.catalog().workers.get(name).and_then(|w| w.deployed());
        if let Some(deployed) = deployed {
            self.events
                .push_back(RunnerEvent::Deployed(name.to_owned(), deployed));
        }
    }

    /// Makes one or more versions serve.
    pub(crate) fn deploy(
        &mut self,
        name: &str,
        versions: Vec<(String, f64)>,
        annotations: Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Deployment>> {
        let worker = self
            .catalog()
            .workers
            .get(name)
            .ok_or_else(ApiError::no_worker)?;
        if let Some((id, _)) = versions.iter().find(|(id, _)| worker.version(id).is_none()) {
            return Err(ApiError::new(
                404,
                100_146,
                format!("Version {id} does not exist."),
            ));
        }
        let total: f64 = versions.iter().map(|(_, p)| p).sum();
        if versions.is_empty() || (total - 100.0).abs() > 0.01 {
            return Err(ApiError::invalid_script(
                "The percentages of a deployment must add up to 100.",
            ));
        }
        let deployment = Arc::new(Deployment {
            id: self.chance.uuid(),
            created_on: now,
            versions,
            annotations,
        });
        if let Some(worker) = self.change(now).worker_mut(name) {
            worker.deployments.push(Arc::clone(&deployment));
            worker.modified_on = now;
        }
        self.announce(name);
        Ok(deployment)
    }

    /// Removes a Worker. Without `force` it must not be bound by others nor own Durable Objects.
    pub(crate) fn delete_worker(
        &mut self,
        name: &str,
        force: bool,
        now: DateTime<Utc>,
    ) -> Handled<()> {
        let worker = self
            .catalog()
            .workers
            .get(name)
            .ok_or_else(ApiError::no_worker)?;
        if !force {
            let bound = self.catalog().workers.values().any(|other| {
                other.name != name
                    && other
                        .live()
                        .is_some_and(|v| v.bindings.iter().any(|b| b.refers_to(name)))
            });
            if bound || !worker.classes.is_empty() {
                return Err(ApiError::new(
                    400,
                    10064,
                    "Cannot delete this Worker as it is still referenced by other Workers or has Durable Objects. Use force to delete them too.",
                ));
            }
        }
        self.remove_worker(name, now);
        Ok(())
    }

    /// Removes a Worker whatever refers to it; returns whether it was there.
    pub(crate) fn remove_worker(&mut self, name: &str, now: DateTime<Utc>) -> bool {
        let removed = self.change(now).workers.remove(name).is_some();
        if removed {
            self.events.push_back(RunnerEvent::Deleted(name.to_owned()));
        }
        removed
    }
}
