//! The agents in the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use talon_controller::clock::OsRandom;
use talon_core::event::Event;
use talon_core::presence::ApiKey;
use talon_core::secret::SecretValue;
use talon_core::task::Task;
use talon_core::{AgentId, Owner, Snapshot};
use talon_factory::wire::{HistoryEntry, changes_of, events_of, left_over};
use talon_store::access::{ApiToken, NewAudit, NewToken};
use talon_store::fleet::Actor;
use talon_store::{
    Applied, ApplyOptions, EventFilter, Hold, HoldKind, ListFilter, StoreError, WholeStore,
};
use talon_store_sqlite::SqliteStore;

use super::watch::Feed;
use super::{Answer, Events, Fleet, Left, Refusal, Revoked, WantedToken, Watch};
use crate::database::Opened;
use crate::exit::{Exit, Failure};
use crate::manifests::Document;

/// See the module.
pub struct Rows {
    store: Arc<dyn WholeStore>,
    file: Option<SqliteStore>,
}

impl Rows {
    /// Of an open database.
    pub fn new(opened: Opened) -> Self {
        Self {
            store: opened.store,
            file: opened.file,
        }
    }

    /// Of a store that this process works on itself.
    pub fn own(store: Arc<dyn WholeStore>) -> Self {
        Self { store, file: None }
    }

    /// An entry in the audit log: who runs this command is known to this machine only.
    async fn note(&self, action: &str, id: &str) -> Answer<()> {
        let actor = Actor {
            name: "cli".to_owned(),
            source: "local".to_owned(),
        };
        let entry = NewAudit {
            action: action.to_owned(),
            object: id.to_owned(),
            fields: Vec::new(),
        };
        Ok(self.store.audit(&actor, &entry).await?)
    }
}

/// What not everybody may read who may read the rows is left out for them.
fn if_allowed<T: Default>(read: Result<T, StoreError>) -> Answer<T> {
    match read.map_err(Failure::from) {
        Err(failure) if failure.is_lack_of_privilege() => Ok(T::default()),
        read => read,
    }
}

/// Who may read the rows need not be one who may read the audit log.
fn no_log(failure: Failure) -> Failure {
    if failure.is_lack_of_privilege() {
        return Failure::new(
            Exit::NotAllowed,
            "this database role may not read the audit log, which the history is made of",
            "ask a daemon for it (--server, TALON_SERVER), or connect as talon_controller",
        );
    }
    failure
}

#[async_trait]
impl Fleet for Rows {
    async fn get(&self, name: &str, archived: bool) -> Answer<Option<Snapshot>> {
        Ok(self.store.get(name, archived).await?)
    }

    async fn list(&self, filter: &ListFilter) -> Answer<Vec<Snapshot>> {
        Ok(self.store.list(filter).await?)
    }

    async fn look(&self, agents: &[(AgentId, String)]) -> Answer<Vec<Option<Snapshot>>> {
        let mut found = Vec::with_capacity(agents.len());
        for (id, _) in agents {
            found.push(self.store.load(*id).await?);
        }
        Ok(found)
    }

    async fn watch(&self) -> Answer<Box<dyn Watch>> {
        Ok(Box::new(Feed::begin(self.store.clone()).await?))
    }

    async fn events(&self, ask: &Events) -> Answer<Vec<Event>> {
        let filter = EventFilter {
            agent: ask.agent.clone(),
            severity: ask.severity,
            after: ask.after,
            limit: ask.limit,
        };
        Ok(events_of(&*self.store, ask.owner.clone(), filter).await?)
    }

    async fn tasks(&self, agent: &Snapshot, limit: i64) -> Answer<Vec<Task>> {
        let name = agent.agent.name.as_str();
        let mut tasks = if_allowed(self.store.recent_tasks(name, limit).await)?;
        tasks.retain(|task| task.created_at >= agent.agent.created_at);
        Ok(tasks)
    }

    async fn history(&self, agent: &Snapshot) -> Answer<Vec<HistoryEntry>> {
        let found = changes_of(&*self.store, agent).await;
        found.map_err(|error| no_log(error.into()))
    }

    async fn own(&self) -> Answer<Option<Owner>> {
        Ok(None)
    }

