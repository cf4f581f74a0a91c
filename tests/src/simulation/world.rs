//! Cloudflare in memory: Workers with their versions, buckets, tokens, and how lists showed them a while ago.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use talon_core::cloud::{
    ApiMessage, Binding, BindingInfo, BucketInfo, CloudError, CloudResult, Module, NewBucket,
    NewToken, PendingUpload, SecretChange, TokenInfo, WorkerInfo, WorkerSettings, WorkerUpload,
    WorkerVersion,
};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;

/// How long the past is kept for lists that lag.
const KEEP: TimeDelta = TimeDelta::seconds(120);

/// A Worker as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Immutable id.
    pub tag: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Hash of the code.
    pub etag: String,
    /// The text modules.
    pub texts: BTreeMap<String, String>,
    /// Variables.
    pub plain: BTreeMap<String, String>,
    /// Secrets.
    pub secrets: BTreeMap<String, String>,
    /// Secrets of each version.
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
    /// The bound bucket.
    pub bucket: Option<String>,
    /// The bound class.
    pub class: Option<String>,
    /// Whether workers.dev serves it.
    pub route: bool,
    /// The last migration.
    pub migration: Option<String>,
    /// Compatibility date and flags.
    pub compatibility: (String, Vec<String>),
    /// When it was made.
    pub created_on: DateTime<Utc>,
    /// When it was last written to.
    pub modified_on: DateTime<Utc>,
    /// Somebody else uploaded a version that does not serve.
    pub undeployed: bool,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Where it lives.
    pub jurisdiction: Jurisdiction,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Its objects.
    pub objects: BTreeSet<String>,
    /// Its unfinished uploads.
    pub uploads: BTreeSet<String>,
}

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The bucket it opens.
    pub bucket: String,
    /// When it was made, to the second.
    pub issued: DateTime<Utc>,
}

/// Everything in the account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// By name.
    pub workers: BTreeMap<String, Worker>,
    /// By name.
    pub buckets: BTreeMap<String, Bucket>,
    /// In the order in which they were made.
    pub tokens: Vec<Token>,
}

/// The account with its past.
#[derive(Debug, Default)]
pub struct World {
    /// As it is.
    pub now: Catalog,
    past: Vec<(DateTime<Utc>, Catalog)>,
    serial: u64,
    /// Switching the address counts as a write to the Worker.
    pub route_touches: bool,
    /// What Cloudflare will not remove: names of Workers and buckets, ids of tokens.
    pub undeletable: BTreeSet<String>,
    /// Buckets of this jurisdiction are not listed to us.
    pub secretive: Option<Jurisdiction>,
    /// Uploads of Workers whose names begin so are refused, however often they are tried.
    pub unwelcome: Option<String>,
    /// An upload drops every binding that it does not list, secrets that it asks to keep among them.
    pub forgetful: bool,
    /// Keys that were on a Worker before an upload and not after it: `WORKER KEY`.
    pub lost_keys: Vec<String>,
    /// How many uploads took the place of another.
    pub redeployed: u64,
}

fn message(call: &'static str, code: i64, text: &str) -> ApiMessage {
    ApiMessage {
        call,
        http: Some(400),
        code: Some(code),
        message: text.to_owned(),
        ray: None,
    }
}

fn no_worker(call: &'static str) -> CloudError {
    CloudError::NotFound(message(call, 10_007, "This Worker does not exist"))
}

fn no_bucket(call: &'static str) -> CloudError {
    CloudError::NotFound(message(call, 10_006, "The specified bucket does not exist"))
}

fn no_token(call: &'static str) -> CloudError {
    CloudError::NotFound(message(call, 1_003, "API token not found"))
}

/// Hash of the code.
pub fn etag(modules: &[Module]) -> String {
    let mut hash = Sha256::new();
    for module in modules {
        hash.update(&module.name);
        hash.update([0]);
        hash.update(&module.body);
    }
    hex::encode(&hash.finalize()[..8])
}

