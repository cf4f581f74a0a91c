//! A store in miniature: what each [`Mutation`] does to a [`Snapshot`], written from the words of `core::mutation`.

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, StoredCondition};
use talon_core::event::{EventReason, NewEvent};
use talon_core::mutation::{Intent, Mutation, Outcome, ResourceWrite, StatusWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState, SecretRecord, SecretState};

use crate::diary::Diary;

#[derive(Debug, Clone)]
pub struct Database {
    pub row: Snapshot,
    pub events: Vec<NewEvent>,
    /// How many transactions changed anything.
    pub writes: usize,
    pub diary: Diary,
}

impl Database {
    pub fn new(row: Snapshot) -> Self {
        Self {
            row,
            events: Vec::new(),
            writes: 0,
            diary: Diary::default(),
        }
    }

    pub fn load(&self, now: DateTime<Utc>) -> Snapshot {
        Snapshot {
            now,
            ..self.row.clone()
        }
    }

    /// One transaction.
    pub fn commit(&mut self, now: DateTime<Utc>, mutations: &[Mutation]) {
        self.diary.writes(&self.row, mutations);
        let before = self.row.clone();
        for mutation in mutations {
            self.apply(now, mutation);
        }
        if self.row != before {
            self.writes += 1;
        }
        let current = |t: &&AuthTokenRecord| t.state == AuthTokenState::Current;
        assert!(self.row.auth_tokens.iter().filter(current).count() <= 1);
    }

    fn apply(&mut self, now: DateTime<Utc>, mutation: &Mutation) {
        match mutation {
            Mutation::Resource(write) => self.resource(now, write),
            Mutation::Secret(write) => {
                let old = self.row.secret(&write.name).and_then(|s| s.pushed_at);
                self.row.secrets.retain(|s| s.name != write.name);
                self.row.secrets.push(SecretRecord {
                    name: write.name.clone(),
                    provider: write.provider.clone(),
                    source: write.source,
                    reference: write.reference.clone(),
                    state: write.state,
                    fingerprint: write.fingerprint.clone(),
                    pushed_at: if write.state == SecretState::Pushed {
                        Some(now)
                    } else {
                        old
                    },
                });
                self.row.secrets.sort_by(|a, b| a.name.cmp(&b.name));
            }
            Mutation::SecretGone { name } => self.row.secrets.retain(|s| s.name != *name),
            Mutation::AuthTokenCandidate { try_id, sha256 } => {
                if !self.row.auth_tokens.iter().any(|t| t.try_id == *try_id) {
                    self.row.auth_tokens.push(AuthTokenRecord {
                        try_id: try_id.clone(),
                        sha256: sha256.clone(),
                        state: AuthTokenState::Candidate,
                        created_at: now,
                    });
                }
            }
            Mutation::AuthTokenState { try_id, state } => {
                let tokens = &mut self.row.auth_tokens;
                if !tokens.iter().any(|t| t.try_id == *try_id) {
                    return;
                }
                for token in tokens.iter_mut() {
                    if token.try_id == *try_id {
                        token.state = *state;
                    } else if *state == AuthTokenState::Current
                        && token.state == AuthTokenState::Current
                    {
                        token.state = AuthTokenState::Retired;
                    }
                }
                let current = tokens.iter().find(|t| t.state == AuthTokenState::Current);
                self.row.agent.status.auth_token_hash = current.map(|t| t.sha256.clone());
            }
            Mutation::Names {
                worker,
                bucket,
                account,
            } => {
                let status = &mut self.row.agent.status;
                status.worker_name = Some(worker.clone());
                status.r2_bucket = Some(bucket.clone());
                status.cloudflare_account = Some(account.clone());
            }
            Mutation::Identity { markdown, sha256 } => {
                let status = &mut self.row.agent.status;
                let same = status.identity_md.as_ref() == Some(markdown);
                assert!(
                    same || status.first_deployed_at.is_none(),
                    "the identity is frozen"
                );
                status.identity_md = Some(markdown.clone());
                status.identity_sha256 = Some(sha256.clone());
            }
            Mutation::Latch { generation } => {
                if self.row.agent.generation == *generation {
                    self.row.agent.status.first_deployed_at.get_or_insert(now);
                }
            }
            Mutation::Status(write) => self.status(write),
            Mutation::Contact(write) => {
                self.row.contact = Some(write.over(self.row.contact.as_ref(), now));
            }
            Mutation::Condition(condition) => {
                let kept = self
                    .row
                    .conditions
                    .iter()
                    .find(|c| c.condition.kind == condition.kind)
                    .filter(|c| c.condition.status == condition.status)
                    .map(|c| c.last_transition_at);
                self.row
                    .conditions
                    .retain(|c| c.condition.kind != condition.kind);
                self.row.conditions.push(StoredCondition {
                    condition: condition.clone(),
                    last_transition_at: kept.unwrap_or(now),
                });
                self.row.conditions.sort_by_key(|c| c.condition.kind);
            }
            Mutation::Event(event) => self.events.push(event.clone()),
            Mutation::Card(_) | Mutation::CardGone => {
                panic!("the registry's own writes are not a plan's")
            }
            Mutation::Archive => {
                assert!(
                    self.row.agent.is_deleting(),
                    "only what is to go is archived"
                );
                self.row.agent.status.deleted_at.get_or_insert(now);
            }
        }
    }

