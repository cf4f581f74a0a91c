//! One mutation on one row.

use std::collections::BTreeMap;

use talon_core::AgentId;
use talon_core::condition::StoredCondition;
use talon_core::event::NewEvent;
use talon_core::mutation::{Mutation, SecretWrite, StatusWrite};
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState, SecretRecord, SecretState};

use super::state::{Now, Row};
use crate::{StoreResult, codes, writes};

/// A row under change, and what goes beside it.
pub(super) struct Pass {
    pub(super) row: Row,
    pub(super) events: Vec<NewEvent>,
    /// A status column has changed.
    pub(super) status_changed: bool,
    /// What a search may find has changed.
    pub(super) cards_changed: bool,
    pub(super) latched: bool,
}

impl Pass {
    pub(super) fn new(row: Row) -> Self {
        Self {
            row,
            events: Vec::new(),
            status_changed: false,
            cards_changed: false,
            latched: false,
        }
    }

    pub(super) fn apply(
        &mut self,
        mutation: &Mutation,
        rows: &BTreeMap<AgentId, Row>,
        now: Now,
    ) -> StoreResult<()> {
        match mutation {
            Mutation::Resource(write) => {
                if let Some(planned) = writes::resource(self.row.resources.get(&write.kind), write)
                {
                    let mut record = planned.record;
                    record.intent_at = planned.intent_at.apply(record.intent_at, now);
                    record.settle_until = planned.settle_until.apply(record.settle_until, now);
                    record.confirmed_at = planned.confirmed_at.apply(record.confirmed_at, now);
                    record.cleaned_at = planned.cleaned_at.apply(record.cleaned_at, now);
                    self.row.resources.insert(write.kind, record);
                }
            }
            Mutation::Secret(write) => self.secret(write, now),
            Mutation::SecretGone { name } => {
                self.row.secrets.remove(name);
            }
            Mutation::AuthTokenCandidate { try_id, sha256 } => {
                self.row
                    .tokens
                    .entry(try_id.clone())
                    .or_insert_with(|| AuthTokenRecord {
                        try_id: try_id.clone(),
                        sha256: sha256.clone(),
                        state: AuthTokenState::Candidate,
                        created_at: now,
                    });
            }
            Mutation::AuthTokenState { try_id, state } => self.auth_token(try_id, *state),
            Mutation::Names {
                worker,
                bucket,
                account,
            } => self.names(worker, bucket, account, rows)?,
            Mutation::Identity { markdown, sha256 } => {
                let status = &mut self.row.agent.status;
                let same = status.identity_md.as_ref() == Some(markdown)
                    && status.identity_sha256.as_ref() == Some(sha256);
                if !same {
                    if status.first_deployed_at.is_some() {
                        return Err(codes::rejected(codes::IDENTITY_FIXED));
                    }
                    status.identity_md = Some(markdown.clone());
                    status.identity_sha256 = Some(sha256.clone());
                    self.status_changed = true;
                }
            }
            Mutation::Latch { generation } => {
                let agent = &mut self.row.agent;
                if agent.status.first_deployed_at.is_none() && agent.generation == *generation {
                    agent.status.first_deployed_at = Some(now);
                    self.status_changed = true;
                }
                self.latched |= agent.status.first_deployed_at.is_some();
            }
            Mutation::Status(write) => self.status(write, rows)?,
            Mutation::Contact(write) => {
                let contact = write.over(self.row.contact.as_ref(), now);
                self.row.contact = Some(contact);
            }
            Mutation::Condition(condition) => {
                let old = self.row.conditions.get(&condition.kind);
                if old.is_some_and(|old| old.condition == *condition) {
                    return Ok(());
                }
                let last_transition_at = old
                    .filter(|old| old.condition.status == condition.status)
                    .map_or(now, |old| old.last_transition_at);
                let stored = StoredCondition {
                    condition: condition.clone(),
                    last_transition_at,
                };
                self.row.conditions.insert(condition.kind, stored);
            }
            Mutation::Event(event) => self.events.push(event.clone()),
            Mutation::Card(card) => {
                if self.row.card.as_ref() != Some(&**card) {
                    self.row.card = Some((**card).clone());
                    self.cards_changed = true;
                }
            }
            Mutation::CardGone => {
                self.cards_changed |= self.row.card.take().is_some();
                self.row.vectors.clear();
            }
            Mutation::Archive => {
                let agent = &mut self.row.agent;
                if agent.status.deleted_at.is_none() {
                    if !agent.is_deleting() {
                        return Err(codes::rejected(codes::ARCHIVE));
                    }
                    agent.status.deleted_at = Some(now);
                    self.row.work.next_due_at = None;
                    self.status_changed = true;
                    self.cards_changed = true;
                }
            }
        }
        Ok(())
    }

