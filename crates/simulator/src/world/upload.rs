//! Uploads, new versions, settings and secrets: everything that makes a version.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use talon_core::secret::SecretValue;

use super::binding::{self, Binding, Source};
use super::metadata::{Metadata, Submission};
use super::worker::{Version, Worker, etag};
use super::{World, migration};
use crate::reply::{ApiError, Handled};
use crate::runner::Deployed;

/// How a version is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// `bindings_inherit=strict`.
    pub(crate) strict: bool,
    /// Who made it, for `source`.
    pub(crate) source: &'static str,
}

impl World {
    /// Creates or replaces a Worker, live at once.
    pub(crate) fn upload(
        &mut self,
        name: &str,
        upload: Submission,
        terms: Terms,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Version>> {
        check_name(name)?;
        let existing = self.catalog().workers.get(name).cloned();
        if existing.is_none() && self.catalog().workers.len() >= self.max_workers {
            return Err(ApiError::new(
                403,
                10037,
                format!(
                    "You have exceeded the limit of {} Workers on your account.",
                    self.max_workers
                ),
            ));
        }
        let (classes, migration_tag) = migration::apply(
            existing.as_deref(),
            upload.metadata.migrations.as_ref(),
            &mut self.chance,
        )?;
        let bindings = bindings_of(&upload.metadata, existing.as_deref(), terms)?;
        self.check_bindings(name, &bindings, &classes)?;
        let tags = upload.metadata.tags.clone();
        let (logpush, observability, tail_consumers) = (
            upload.metadata.logpush,
            upload.metadata.observability.clone(),
            upload.metadata.tail_consumers.clone(),
        );
        let version = self.version_from(existing.as_deref(), upload, bindings, terms, now);
        let fresh_tag = self.chance.hex32();
        let worker = self
            .change(now)
            .workers
            .entry(name.to_owned())
            .or_insert_with(|| {
                Arc::new(Worker {
                    name: name.to_owned(),
                    tag: fresh_tag,
                    created_on: now,
                    modified_on: now,
                    tags: None,
                    migration_tag: None,
                    classes: classes.clone(),
                    logpush: false,
                    observability: None,
                    tail_consumers: None,
                    enabled: false,
                    previews_enabled: false,
                    schedules: Vec::new(),
                    versions: Vec::new(),
                    deployments: Vec::new(),
                })
            });
        let worker = Arc::make_mut(worker);
        worker.classes = classes;
        worker.migration_tag = migration_tag;
        worker.logpush = logpush.unwrap_or(false);
        worker.observability = observability;
        worker.tail_consumers = tail_consumers;
        if tags.is_some() {
            worker.tags = tags;
        }
        self.add_version(name, version, true, now)
    }

    /// Adds a version without letting it serve. Migrations are not allowed here.
    pub(crate) fn upload_version(
        &mut self,
        name: &str,
        upload: Submission,
        terms: Terms,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Version>> {
        let worker = self
            .catalog()
            .workers
            .get(name)
            .cloned()
            .ok_or_else(ApiError::no_worker)?;
        if upload.metadata.migrations.is_some() {
            return Err(ApiError::invalid_script(
                "Migrations cannot be part of a version; deploy the Worker instead.",
            ));
        }
        let bindings = bindings_of(&upload.metadata, Some(&worker), terms)?;
        self.check_bindings(name, &bindings, &worker.classes)?;
        let version = self.version_from(Some(&worker), upload, bindings, terms, now);
        self.add_version(name, version, false, now)
    }

    /// What an upload would run; `live`: as the whole Worker, else as a version beside the one that serves. Changes nothing,
    /// not even chance.
    pub(crate) fn candidate(
        &mut self,
        name: &str,
        upload: Submission,
        terms: Terms,
        live: bool,
        now: DateTime<Utc>,
    ) -> Handled<Deployed> {
        let before = self.chance.clone();
        let candidate = self.would_run(name, upload, terms, live, now);
        self.chance = before;
        candidate
    }

    fn would_run(
        &mut self,
        name: &str,
        upload: Submission,
        terms: Terms,
        live: bool,
        now: DateTime<Utc>,
    ) -> Handled<Deployed> {
        let existing = self.catalog().workers.get(name).cloned();
        if existing.is_none() && !live {
            return Err(ApiError::no_worker());
        }
        let migrations = upload.metadata.migrations.as_ref();
        let (classes, _) = migration::apply(existing.as_deref(), migrations, &mut self.chance)?;
        let bindings = bindings_of(&upload.metadata, existing.as_deref(), terms)?;
        self.check_bindings(name, &bindings, &classes)?;
        let version = self.version_from(existing.as_deref(), upload, bindings, terms, now);
        Ok(version.run(&classes))
    }

    fn version_from(
        &mut self,
        worker: Option<&Worker>,
        upload: Submission,
        bindings: Vec<Binding>,
        terms: Terms,
        now: DateTime<Utc>,
    ) -> Version {
        Version {
            id: self.chance.uuid(),
            number: next_number(worker),
            created_on: now,
            source: terms.source,
            etag: etag(&upload.main_module, &upload.modules),
            compatibility_date: upload.metadata.date(),
            main_module: upload.main_module,
            has_modules: upload.has_modules,
            modules: Arc::new(upload.modules),
            bindings,
            compatibility_flags: upload.metadata.compatibility_flags.unwrap_or_default(),
            usage_model: upload
                .metadata
                .usage_model
                .unwrap_or_else(|| "standard".to_owned()),
            limits: upload.metadata.limits,
            placement: upload.metadata.placement,
            annotations: upload.metadata.annotations.unwrap_or_default(),
        }
    }

    /// Changes settings: a new version with the same code. What is not named stays.
    pub(crate) fn patch_settings(
        &mut self,
        name: &str,
        settings: Metadata,
        terms: Terms,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Version>> {
        let (worker, latest) = self.latest_of(name)?;
        let (classes, migration_tag) = migration::apply(
            Some(&worker),
            settings.migrations.as_ref(),
            &mut self.chance,
        )?;
        let mut version = self.next_version(&worker, &latest, terms.source, now);
        if settings.bindings.is_some() {
            version.bindings = bindings_of(&settings, Some(&worker), terms)?;
        }
        self.check_bindings(name, &version.bindings, &classes)?;
        if let Some(date) = settings.compatibility_date {
            version.compatibility_date = date;
        }
        if let Some(flags) = settings.compatibility_flags {
            version.compatibility_flags = flags;
        }
        if let Some(model) = settings.usage_model {
            version.usage_model = model;
        }
        version.limits = settings.limits.or(version.limits);
        version.placement = settings.placement.or(version.placement);
        version.annotations = settings.annotations.unwrap_or_default();
        if let Some(worker) = self.change(now).worker_mut(name) {
            worker.classes = classes;
            worker.migration_tag = migration_tag;
            worker.tags = settings.tags.or(worker.tags.take());
            worker.logpush = settings.logpush.unwrap_or(worker.logpush);
            worker.observability = settings.observability.or(worker.observability.take());
            worker.tail_consumers = settings.tail_consumers.or(worker.tail_consumers.take());
        }
        self.add_version(name, version, true, now)
    }

    /// Sets and removes secrets: a new version with the same code, live at once. `None` removes; removing what is not
    /// there is no error. The caller has checked the lengths.
    pub(crate) fn push_secrets(
        &mut self,
        name: &str,
        changes: Vec<(String, Option<SecretValue>)>,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Version>> {
        let (worker, latest) = self.latest_of(name)?;
        if !worker.latest_is_deployed() {
            return Err(ApiError::new(
                400,
                10215,
                "Secret edit failed. You attempted to modify a secret, but the latest version of your Worker isn't currently deployed.",
            ));
        }
        let mut version = self.next_version(&worker, &latest, "api", now);
        for (secret, value) in changes {
            match value {
                None => version
                    .bindings
                    .retain(|b| b.name != secret || b.kind != "secret_text"),
                Some(value) => {
                    let new = Binding::secret(&secret, value);
                    match version.bindings.iter_mut().find(|b| b.name == secret) {
                        Some(old) if old.kind == "secret_text" => *old = new,
                        Some(_) => {
                            return Err(ApiError::new(
                                400,
                                10053,
                                format!("Binding name '{secret}' already in use."),
                            ));
                        }
                        None => version.bindings.push(new),
                    }
                }
            }
        }
        binding::check_count(&version.bindings)?;
        self.add_version(name, version, true, now)
    }

    fn latest_of(&self, name: &str) -> Handled<(Arc<Worker>, Arc<Version>)> {
        let worker = self
            .catalog()
            .workers
            .get(name)
            .ok_or_else(ApiError::no_worker)?;
        let latest = worker.latest().ok_or_else(ApiError::no_worker)?;
        Ok((Arc::clone(worker), Arc::clone(latest)))
    }

    fn next_version(
        &mut self,
        worker: &Worker,
        latest: &Version,
        source: &'static str,
        now: DateTime<Utc>,
    ) -> Version {
        let mut version = latest.clone();
        version.id = self.chance.uuid();
        version.number = next_number(Some(worker));
        version.created_on = now;
        version.source = source;
        version
    }
}

fn next_number(worker: Option<&Worker>) -> u64 {
    worker.and_then(|w| w.latest()).map_or(1, |v| v.number + 1)
}

fn bindings_of(
    metadata: &Metadata,
    worker: Option<&Worker>,
    terms: Terms,
) -> Handled<Vec<Binding>> {
    binding::resolve(&Source {
        given: metadata.bindings.as_deref().unwrap_or_default(),
        keep: metadata.keep_bindings.as_deref().unwrap_or_default(),
        strict: terms.strict,
        worker,
    })
}

/// `^[a-z0-9_][a-z0-9-_]*$`, at most 63.
fn check_name(name: &str) -> Handled<()> {
    let ok = (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if ok {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        10016,
        "Invalid Worker name. It must be at most 63 lower-case letters, digits, hyphens and underscores, and must not start with a hyphen.",
    ))
}
