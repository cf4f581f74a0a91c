//! Tokens of the HTTP API, the audit log, and requests that may come twice.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use talon_core::Owner;

use super::MemoryStore;
use super::state::{Now, State};
use crate::access::{
    AccessStore, ApiToken, Attempt, Attempted, Audit, KEEP_ATTEMPTS, NewAudit, NewToken, Outcome,
};
use crate::fleet::Actor;
use crate::network::check_text;
use crate::writes::later;
use crate::{StoreResult, codes};

/// Who the database's own user is here.
const SOMEBODY: &str = "sql";

/// The tables.
#[derive(Clone, Default)]
pub(super) struct Access {
    tokens: Vec<(ApiToken, String)>,
    attempts: BTreeMap<(String, String), AttemptRow>,
    audit: Vec<Audit>,
}

#[derive(Clone)]
struct AttemptRow {
    request: String,
    at: Now,
    outcome: Option<Outcome>,
}

impl State {
    /// What a trigger does in a database.
    pub(super) fn audit(
        &mut self,
        actor: Option<&Actor>,
        action: &str,
        object: &str,
        fields: Vec<&str>,
        now: Now,
    ) {
        let name = actor.map_or(SOMEBODY, |actor| &actor.name);
        let source = actor.map(|actor| actor.source.as_str());
        self.enter(name, source, action, object, fields, now);
    }

    /// An entry in this name.
    pub(super) fn enter(
        &mut self,
        name: &str,
        source: Option<&str>,
        action: &str,
        object: &str,
        fields: Vec<&str>,
        now: Now,
    ) {
        let mut fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        fields.sort_unstable();
        self.access.audit.push(Audit {
            at: now,
            actor: name.to_owned(),
            source: source.map(str::to_owned),
            action: action.to_owned(),
            object: object.to_owned(),
            fields,
        });
    }

    fn create_token(&mut self, token: &NewToken, now: Now) -> StoreResult<ApiToken> {
        let known = |(_, sha256): &(ApiToken, String)| *sha256 == token.sha256;
        if self.access.tokens.iter().any(known) {
            return Err(codes::invalid("sha256: this token is stored already"));
        }
        let made = ApiToken {
            id: self.ids.word(),
            label: token.label.clone(),
            role: token.role,
            owner: token.owner.clone(),
            created_at: now,
            expires_at: token.expires_in.map(|d| later(now, d)),
            last_used_at: None,
            revoked_at: None,
        };
        self.access
            .tokens
            .push((made.clone(), token.sha256.clone()));
        Ok(made)
    }

    fn token(&self, sha256: &str, now: Now) -> Option<ApiToken> {
        let (token, _) = self.access.tokens.iter().find(|(_, hash)| hash == sha256)?;
        let good = token.revoked_at.is_none() && token.expires_at.is_none_or(|at| at > now);
        good.then(|| token.clone())
    }

    fn token_of(&mut self, id: &str) -> Option<&mut ApiToken> {
        let tokens = self.access.tokens.iter_mut();
        tokens.map(|(token, _)| token).find(|token| token.id == id)
    }

    fn attempt(&mut self, attempt: &Attempt, patience: Duration, now: Now) -> Attempted {
        self.access
            .attempts
            .retain(|_, row| later(row.at, KEEP_ATTEMPTS) > now);
        let place = (attempt.caller.clone(), attempt.key.clone());
        match self.access.attempts.get(&place) {
            Some(row) if row.request != attempt.request => return Attempted::Another,
            Some(row) => {
                if let Some(outcome) = &row.outcome {
                    return Attempted::Done(outcome.clone());
                }
                if later(row.at, patience) > now {
                    return Attempted::Running;
                }
            }
            None => {}
        }
        let row = AttemptRow {
            request: attempt.request.clone(),
            at: now,
            outcome: None,
        };
        self.access.attempts.insert(place, row);
        Attempted::First
    }
}

#[async_trait]
impl AccessStore for MemoryStore {
    async fn create_token(&self, token: &NewToken) -> StoreResult<ApiToken> {
        check_text("label", &token.label)?;
        self.write(|s, now| s.create_token(token, now))
    }

    async fn token(&self, sha256: &str) -> StoreResult<Option<ApiToken>> {
        Ok(self.read(|s, now| s.token(sha256, now)))
    }

    async fn tokens(&self, owner: Option<&Owner>) -> StoreResult<Vec<ApiToken>> {
        Ok(self.read(|s, _| {
            let all = s.access.tokens.iter().rev().map(|(token, _)| token);
            all.filter(|token| owner.is_none() || token.owner.as_ref() == owner)
                .cloned()
                .collect()
        }))
    }

    async fn revoke_token(&self, id: &str) -> StoreResult<bool> {
        Ok(self.write(|s, now| match s.token_of(id) {
            Some(token) if token.revoked_at.is_none() => {
                token.revoked_at = Some(now);
                true
            }
            _ => false,
        }))
    }

    async fn token_used(&self, id: &str) -> StoreResult<()> {
        self.write(|s, now| {
            if let Some(token) = s.token_of(id) {
                token.last_used_at = token.last_used_at.max(Some(now));
            }
        });
        Ok(())
    }

    async fn attempt(&self, attempt: &Attempt, patience: Duration) -> StoreResult<Attempted> {
        Ok(self.write(|s, now| s.attempt(attempt, patience, now)))
    }

    async fn attempted(&self, attempt: &Attempt, outcome: Option<&Outcome>) -> StoreResult<()> {
        let place = (attempt.caller.clone(), attempt.key.clone());
        self.write(|s, _| match outcome {
            None => {
                s.access.attempts.remove(&place);
            }
            Some(outcome) => {
                if let Some(row) = s.access.attempts.get_mut(&place) {
                    row.outcome = Some(outcome.clone());
                }
            }
        });
        Ok(())
    }

    async fn audit(&self, actor: &Actor, entry: &NewAudit) -> StoreResult<()> {
        let fields = entry.fields.iter().map(String::as_str).collect();
        self.write(|s, now| s.audit(Some(actor), &entry.action, &entry.object, fields, now));
        Ok(())
    }

    async fn audit_log(&self, limit: i64) -> StoreResult<Vec<Audit>> {
        let limit = usize::try_from(limit).unwrap_or_default();
        Ok(self.read(|s, _| s.access.audit.iter().rev().take(limit).cloned().collect()))
    }

    async fn audit_about(&self, object: &str, since: Now, limit: i64) -> StoreResult<Vec<Audit>> {
        let limit = usize::try_from(limit).unwrap_or_default();
        let about = |entry: &&Audit| entry.object == object && entry.at >= since;
        Ok(self.read(|s, _| {
            let found = s.access.audit.iter().rev().filter(about);
            found.take(limit).cloned().collect()
        }))
    }
}
