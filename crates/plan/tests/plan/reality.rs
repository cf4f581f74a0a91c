//! Cloudflare and the Router in miniature: what the calls of a plan do to the world, and what lists show of it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use talon_core::card::AgentCard;
use talon_core::cloud::{
    BindingInfo, BucketInfo, TokenInfo, WorkerInfo, WorkerSettings, WorkerVersion,
};
use talon_core::spec::Jurisdiction;

#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub script_tag: String,
    pub tags: Option<Vec<String>>,
    /// What the code modules hold.
    pub content: String,
    pub plain: BTreeMap<String, String>,
    pub bucket: String,
    pub secrets: BTreeMap<String, String>,
    pub route: bool,
    pub migrated: bool,
    pub created_on: DateTime<Utc>,
    pub modified_on: DateTime<Utc>,
    pub flags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    pub created: DateTime<Utc>,
    pub jurisdiction: Jurisdiction,
    pub objects: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub value: String,
    pub issued: DateTime<Utc>,
}

/// An upload as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Upload {
    pub worker: String,
    pub tags: Vec<String>,
    pub content: String,
    pub plain: BTreeMap<String, String>,
    pub bucket: String,
    pub supply: BTreeMap<String, String>,
    pub inherit: Vec<String>,
    pub migrate: bool,
    pub flags: Vec<String>,
}

/// One mutating call.
#[derive(Debug, Clone)]
pub enum Call {
    CreateBucket(String, Jurisdiction),
    DeleteBucket(String),
    EmptyBucket(String),
    CreateToken(String),
    RollToken(String),
    DeleteTokens(Vec<String>),
    Upload(Box<Upload>),
    Stub(String, Vec<String>),
    Push(String, BTreeMap<String, Option<String>>),
    Route(String),
    DeleteWorker(String),
    Register(Box<AgentCard>),
    Deregister,
}

/// What a call that was carried out gave back.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Done,
    Token { id: String, value: String },
    Version(WorkerVersion),
    Emptied { removed: u64, empty: bool },
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    Exists,
    NotEmpty,
    /// A strict inherit found nothing to take over, or a binding leads nowhere.
    Invalid,
    NotAllowed,
}

/// What the account's lists show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lists {
    pub workers: BTreeMap<String, WorkerInfo>,
    pub buckets: BTreeMap<String, BucketInfo>,
    pub tokens: Vec<TokenInfo>,
}

type Things = (
    BTreeMap<String, Worker>,
    BTreeMap<String, Bucket>,
    Vec<Token>,
);

#[derive(Debug, Clone)]
pub struct Reality {
    pub workers: BTreeMap<String, Worker>,
    pub buckets: BTreeMap<String, Bucket>,
    pub tokens: Vec<Token>,
    /// How far its clock is ahead of the database's.
    pub ahead: TimeDelta,
    pub card: Option<AgentCard>,
    /// How long a fresh Worker is listed without tags.
    pub tagless: Duration,
    /// Whether switching the address counts as a modification.
    pub route_touches: bool,
    /// Whether a migration that was applied already is accepted once more.
    pub repeats_migrations: bool,
    /// Objects removed by one call at most.
    pub page: u64,
    /// Refused with "not allowed to" by whoever wrote the test: kinds of calls by name.
    pub undeletable: Vec<&'static str>,
    /// Ids of tokens that Cloudflare will not delete.
    pub immortal_tokens: Vec<String>,
    serial: u64,
    /// Workers, buckets and tokens as they were, for lists that lag.
    history: Vec<(DateTime<Utc>, Things)>,
}