    async fn apply(
        &self,
        wanted: &Document,
        _: Option<&Snapshot>,
        options: ApplyOptions,
    ) -> Result<Applied, Refusal> {
        let applied = self
            .store
            .apply(&wanted.name, &wanted.owner, &wanted.spec, options);
        applied.await.map_err(|error| match error {
            StoreError::Rejected { code, message } => Refusal::Rule(code, message),
            error => Refusal::Other(error.into()),
        })
    }

    async fn request_deletion(&self, agent: &Snapshot, keep_bucket: bool) -> Answer<()> {
        Ok(self
            .store
            .request_deletion(&agent.agent.name, keep_bucket)
            .await?)
    }

    async fn request_reconcile(&self, agent: &Snapshot) -> Answer<()> {
        Ok(self.store.request_reconcile(&agent.agent.name).await?)
    }

    async fn set_suspend(&self, agent: &Snapshot, suspend: bool) -> Answer<bool> {
        Ok(self.store.set_suspend(&agent.agent.name, suspend).await?)
    }

    async fn hold(&self) -> Answer<Option<Hold>> {
        Ok(self.store.hold().await?)
    }

    async fn set_hold(&self, reason: &str) -> Answer<bool> {
        Ok(self.store.set_hold(HoldKind::Operator, reason).await?)
    }

    async fn release_hold(&self) -> Answer<Option<Hold>> {
        Ok(self.store.release_hold().await?)
    }

    async fn nobody_works(&self) -> Answer<bool> {
        // One daemon per file, which holds its lock; of a server nobody can tell.
        Ok(self
            .file
            .as_ref()
            .is_some_and(|file| file.lock_daemon().is_ok()))
    }

    async fn leftovers(&self) -> Answer<Vec<Left>> {
        let left = left_over(&*self.store, None).await?.into_iter();
        let left = left.map(|l| Left {
            kind: l.kind.to_string(),
            name: l.name,
        });
        Ok(left.collect())
    }

    async fn tokens(&self, owner: Option<&Owner>) -> Answer<Vec<ApiToken>> {
        Ok(self.store.tokens(owner).await?)
    }

    async fn create_token(&self, wanted: &WantedToken) -> Answer<(ApiToken, SecretValue)> {
        let token = talon_factory::new_token(&OsRandom);
        let new = NewToken {
            label: wanted.label.clone(),
            role: wanted.role,
            owner: wanted.owner.clone(),
            sha256: token.sha256_hex(),
            expires_in: wanted.expires_in,
        };
        let made = self.store.create_token(&new).await?;
        self.note("token_create", &made.id).await?;
        Ok((made, token))
    }

    async fn revoke_token(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked> {
        let known = self.store.tokens(owner).await?;
        let Some(token) = known.iter().find(|token| token.id == id) else {
            return Ok(Revoked::Unknown);
        };
        if token.revoked_at.is_some() || !self.store.revoke_token(id).await? {
            return Ok(Revoked::Before);
        }
        self.note("token_revoke", id).await?;
        Ok(Revoked::Now)
    }

    async fn keys(&self, owner: Option<&Owner>) -> Answer<Vec<ApiKey>> {
        Ok(self
            .store
            .api_keys(owner.map(|owner| owner.0.as_str()))
            .await?)
    }

    async fn create_key(
        &self,
        owner: Option<&Owner>,
        label: &str,
        expires_in: Option<Duration>,
    ) -> Answer<(ApiKey, SecretValue)> {
        let owner = owner.cloned().unwrap_or_default();
        let key = talon_factory::new_api_key(&OsRandom);
        let made = self
            .store
            .create_api_key(&owner.0, label, &key.sha256_hex(), expires_in)
            .await?;
        self.note("key_create", &made.id).await?;
        Ok((made, key))
    }

    async fn revoke_key(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked> {
        let known = self.keys(owner).await?;
        let Some(key) = known.iter().find(|key| key.id == id) else {
            return Ok(Revoked::Unknown);
        };
        if key.revoked_at.is_some() || !self.store.revoke_api_key(id).await? {
            return Ok(Revoked::Before);
        }
        self.note("key_revoke", id).await?;
        Ok(Revoked::Now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_the_audit_log_is_told_where_else_to_ask() {
        let refused = talon_store::codes::invalid("this database role may not do that");
        let told = no_log(refused.into());
        assert_eq!(told.exit, Exit::NotAllowed);
        assert!(told.message.contains("audit log"), "{told}");
        assert!(told.next.contains("--server"), "{told}");
        let down = || Failure::from(StoreError::Unavailable("down".to_owned()));
        assert_eq!(no_log(down()), down());
    }
}