impl World {
    fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{:08}", self.serial)
    }

    /// Keeps how things are, before they change.
    pub fn remember(&mut self, at: DateTime<Utc>) {
        self.past.retain(|(until, _)| *until > at - KEEP);
        self.past.push((at, self.now.clone()));
    }

    fn forbid(&self, what: &str, call: &'static str) -> CloudResult<()> {
        if self.undeletable.contains(what) {
            return Err(CloudError::Auth(message(call, 10_000, "Forbidden")));
        }
        Ok(())
    }

    /// Creates or replaces a Worker.
    pub fn upload(
        &mut self,
        name: &str,
        upload: &WorkerUpload,
        at: DateTime<Utc>,
    ) -> CloudResult<WorkerVersion> {
        const CALL: &str = "PUT worker";
        let refused = |code, text: &str| Err(CloudError::Invalid(message(CALL, code, text)));
        if self.unwelcome.as_ref().is_some_and(|u| name.starts_with(u)) {
            return refused(10_021, "the script does not parse");
        }
        let old = self.now.workers.get(name).cloned();
        let latest = old.as_ref().map(|w| w.secrets.clone()).unwrap_or_default();
        let mut secrets = match self.forgetful {
            true => BTreeMap::new(),
            false => latest.clone(),
        };
        let (mut plain, mut bucket, mut class) = (BTreeMap::new(), None, None);
        for binding in &upload.bindings {
            match binding {
                Binding::PlainText { name, text } => {
                    plain.insert(name.clone(), text.clone());
                }
                Binding::SecretText { name, value } => {
                    secrets.insert(name.clone(), value.expose().to_owned());
                }
                Binding::Inherit { name, version_id } => {
                    let from = match version_id {
                        None => Some(&latest),
                        Some(id) => old.as_ref().and_then(|w| w.versions.get(id)),
                    };
                    match from.and_then(|s| s.get(name)) {
                        Some(value) => secrets.insert(name.clone(), value.clone()),
                        None => return refused(10_057, "nothing to inherit"),
                    };
                }
                Binding::R2Bucket { bucket: b, .. } => {
                    if !self.now.buckets.contains_key(b) {
                        return refused(10_085, "R2 bucket not found");
                    }
                    bucket = Some(b.clone());
                }
                Binding::DurableObject { class_name, .. } => class = Some(class_name.clone()),
            }
        }
        let keys = latest.keys().filter(|k| k.ends_with("_API_KEY"));
        let lost = keys.filter(|k| !secrets.contains_key(*k));
        let lost: Vec<String> = lost.map(|key| format!("{name} {key}")).collect();
        let migrated = old.as_ref().and_then(|w| w.migration.clone());
        if upload.migration.is_some() && migrated.is_some() {
            let text = "Migration tag precondition failed";
            return Err(CloudError::Conflict(message(CALL, 10_079, text)));
        }
        let migration = migrated.or(upload.migration.as_ref().map(|m| m.new_tag.clone()));
        if class.is_some() && migration.is_none() {
            return refused(10_061, "no such Durable Object class");
        }
        let tag = old
            .as_ref()
            .map_or_else(|| self.fresh("script-"), |w| w.tag.clone());
        let version = self.fresh("version-");
        let mut versions = old.as_ref().map(|w| w.versions.clone()).unwrap_or_default();
        versions.insert(version.clone(), secrets.clone());
        let text = |m: &Module| (m.content_type == "text/plain").then(|| m.name.clone());
        let worker = Worker {
            tag: tag.clone(),
            tags: upload.tags.clone(),
            etag: etag(&upload.modules),
            texts: upload
                .modules
                .iter()
                .filter_map(|m| Some((text(m)?, String::from_utf8_lossy(&m.body).into_owned())))
                .collect(),
            plain,
            secrets,
            versions,
            bucket,
            class,
            route: old.as_ref().is_some_and(|w| w.route),
            migration,
            compatibility: (
                upload.compatibility_date.clone(),
                upload.compatibility_flags.clone(),
            ),
            created_on: old.as_ref().map_or(at, |w| w.created_on),
            modified_on: at,
            undeployed: false,
        };
        let answer = WorkerVersion {
            script_tag: Some(tag),
            etag: Some(worker.etag.clone()),
            version_id: Some(version),
        };
        self.redeployed += u64::from(old.is_some());
        self.lost_keys.extend(lost);
        self.now.workers.insert(name.to_owned(), worker);
        Ok(answer)
    }

    /// Changes secrets.
    pub fn push(
        &mut self,
        name: &str,
        changes: &[SecretChange],
        at: DateTime<Utc>,
    ) -> CloudResult<WorkerVersion> {
        const CALL: &str = "PATCH worker secrets";
        let version = self.fresh("version-");
        let worker = self
            .now
            .workers
            .get_mut(name)
            .ok_or_else(|| no_worker(CALL))?;
        if worker.undeployed {
            let text = "the latest version isn't currently deployed";
            return Err(CloudError::Conflict(message(CALL, 10_215, text)));
        }
        for change in changes {
            match &change.value {
                Some(value) => worker
                    .secrets
                    .insert(change.name.clone(), value.expose().to_owned()),
                None => worker.secrets.remove(&change.name),
            };
        }
        worker
            .versions
            .insert(version.clone(), worker.secrets.clone());
        worker.modified_on = at;
        Ok(WorkerVersion {
            version_id: Some(version),
            ..WorkerVersion::default()
        })
    }

    /// Switches the address.
    pub fn route(&mut self, name: &str, enabled: bool, at: DateTime<Utc>) -> CloudResult<()> {
        let touches = self.route_touches;
        let worker = self.now.workers.get_mut(name);
        let worker = worker.ok_or_else(|| no_worker("POST worker route"))?;
        worker.route = enabled;
        if touches {
            worker.modified_on = at;
        }
        Ok(())
    }

    /// Removes a Worker.
    pub fn delete_worker(&mut self, name: &str) -> CloudResult<()> {
        self.forbid(name, "DELETE worker")?;
        let gone = self.now.workers.remove(name);
        gone.map(drop).ok_or_else(|| no_worker("DELETE worker"))
    }

    /// Makes a bucket.
    pub fn create_bucket(
        &mut self,
        bucket: &NewBucket,
        at: DateTime<Utc>,
    ) -> CloudResult<BucketInfo> {
        if self.now.buckets.contains_key(&bucket.name) {
            let text = "The bucket you tried to create already exists";
            return Err(CloudError::Exists(message("POST bucket", 10_004, text)));
        }
        let made = Bucket {
            jurisdiction: bucket.jurisdiction,
            created: at.trunc_subsecs(3),
            objects: BTreeSet::new(),
            uploads: BTreeSet::new(),
        };
        let info = shown_bucket(&bucket.name, &made);
        self.now.buckets.insert(bucket.name.clone(), made);
        Ok(info)
    }

    /// One bucket.
    pub fn bucket(&mut self, name: &str, call: &'static str) -> CloudResult<&mut Bucket> {
        self.now
            .buckets
            .get_mut(name)
            .ok_or_else(|| no_bucket(call))
    }

    /// Removes an empty bucket.
    pub fn delete_bucket(&mut self, name: &str) -> CloudResult<()> {
        const CALL: &str = "DELETE bucket";
        self.forbid(name, CALL)?;
        let bucket = self.bucket(name, CALL)?;
        if !bucket.objects.is_empty() || !bucket.uploads.is_empty() {
            let text = "The bucket you tried to delete is not empty";
            return Err(CloudError::NotEmpty(message(CALL, 10_008, text)));
        }
        self.now.buckets.remove(name);
        Ok(())
    }

    /// Removes objects.
    pub fn delete_objects(&mut self, name: &str, keys: &[String]) -> CloudResult<Vec<String>> {
        let bucket = self.bucket(name, "S3 DeleteObjects")?;
        for key in keys {
            bucket.objects.remove(key);
        }
        Ok(Vec::new())
    }

    /// Aborts an unfinished upload.
    pub fn abort_upload(&mut self, name: &str, upload: &PendingUpload) -> CloudResult<()> {
        let bucket = self.bucket(name, "S3 AbortMultipartUpload")?;
        bucket.uploads.remove(&upload.upload_id);
        Ok(())
    }

    /// Makes a token.
    pub fn create_token(&mut self, token: &NewToken, at: DateTime<Utc>) -> (String, SecretValue) {
        let made = Token {
            id: self.fresh("token-"),
            name: token.name.clone(),
            value: self.fresh("value-"),
            bucket: token.bucket.clone(),
            issued: at.trunc_subsecs(0),
        };
        let shown = (made.id.clone(), SecretValue::new(made.value.clone()));
        self.now.tokens.push(made);
        shown
    }

    /// Gives a token a new value.
    pub fn roll_token(&mut self, id: &str) -> CloudResult<SecretValue> {
        let value = self.fresh("value-");
        let token = self.now.tokens.iter_mut().find(|t| t.id == id);
        let token = token.ok_or_else(|| no_token("PUT token value"))?;
        token.value.clone_from(&value);
        Ok(SecretValue::new(value))
    }

    /// Removes a token.
    pub fn delete_token(&mut self, id: &str) -> CloudResult<()> {
        self.forbid(id, "DELETE token")?;
        let before = self.now.tokens.len();
        self.now.tokens.retain(|t| t.id != id);
        if self.now.tokens.len() == before {
            return Err(no_token("DELETE token"));
        }
        Ok(())
    }

    /// How things were then.
    pub fn as_of(&self, then: DateTime<Utc>) -> &Catalog {
        // Each entry of the past shows how things were until its time.
        let past = self.past.iter().find(|(until, _)| *until > then);
        past.map_or(&self.now, |(_, catalog)| catalog)
    }

    /// A Worker's settings.
    pub fn settings(&self, name: &str) -> CloudResult<WorkerSettings> {
        let worker = self.now.workers.get(name);
        let worker = worker.ok_or_else(|| no_worker("GET worker settings"))?;
        let binding = |name: &str, kind: &str, value: Option<&String>| BindingInfo {
            name: name.to_owned(),
            kind: kind.to_owned(),
            value: value.cloned(),
        };
        let mut bindings: Vec<BindingInfo> = Vec::new();
        bindings.extend(
            worker
                .plain
                .iter()
                .map(|(k, v)| binding(k, "plain_text", Some(v))),
        );
        bindings.extend(
            worker
                .secrets
                .keys()
                .map(|k| binding(k, "secret_text", None)),
        );
        if let Some(bucket) = &worker.bucket {
            bindings.push(binding("AGENT_BUCKET", "r2_bucket", Some(bucket)));
        }
        if let Some(class) = &worker.class {
            bindings.push(binding("AGENT", "durable_object_namespace", Some(class)));
        }
        Ok(WorkerSettings {
            bindings,
            tags: Some(worker.tags.clone()),
            compatibility_date: Some(worker.compatibility.0.clone()),
            compatibility_flags: worker.compatibility.1.clone(),
        })
    }
}