pub fn sha(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

impl Reality {
    pub fn new() -> Self {
        Self {
            workers: BTreeMap::new(),
            buckets: BTreeMap::new(),
            tokens: Vec::new(),
            ahead: TimeDelta::zero(),
            card: None,
            tagless: Duration::ZERO,
            route_touches: false,
            repeats_migrations: false,
            page: 1000,
            undeletable: Vec::new(),
            immortal_tokens: Vec::new(),
            serial: 0,
            history: Vec::new(),
        }
    }

    pub fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }

    pub fn lose_worker(&mut self, name: &str) {
        self.workers.remove(name);
    }

    pub fn lose_bucket(&mut self, name: &str) {
        self.buckets.remove(name);
    }

    /// Carries out a call.
    pub fn perform(&mut self, now: DateTime<Utc>, call: &Call) -> Result<Reply, Refusal> {
        let reply = self.carry_out(now, call);
        self.remember(now);
        reply
    }

    /// Notes how the lists look now, for looks that lag.
    pub fn remember(&mut self, now: DateTime<Utc>) {
        let things = (
            self.workers.clone(),
            self.buckets.clone(),
            self.tokens.clone(),
        );
        self.history.push((now, things));
    }

    fn carry_out(&mut self, now: DateTime<Utc>, call: &Call) -> Result<Reply, Refusal> {
        let gone = |found: bool| {
            if found {
                Ok(Reply::Done)
            } else {
                Err(Refusal::NotFound)
            }
        };
        match call {
            Call::CreateBucket(name, jurisdiction) => {
                if self.buckets.contains_key(name) {
                    return Err(Refusal::Exists);
                }
                let bucket = Bucket {
                    created: now + self.ahead,
                    jurisdiction: *jurisdiction,
                    objects: 0,
                };
                self.buckets.insert(name.clone(), bucket);
                Ok(Reply::Done)
            }
            Call::DeleteBucket(name) => match self.buckets.get(name) {
                Some(b) if b.objects > 0 => Err(Refusal::NotEmpty),
                Some(_) | None => gone(self.buckets.remove(name).is_some()),
            },
            Call::EmptyBucket(name) => {
                let page = self.page;
                let bucket = self.buckets.get_mut(name).ok_or(Refusal::NotFound)?;
                let removed = bucket.objects.min(page);
                bucket.objects -= removed;
                let empty = bucket.objects == 0;
                Ok(Reply::Emptied { removed, empty })
            }
            Call::CreateToken(name) => {
                let (id, value) = (self.fresh("token"), self.fresh("value"));
                let (name, issued) = (name.clone(), now);
                let token = Token {
                    id,
                    name,
                    value,
                    issued,
                };
                self.tokens.push(token.clone());
                Ok(Reply::Token {
                    id: token.id,
                    value: token.value,
                })
            }
            Call::RollToken(id) => {
                let value = self.fresh("value");
                let token = self.tokens.iter_mut().find(|t| t.id == *id);
                token.ok_or(Refusal::NotFound)?.value.clone_from(&value);
                Ok(Reply::Token {
                    id: id.clone(),
                    value,
                })
            }
            Call::DeleteTokens(ids) => {
                let before = self.tokens.len();
                let stays = |id: &String| self.immortal_tokens.contains(id);
                self.tokens.retain(|t| !ids.contains(&t.id) || stays(&t.id));
                if self.tokens.iter().any(|t| ids.contains(&t.id)) {
                    return Err(Refusal::NotAllowed);
                }
                gone(self.tokens.len() < before)
            }
            Call::Upload(upload) => self.upload(now, upload),
            Call::Stub(name, tags) => Ok(self.stub(now, name, tags)),
            Call::Push(name, changes) => {
                let version = self.fresh("version");
                let worker = self.workers.get_mut(name).ok_or(Refusal::NotFound)?;
                for (secret, value) in changes {
                    match value {
                        Some(value) => worker.secrets.insert(secret.clone(), value.clone()),
                        None => worker.secrets.remove(secret),
                    };
                }
                worker.modified_on = now;
                Ok(Reply::Version(WorkerVersion {
                    script_tag: None,
                    etag: None,
                    version_id: Some(version),
                }))
            }
            Call::Route(name) => {
                let touches = self.route_touches;
                let worker = self.workers.get_mut(name).ok_or(Refusal::NotFound)?;
                worker.route = true;
                if touches {
                    worker.modified_on = now;
                }
                Ok(Reply::Done)
            }
            Call::DeleteWorker(name) => gone(self.workers.remove(name).is_some()),
            Call::Register(card) => {
                self.card = Some((**card).clone());
                Ok(Reply::Done)
            }
            Call::Deregister => gone(self.card.take().is_some()),
        }
    }

    /// Whatever was there is replaced; its secrets stay, as with every upload.
    fn stub(&mut self, now: DateTime<Utc>, name: &str, tags: &[String]) -> Reply {
        let old = self.workers.get(name).cloned();
        let tag = old
            .as_ref()
            .map_or_else(|| self.fresh("script"), |w| w.script_tag.clone());
        let worker = Worker {
            script_tag: tag.clone(),
            tags: Some(tags.to_vec()),
            content: "stub".to_owned(),
            plain: BTreeMap::new(),
            bucket: String::new(),
            secrets: old.as_ref().map(|w| w.secrets.clone()).unwrap_or_default(),
            route: old.as_ref().is_some_and(|w| w.route),
            migrated: old.as_ref().is_some_and(|w| w.migrated),
            created_on: old.as_ref().map_or(now, |w| w.created_on),
            modified_on: now,
            flags: Vec::new(),
        };
        self.workers.insert(name.to_owned(), worker);
        Reply::Version(WorkerVersion {
            script_tag: Some(tag),
            etag: Some(sha("stub")),
            version_id: Some(self.fresh("version")),
        })
    }

    pub fn secret_names(&self, worker: &str) -> Vec<String> {
        let worker = self.workers.get(worker);
        worker
            .map(|w| w.secrets.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn upload(&mut self, now: DateTime<Utc>, upload: &Upload) -> Result<Reply, Refusal> {
        let old = self.workers.get(&upload.worker).cloned();
        if !self.buckets.contains_key(&upload.bucket) {
            return Err(Refusal::Invalid);
        }
        // keep_bindings: ["secret_text"] keeps what is not named; strict inherit refuses what is not there.
        let mut secrets = old.as_ref().map(|w| w.secrets.clone()).unwrap_or_default();
        if upload
            .inherit
            .iter()
            .any(|name| !secrets.contains_key(name))
        {
            return Err(Refusal::Invalid);
        }
        let migrated = old.as_ref().is_some_and(|w| w.migrated);
        if (!migrated && !upload.migrate)
            || (migrated && upload.migrate && !self.repeats_migrations)
        {
            return Err(Refusal::Invalid);
        }
        secrets.extend(upload.supply.clone());
        let tag = old
            .as_ref()
            .map_or_else(|| self.fresh("script"), |w| w.script_tag.clone());
        let worker = Worker {
            script_tag: tag.clone(),
            tags: Some(upload.tags.clone()),
            content: upload.content.clone(),
            plain: upload.plain.clone(),
            bucket: upload.bucket.clone(),
            secrets,
            route: old.as_ref().is_some_and(|w| w.route),
            migrated: true,
            created_on: old.as_ref().map_or(now, |w| w.created_on),
            modified_on: now,
            flags: upload.flags.clone(),
        };
        let etag = sha(&worker.content);
        self.workers.insert(upload.worker.clone(), worker);
        Ok(Reply::Version(WorkerVersion {
            script_tag: Some(tag),
            etag: Some(etag),
            version_id: Some(self.fresh("version")),
        }))
    }

    pub fn lists(&self, now: DateTime<Utc>) -> Lists {
        let tagless = TimeDelta::from_std(self.tagless).unwrap();
        let worker = |(name, w): (&String, &Worker)| {
            let info = WorkerInfo {
                name: name.clone(),
                script_tag: Some(w.script_tag.clone()),
                etag: Some(sha(&w.content)),
                tags: w.tags.clone().filter(|_| now >= w.created_on + tagless),
                created_on: Some(w.created_on),
                modified_on: Some(w.modified_on),
                migration_tag: w.migrated.then(|| "v1".to_owned()),
            };
            (name.clone(), info)
        };
        let bucket = |(name, b): (&String, &Bucket)| {
            let info = BucketInfo {
                name: name.clone(),
                creation_date: Some(b.created),
                jurisdiction: b.jurisdiction,
            };
            (name.clone(), info)
        };
        let token = |t: &Token| TokenInfo {
            id: t.id.clone(),
            name: t.name.clone(),
            status: "active".to_owned(),
            issued_on: Some(t.issued),
        };
        Lists {
            workers: self.workers.iter().map(worker).collect(),
            buckets: self.buckets.iter().map(bucket).collect(),
            tokens: self.tokens.iter().map(token).collect(),
        }
    }

    /// The lists as they were at that time.
    pub fn lists_at(&self, then: DateTime<Utc>, now: DateTime<Utc>) -> Lists {
        if then >= now {
            return self.lists(now);
        }
        let past = self.history.iter().rev().find(|(t, _)| *t <= then);
        let Some((_, (workers, buckets, tokens))) = past else {
            return Lists::default();
        };
        let (workers, buckets, tokens) = (workers.clone(), buckets.clone(), tokens.clone());
        Self {
            workers,
            buckets,
            tokens,
            tagless: self.tagless,
            ..Self::new()
        }
        .lists(then)
    }

    pub fn settings(&self, name: &str) -> Option<WorkerSettings> {
        let w = self.workers.get(name)?;
        let binding = |name: &str, kind: &str, value: Option<String>| BindingInfo {
            name: name.to_owned(),
            kind: kind.to_owned(),
            value,
        };
        let mut bindings: Vec<BindingInfo> = Vec::new();
        for (k, v) in &w.plain {
            bindings.push(binding(k, "plain_text", Some(v.clone())));
        }
        bindings.push(binding("AGENT_BUCKET", "r2_bucket", Some(w.bucket.clone())));
        let class = Some("OpenClawAgent".to_owned());
        bindings.push(binding("AGENT", "durable_object_namespace", class));
        for name in w.secrets.keys() {
            bindings.push(binding(name, "secret_text", None));
        }
        Some(WorkerSettings {
            bindings,
            tags: w.tags.clone(),
            compatibility_date: Some("2026-11-01".to_owned()),
            compatibility_flags: w.flags.clone(),
        })
    }
}