    fn resource(&mut self, now: DateTime<Utc>, write: &ResourceWrite) {
        let old = self.row.resource(write.kind).cloned();
        let mut r = old.unwrap_or_else(|| blank(write.kind, &write.name));
        let open = r.state == ResourceState::Unknown && r.intent_at.is_some();
        r.name.clone_from(&write.name);
        r.state = write.state;
        if let Some(v) = &write.external_id {
            r.external_id.clone_from(v);
        }
        if let Some(v) = &write.try_id {
            r.try_id = Some(v.clone());
        }
        if let Some(v) = &write.desired_hash {
            r.desired_hash = Some(v.clone());
        }
        if let Some(v) = &write.observed_hash {
            r.observed_hash.clone_from(v);
        }
        if let Some(v) = &write.version_id {
            r.version_id.clone_from(v);
        }
        match &write.outcome {
            None => {}
            Some(Outcome::Ok) => {
                r.attempts = 0;
                r.last_error = None;
            }
            Some(Outcome::Failed(message)) => {
                r.attempts += 1;
                r.last_error = Some(message.clone());
            }
        }
        match &write.intent {
            None => {}
            Some(Intent::Open { settle_in }) => {
                if !open {
                    r.intent_at = Some(now);
                }
                let until = now + TimeDelta::from_std(*settle_in).unwrap();
                r.settle_until = r.settle_until.max(Some(until));
            }
            Some(Intent::Settled) => r.settle_until = None,
            Some(Intent::Cleared) => {
                r.intent_at = None;
                r.settle_until = None;
            }
        }
        if write.confirmed {
            r.confirmed_at = Some(now);
        }
        if let Some(cleanup) = &write.cleanup {
            let again = r.cleanup_result == Some(cleanup.result);
            r.cleanup_result = Some(cleanup.result);
            r.cleanup_error.clone_from(&cleanup.error);
            r.cleaned_at = match cleanup.result {
                CleanupResult::Failed => None,
                _ if again => r.cleaned_at.or(Some(now)),
                _ => Some(now),
            };
        }
        self.row.resources.retain(|o| o.kind != r.kind);
        self.row.resources.push(r);
        self.row.resources.sort_by_key(|r| r.kind);
    }

    fn status(&mut self, write: &StatusWrite) {
        let status = &mut self.row.agent.status;
        if let Some(v) = write.deployment_status {
            status.deployment_status = v;
        }
        if let Some(v) = &write.deployment_error {
            status.deployment_error.clone_from(v);
        }
        if let Some(v) = write.observed_generation {
            status.observed_generation = status.observed_generation.max(v);
        }
        if let Some(v) = &write.worker_url {
            status.worker_url.clone_from(v);
        }
        if let Some(v) = &write.r2_token_id {
            status.r2_token_id.clone_from(v);
        }
        if let Some(v) = write.has_anthropic_key {
            status.has_anthropic_key = v;
        }
        if let Some(v) = write.has_openai_key {
            status.has_openai_key = v;
        }
    }

    /// A condition as last written: status, reason, message.
    pub fn condition(&self, kind: ConditionType) -> (&'static str, Reason, &str) {
        let stored = self
            .row
            .conditions
            .iter()
            .find(|c| c.condition.kind == kind);
        let c = &stored.expect("every condition is written").condition;
        (c.status.as_str(), c.reason, c.message.as_str())
    }

    /// Messages of the events with this reason.
    pub fn told(&self, reason: EventReason) -> Vec<&str> {
        let of = |e: &&NewEvent| e.reason == reason;
        self.events
            .iter()
            .filter(of)
            .map(|e| e.message.as_str())
            .collect()
    }

    pub fn cleanup(&self, kind: ResourceKind) -> Option<CleanupResult> {
        self.row.resource(kind).and_then(|r| r.cleanup_result)
    }
}

pub fn blank(kind: ResourceKind, name: &str) -> ResourceRecord {
    ResourceRecord {
        kind,
        name: name.to_owned(),
        external_id: None,
        try_id: None,
        state: ResourceState::Absent,
        desired_hash: None,
        observed_hash: None,
        version_id: None,
        attempts: 0,
        last_error: None,
        intent_at: None,
        settle_until: None,
        confirmed_at: None,
        cleanup_result: None,
        cleanup_error: None,
        cleaned_at: None,
    }
}