fn shown_bucket(name: &str, bucket: &Bucket) -> BucketInfo {
    BucketInfo {
        name: name.to_owned(),
        creation_date: Some(bucket.created),
        jurisdiction: bucket.jurisdiction,
    }
}

impl Catalog {
    /// The list of Workers at a moment; fresh ones show no tags for a while.
    pub fn list_workers(&self, at: DateTime<Utc>, tagless: Duration) -> Vec<WorkerInfo> {
        let tagless = TimeDelta::from_std(tagless).unwrap_or_default();
        let show = |(name, w): (&String, &Worker)| WorkerInfo {
            name: name.clone(),
            script_tag: Some(w.tag.clone()),
            etag: Some(w.etag.clone()),
            tags: (at >= w.created_on + tagless).then(|| w.tags.clone()),
            created_on: Some(w.created_on),
            modified_on: Some(w.modified_on),
            migration_tag: w.migration.clone(),
        };
        self.workers.iter().map(show).collect()
    }

    /// The list of buckets of a jurisdiction.
    pub fn list_buckets(&self, jurisdiction: Jurisdiction) -> Vec<BucketInfo> {
        self.buckets
            .iter()
            .filter(|(_, b)| b.jurisdiction == jurisdiction)
            .map(|(name, b)| shown_bucket(name, b))
            .collect()
    }

    /// The list of tokens.
    pub fn list_tokens(&self) -> Vec<TokenInfo> {
        let show = |t: &Token| TokenInfo {
            id: t.id.clone(),
            name: t.name.clone(),
            status: "active".to_owned(),
            issued_on: Some(t.issued),
        };
        self.tokens.iter().map(show).collect()
    }
}
