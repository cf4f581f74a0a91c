//! The agents by way of a daemon, over its HTTP API.

mod items;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use talon_core::event::{Event, NewEvent};
use talon_core::id::Generation;
use talon_core::presence::ApiKey;
use talon_core::secret::SecretValue;
use talon_core::task::Task;
use talon_core::{AgentId, Owner, Snapshot};
use talon_factory::wire::{self, HistoryEntry};
use talon_store::access::ApiToken;
use talon_store::{Applied, ApplyOptions, ApplyOutcome, Hold, ListFilter, StoreError};

use items::{
    EventItem, HoldItem, Items, LeftItem, Page, Rehearsed, TaskItem, TokenItem, Written, seconds,
    take_secret,
};

use super::watch::Stream;
use super::{Answer, Events, Fleet, Left, Refusal, Revoked, WantedToken, Watch};
use crate::client::{Call, Refused, Server};
use crate::exit::{Exit, Failure};
use crate::manifests::Document;
use crate::output::safe;

/// Where agents are.
pub const AGENTS: [&str; 4] = ["api", "v1", "openclaw", "agents"];
const HOLD: [&str; 3] = ["api", "v1", "hold"];
const TOKENS: [&str; 3] = ["api", "v1", "tokens"];
const KEYS: [&str; 3] = ["api", "v1", "keys"];
/// Agents on a page; with their identities a page is some megabytes at most.
const PAGE: &str = "100";
/// Up to so many agents are looked at one by one whatever else there is.
const FEW: usize = 8;
/// More are, too, if there are more than so many others for each.
const OTHERS: usize = 10;
/// How often a write is decided anew because the agent changed in between.
const DECISIONS: usize = 4;
/// How long a daemon that is being restarted is waited for by whoever only looks.
const PATIENCE: u32 = 20;

/// See the module.
pub struct Remote {
    server: Arc<Server>,
    /// How many agents there were when all were read last; 0: they never were.
    size: AtomicUsize,
}

/// Whether to look at so many agents one by one, of so many that there are, rather than to read all.
fn one_by_one(wanted: usize, size: usize) -> bool {
    wanted <= FEW || wanted.saturating_mul(OTHERS) < size
}