    fn secret(&mut self, write: &SecretWrite, now: Now) {
        let pushed_before = self
            .row
            .secrets
            .get(&write.name)
            .and_then(|old| old.pushed_at);
        let record = SecretRecord {
            name: write.name.clone(),
            provider: write.provider.clone(),
            source: write.source,
            reference: write.reference.clone(),
            state: write.state,
            fingerprint: write.fingerprint.clone(),
            pushed_at: match write.state {
                SecretState::Pushed => Some(now),
                SecretState::Pushing | SecretState::Verified => pushed_before,
            },
        };
        self.row.secrets.insert(write.name.clone(), record);
    }

    fn auth_token(&mut self, try_id: &talon_core::TryId, state: AuthTokenState) {
        if !self.row.tokens.contains_key(try_id) {
            return;
        }
        for token in self.row.tokens.values_mut() {
            if token.try_id == *try_id {
                token.state = state;
            } else if state == AuthTokenState::Current && token.state == AuthTokenState::Current {
                token.state = AuthTokenState::Retired;
            }
        }
        let current = self
            .row
            .tokens
            .values()
            .find(|token| token.state == AuthTokenState::Current)
            .map(|token| token.sha256.clone());
        if self.row.agent.status.auth_token_hash != current {
            self.row.agent.status.auth_token_hash = current;
            self.status_changed = true;
        }
    }

    fn names(
        &mut self,
        worker: &str,
        bucket: &str,
        account: &str,
        rows: &BTreeMap<AgentId, Row>,
    ) -> StoreResult<()> {
        let id = self.row.agent.id;
        let taken = rows.values().any(|other| {
            let status = &other.agent.status;
            other.agent.id != id
                && (status.worker_name.as_deref() == Some(worker)
                    || status.r2_bucket.as_deref() == Some(bucket))
        });
        if taken {
            return Err(codes::rejected(codes::TAKEN));
        }
        let status = &mut self.row.agent.status;
        let new = [worker, bucket, account].map(|s| Some(s.to_owned()));
        let old = [
            &mut status.worker_name,
            &mut status.r2_bucket,
            &mut status.cloudflare_account,
        ];
        for (old, new) in old.into_iter().zip(new) {
            if *old != new {
                *old = new;
                self.status_changed = true;
            }
        }
        Ok(())
    }

    fn status(&mut self, write: &StatusWrite, rows: &BTreeMap<AgentId, Row>) -> StoreResult<()> {
        let write = writes::status(&self.row.agent.status, write);
        if write.is_empty() {
            return Ok(());
        }
        if let Some(Some(token)) = &write.r2_token_id
            && rows
                .values()
                .any(|other| other.agent.status.r2_token_id.as_ref() == Some(token))
        {
            return Err(codes::rejected(codes::TAKEN));
        }
        let status = &mut self.row.agent.status;
        if let Some(v) = write.deployment_status {
            status.deployment_status = v;
        }
        if let Some(v) = write.deployment_error {
            status.deployment_error = v;
        }
        if let Some(v) = write.observed_generation {
            status.observed_generation = v;
        }
        if let Some(v) = write.worker_url {
            status.worker_url = v;
        }
        if let Some(v) = write.r2_token_id {
            status.r2_token_id = v;
        }
        if let Some(v) = write.has_anthropic_key {
            status.has_anthropic_key = v;
        }
        if let Some(v) = write.has_openai_key {
            status.has_openai_key = v;
        }
        self.status_changed = true;
        Ok(())
    }
}