impl Remote {
    /// By way of this daemon.
    pub fn new(server: Server) -> Self {
        Self {
            server: Arc::new(server),
            size: AtomicUsize::new(0),
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Refused> {
        let mut call = Call::new(Method::GET, path);
        call.query = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let document = self.server.call(&call).await?;
        self.typed(document)
    }

    fn typed<T: DeserializeOwned>(&self, document: Value) -> Result<T, Refused> {
        serde_json::from_value(document).map_err(|_| self.server.stranger().into())
    }

    /// Does something to an agent.
    async fn act(&self, agent: &Snapshot, call: Call) -> Answer<Value> {
        self.server.call(&call).await.map_err(|refused| {
            if refused.status == Some(StatusCode::NOT_FOUND) {
                Failure::not_found(agent.agent.name.as_str())
            } else {
                refused.into()
            }
        })
    }

    async fn one(
        &self,
        name: &str,
        id: Option<AgentId>,
        archived: bool,
    ) -> Answer<Option<Snapshot>> {
        let id = id.map(|id| id.to_string());
        let mut query = vec![("view", "full")];
        query.extend(archived.then_some(("include", "deleted")));
        query.extend(id.as_deref().map(|id| ("id", id)));
        match self.read::<Value>(&agent_path(name), &query).await {
            Ok(document) => match wire::decode(document) {
                Some(snapshot) => Ok(Some(snapshot)),
                None => Err(self.server.stranger()),
            },
            Err(refused) if refused.status == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    async fn look_once(&self, agents: &[(AgentId, String)]) -> Answer<Vec<Option<Snapshot>>> {
        let mut found = Vec::with_capacity(agents.len());
        if one_by_one(agents.len(), self.size.load(Ordering::Relaxed)) {
            for (id, name) in agents {
                found.push(self.one(name, Some(*id), true).await?);
            }
            return Ok(found);
        }
        let all = ListFilter {
            include_archived: true,
            ..ListFilter::default()
        };
        let mut all = self.list(&all).await?;
        self.size.store(all.len(), Ordering::Relaxed);
        for (id, _) in agents {
            let at = all.iter().position(|s| s.agent.id == *id);
            found.push(at.map(|at| all.swap_remove(at)));
        }
        Ok(found)
    }

    /// One write of a spec that builds upon what was read. `Ok(None)`: it has changed meanwhile.
    async fn put(
        &self,
        wanted: &Document,
        before: Option<&Snapshot>,
        dry_run: bool,
    ) -> Result<Option<Applied>, Refusal> {
        let generation = before.map_or(0, |s| s.agent.generation.0);
        let spec = wire::Spec::from(&wanted.spec).into_json();
        let mut call = Call::new(Method::PUT, &agent_path(wanted.name.as_str()));
        call.headers.push(("if-generation", generation.to_string()));
        call.body = Some(json!({ "owner": wanted.owner, "spec": spec }));
        if dry_run {
            call.query.push(("dryRun".to_owned(), "server".to_owned()));
        }
        let answer = match self.server.call(&call).await {
            Ok(answer) => answer,
            Err(refused) => {
                return match (refused.rule, refused.status) {
                    (Some((code, message)), _) => Err(Refusal::Rule(code, message)),
                    (None, Some(StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND)) => {
                        Ok(None)
                    }
                    (None, Some(StatusCode::CONFLICT)) if before.is_none() => Ok(None),
                    (None, _) => Err(Refusal::Other(*refused.failure)),
                };
            }
        };
        if dry_run {
            let plan: Rehearsed = self.typed(answer).map_err(Failure::from)?;
            return Ok(Some(plan.applied(before)));
        }
        let written: Written = self.typed(answer).map_err(Failure::from)?;
        let outcome = match before {
            None => ApplyOutcome::Created,
            Some(_) if written.generation == generation => ApplyOutcome::Unchanged,
            Some(_) => ApplyOutcome::Updated,
        };
        Ok(Some(Applied {
            id: written.id,
            generation: Generation(written.generation),
            outcome,
        }))
    }
}

fn agent_path(name: &str) -> Vec<&str> {
    AGENTS.into_iter().chain([name]).collect()
}

fn below<'n>(name: &'n str, what: &'n str) -> Vec<&'n str> {
    AGENTS.into_iter().chain([name, what]).collect()
}

/// What a rehearsal answers.

#[async_trait]
impl Fleet for Remote {
    async fn get(&self, name: &str, archived: bool) -> Answer<Option<Snapshot>> {
        self.one(name, None, archived).await
    }

    async fn list(&self, filter: &ListFilter) -> Answer<Vec<Snapshot>> {
        let status = filter.status.map(|status| status.to_string());
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut query = vec![("view", "full"), ("page_size", PAGE)];
            query.extend(status.as_deref().map(|status| ("status", status)));
            query.extend(
                filter
                    .owner
                    .as_ref()
                    .map(|owner| ("owner", owner.0.as_str())),
            );
            query.extend(filter.include_archived.then_some(("include", "deleted")));
            query.extend(next.as_deref().map(|next| ("page_token", next)));
            let page: Page = self.read(&AGENTS, &query).await?;
            for item in page.items {
                found.push(wire::decode(item).ok_or_else(|| self.server.stranger())?);
            }
            match page.next_page_token {
                None => return Ok(found),
                token => next = token,
            }
        }
    }

    async fn look(&self, agents: &[(AgentId, String)]) -> Answer<Vec<Option<Snapshot>>> {
        let mut tries = 0;
        loop {
            match self.look_once(agents).await {
                // A daemon that is being restarted is no reason not to wait for its agents.
                Err(failure) if failure.exit == Exit::Unavailable && tries < PATIENCE => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                looked => return looked,
            }
        }
    }

    async fn watch(&self) -> Answer<Box<dyn Watch>> {
        Ok(Box::new(Stream::begin(self.server.clone()).await?))
    }

    async fn events(&self, ask: &Events) -> Answer<Vec<Event>> {
        let (limit, after) = (
            ask.limit.to_string(),
            ask.after
                .map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        );
        let mut query = vec![("limit", limit.as_str())];
        query.extend(ask.agent.as_deref().map(|agent| ("agent", agent)));
        query.extend(ask.owner.as_ref().map(|owner| ("owner", owner.0.as_str())));
        query.extend(ask.severity.map(|severity| ("severity", severity.as_str())));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let found: Items = self.read(&["api", "v1", "events"], &query).await?;
        let events = found.known().map(|item: EventItem| Event {
            agent: item.agent,
            event: NewEvent {
                severity: item.severity,
                reason: item.reason,
                object: item.object,
                message: item.message,
            },
            count: item.count,
            first_at: item.first_at,
            last_at: item.last_at,
        });
        Ok(events.collect())
    }

    async fn tasks(&self, agent: &Snapshot, limit: i64) -> Answer<Vec<Task>> {
        let (name, limit) = (agent.agent.name.as_str(), limit.to_string());
        let found: Result<Items, Refused> =
            self.read(&below(name, "tasks"), &[("limit", &limit)]).await;
        match found {
            Ok(found) => Ok(found
                .known()
                .filter_map(|item: TaskItem| item.task(name))
                .collect()),
            Err(refused) if refused.status == Some(StatusCode::NOT_FOUND) => Ok(Vec::new()),
            Err(refused) => Err(refused.into()),
        }
    }

    async fn history(&self, agent: &Snapshot) -> Answer<Vec<HistoryEntry>> {
        let name = agent.agent.name.as_str();
        let found: Items = self.read(&below(name, "history"), &[]).await?;
        Ok(found.known().collect())
    }

    async fn own(&self) -> Answer<Option<Owner>> {
        let me: Value = self.read(&["api", "v1", "whoami"], &[]).await?;
        Ok(me["owner"].as_str().map(|owner| Owner(owner.to_owned())))
    }

    async fn apply(
        &self,
        wanted: &Document,
        before: Option<&Snapshot>,
        options: ApplyOptions,
    ) -> Result<Applied, Refusal> {
        let name = wanted.name.as_str();
        let mut before = before.cloned();
        for _ in 0..DECISIONS {
            let actual = before.as_ref().map_or(0, |s| s.agent.generation.0);
            if let Some(expected) = options.if_generation.filter(|expected| *expected != actual) {
                let stale = StoreError::Stale { expected, actual };
                return Err(Refusal::Other(stale.into()));
            }
            if let Some(applied) = self.put(wanted, before.as_ref(), options.dry_run).await? {
                return Ok(applied);
            }
            let now = self.get(name, false).await?;
            if now.is_none() && before.is_none() {
                return Err(Refusal::Other(Failure::rejected(
                    "the name is taken by an agent of another owner",
                    "choose another name, or use a token that sees that agent (TALON_TOKEN)",
                )));
            }
            before = now;
        }
        Err(Refusal::Other(Failure::new(
            Exit::Unavailable,
            "the agent is being changed by others all the time",
            "try again in a moment; talon history NAME shows who changes it",
        )))
    }

    async fn request_deletion(&self, agent: &Snapshot, keep_bucket: bool) -> Answer<()> {
        let mut call = Call::new(Method::DELETE, &agent_path(agent.agent.name.as_str()));
        if keep_bucket {
            call.query
                .push(("keep_bucket".to_owned(), "true".to_owned()));
        }
        self.act(agent, call).await.map(drop)
    }

    async fn request_reconcile(&self, agent: &Snapshot) -> Answer<()> {
        let path = below(agent.agent.name.as_str(), "reconcile");
        self.act(agent, Call::new(Method::POST, &path))
            .await
            .map(drop)
    }

    async fn set_suspend(&self, agent: &Snapshot, suspend: bool) -> Answer<bool> {
        let word = if suspend { "suspend" } else { "resume" };
        let path = below(agent.agent.name.as_str(), word);
        let after: Written = {
            let answer = self.act(agent, Call::new(Method::POST, &path)).await?;
            self.typed(answer)?
        };
        Ok(after.generation != agent.agent.generation.0)
    }

    async fn hold(&self) -> Answer<Option<Hold>> {
        let found: HoldItem = self.read(&HOLD, &[]).await?;
        Ok(found.hold())
    }

    async fn set_hold(&self, reason: &str) -> Answer<bool> {
        let before = self.hold().await?;
        let mut call = Call::new(Method::PUT, &HOLD);
        call.body = Some(json!({ "reason": reason }));
        let now: HoldItem = self.typed(self.server.call(&call).await?)?;
        let is_ours = now.hold().is_some_and(|hold| hold.reason == reason);
        Ok(before.is_none() && is_ours)
    }

    async fn release_hold(&self) -> Answer<Option<Hold>> {
        let before = self.hold().await?;
        self.server.call(&Call::new(Method::DELETE, &HOLD)).await?;
        Ok(before)
    }

    async fn nobody_works(&self) -> Answer<bool> {
        // The one that answers does.
        Ok(false)
    }

    async fn leftovers(&self) -> Answer<Vec<Left>> {
        let found: Items = self.read(&["api", "v1", "leftovers"], &[]).await?;
        let left = found.known().map(|item: LeftItem| Left {
            kind: item.kind,
            name: item.name,
        });
        Ok(left.collect())
    }

    async fn tokens(&self, owner: Option<&Owner>) -> Answer<Vec<ApiToken>> {
        let found: Items = self.read(&TOKENS, &[]).await?;
        let tokens = found.known().map(|item: TokenItem| ApiToken::from(item));
        let wanted = |token: &ApiToken| owner.is_none() || token.owner.as_ref() == owner;
        Ok(tokens.filter(wanted).collect())
    }

    async fn create_token(&self, wanted: &WantedToken) -> Answer<(ApiToken, SecretValue)> {
        let mut call = Call::new(Method::POST, &TOKENS);
        call.body = Some(json!({
            "label": wanted.label,
            "role": wanted.role,
            "owner": wanted.owner,
            "expires_in_seconds": seconds(wanted.expires_in),
        }));
        let mut made = self.server.call(&call).await?;
        let token = take_secret(&mut made, "token").ok_or_else(|| self.server.stranger())?;
        let made: TokenItem = self.typed(made)?;
        Ok((made.into(), token))
    }

    async fn revoke_token(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked> {
        let known = self.tokens(owner).await?;
        let known = known.iter().find(|token| token.id == id);
        self.revoke(&TOKENS, id, known.map(|token| token.revoked_at))
            .await
    }

    async fn keys(&self, owner: Option<&Owner>) -> Answer<Vec<ApiKey>> {
        let found: Items = self.read(&KEYS, &[]).await?;
        let wanted = |key: &ApiKey| owner.is_none_or(|owner| key.owner == owner.0);
        Ok(found.known().filter(wanted).collect())
    }

    async fn create_key(
        &self,
        owner: Option<&Owner>,
        label: &str,
        expires_in: Option<Duration>,
    ) -> Answer<(ApiKey, SecretValue)> {
        let mut call = Call::new(Method::POST, &KEYS);
        call.body = Some(json!({
            "label": label,
            "owner": owner,
            "expires_in_seconds": seconds(expires_in),
        }));
        let mut made = self.server.call(&call).await?;
        let key = take_secret(&mut made, "key").ok_or_else(|| self.server.stranger())?;
        let made: ApiKey = self.typed(made)?;
        Ok((made, key))
    }

    async fn revoke_key(&self, owner: Option<&Owner>, id: &str) -> Answer<Revoked> {
        let known = self.keys(owner).await?;
        let known = known.iter().find(|key| key.id == id);
        self.revoke(&KEYS, id, known.map(|key| key.revoked_at))
            .await
    }
}

impl Remote {
    /// `known`: when it was revoked, of one that there is.
    async fn revoke(
        &self,
        path: &[&str],
        id: &str,
        known: Option<Option<DateTime<Utc>>>,
    ) -> Answer<Revoked> {
        match known {
            None => return Ok(Revoked::Unknown),
            Some(Some(_)) => return Ok(Revoked::Before),
            Some(None) => {}
        }
        let path: Vec<&str> = path.iter().copied().chain([id]).collect();
        match self.server.call(&Call::new(Method::DELETE, &path)).await {
            Ok(_) => Ok(Revoked::Now),
            Err(refused) if refused.status == Some(StatusCode::NOT_FOUND) => Ok(Revoked::Before),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// What a daemon says of itself and of whoever asks, for `talon doctor`.
pub struct Standing {
    /// Whom the token belongs to.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// Whose agents it sees; `None`: everybody's.
    pub owner: Option<String>,
}

impl Remote {
    /// Whose the token is.
    pub async fn standing(&self) -> Answer<Standing> {
        let me: Value = self.read(&["api", "v1", "whoami"], &[]).await?;
        let text = |name: &str| safe(me[name].as_str().unwrap_or_default());
        Ok(Standing {
            name: text("name"),
            role: text("role"),
            owner: me["owner"].as_str().map(safe),
        })
    }

    /// Whether it can work, that is, whether its database answers.
    pub async fn is_ready(&self) -> Answer<()> {
        let asked = self.server.text(&["readyz"]).await;
        asked.map(drop).map_err(Failure::from)
    }

    /// The daemon.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

#[cfg(test)]
mod tests {
    use super::one_by_one;

    #[test]
    fn a_large_fleet_is_not_read_again_and_again_for_a_small_part_of_it() {
        for (wanted, size, expected) in [
            (8, 0, true),
            (9, 0, false),
            (9, 10_000, true),
            (9, 50, false),
            (1_000, 1_200, false),
        ] {
            assert_eq!(one_by_one(wanted, size), expected, "{wanted} of {size}");
        }
    }
}
