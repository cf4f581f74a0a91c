//! What must hold of the local Cloudflare and the rows once everything is settled.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use talon_core::name::{WorkerMarks, agent_of_token, bucket_looks_ours};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::secret::names;
use talon_core::snapshot::AuthTokenState;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Snapshot};
use talon_simulator::{StateView, WorkerView};
use talon_store::WholeStore;
use talon_worker::IDENTITY_MODULE;

use crate::site::{ANTHROPIC_KEY, Site, unsettled};

/// What was found to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Agents that live.
    pub live: usize,
    /// Agents that were deleted.
    pub archived: usize,
}

/// Compares rows and Cloudflare. The error names everything that is wrong.
pub async fn verify(site: &Site<'_>) -> Result<Found> {
    verify_with(site, &|_| ANTHROPIC_KEY.to_owned()).await
}

/// As [`verify`], where each agent has a key of its own.
pub async fn verify_with(site: &Site<'_>, key_of: &dyn Fn(&str) -> String) -> Result<Found> {
    let rows = site.rows().await?;
    let state = site.sim.state();
    let mut wrong: Vec<String> = rows.iter().filter_map(unsettled).collect();
    let (archived, live): (Vec<&Snapshot>, Vec<&Snapshot>) =
        rows.iter().partition(|r| r.agent.is_archived());
    nothing_is_left(site, &live, &state, &mut wrong);
    for row in &live {
        if let Err(error) = agent(site, row, &state, key_of).await {
            wrong.push(format!("{}: {error:#}", row.agent.name));
        }
    }
    let deleted = effective_deletes(site);
    for row in &archived {
        cleanup(row, &deleted, &mut wrong);
    }
    let archived_ids: BTreeSet<AgentId> = archived.iter().map(|r| r.agent.id).collect();
    for (id, _) in site.store.card_hashes().await? {
        if archived_ids.contains(&id) {
            wrong.push(format!("a card of the archived agent {id}"));
        }
    }
    if let Some(hold) = site.store.hold().await? {
        wrong.push(format!("a hold: {}", hold.reason));
    }
    ensure!(
        wrong.is_empty(),
        "{} things are wrong:\n  {}\n{}",
        wrong.len(),
        wrong.join("\n  "),
        site.dump().await
    );
    Ok(Found {
        live: live.len(),
        archived: archived.len(),
    })
}

/// What carries our mark belongs to a live row, and none has two of anything.
fn nothing_is_left(
    site: &Site<'_>,
    live: &[&Snapshot],
    state: &StateView,
    wrong: &mut Vec<String>,
) {
    let ids: BTreeSet<AgentId> = live.iter().map(|r| r.agent.id).collect();
    let mut workers: BTreeMap<AgentId, Vec<&str>> = BTreeMap::new();
    for worker in &state.workers {
        match marks(worker) {
            Some(m) if m.install == site.install && ids.contains(&m.agent) => {
                workers.entry(m.agent).or_default().push(&worker.name);
            }
            _ => wrong.push(format!("Worker {} belongs to no live row", worker.name)),
        }
    }
    let mut tokens: BTreeMap<AgentId, Vec<&str>> = BTreeMap::new();
    // The controller's own is the first.
    for token in state.tokens.iter().skip(1) {
        match agent_of_token(&site.install, &token.name) {
            Some(id) if ids.contains(&id) => tokens.entry(id).or_default().push(&token.id),
            _ => wrong.push(format!("token {} belongs to no live row", token.name)),
        }
    }
    let owned: BTreeSet<&str> = live
        .iter()
        .filter_map(|r| r.agent.status.r2_bucket.as_deref())
        .collect();
    for bucket in &state.buckets {
        if !bucket_looks_ours(&site.install, &bucket.name) || !owned.contains(bucket.name.as_str())
        {
            wrong.push(format!("bucket {} belongs to no live row", bucket.name));
        }
    }
    for row in live {
        for (what, found) in [("Workers", &workers), ("tokens", &tokens)] {
            let n = found.get(&row.agent.id).map_or(0, Vec::len);
            if n != 1 {
                wrong.push(format!("{} has {n} {what}", row.agent.name));
            }
        }
    }
}

fn marks(worker: &WorkerView) -> Option<WorkerMarks> {
    WorkerMarks::from_tags(worker.tags.as_ref()?)
}

/// A live agent's things are there and fit each other and its row.
async fn agent(
    site: &Site<'_>,
    row: &Snapshot,
    state: &StateView,
    key_of: &dyn Fn(&str) -> String,
) -> Result<()> {
    let (agent, status) = (&row.agent, &row.agent.status);
    let name = status.worker_name.as_deref().context("no Worker name")?;
    let worker = state.workers.iter().find(|w| w.name == name);
    let worker = worker.context("its Worker is not there")?;
    ensure!(worker.enabled, "its Worker is not served");
    let marks = marks(worker).context("its Worker bears no marks")?;
    ensure!(marks.agent == agent.id, "its Worker is another agent's");
    let bucket = status.r2_bucket.as_deref().context("no bucket name")?;
    let buckets = state.buckets.iter().filter(|b| b.name == bucket).count();
    ensure!(buckets == 1, "it has {buckets} buckets");

    let secret = |secret: &str| {
        site.sim
            .secret_value(name, secret)
            .with_context(|| format!("its Worker has no {secret}"))
    };
    let auth = secret(names::AUTH_TOKEN)?.sha256_hex();
    let recorded = status.auth_token_hash.as_deref();
    ensure!(
        recorded == Some(&auth),
        "the auth token is not the recorded one"
    );
    let current: Vec<&str> = row
        .auth_tokens
        .iter()
        .filter(|t| t.state == AuthTokenState::Current)
        .map(|t| t.sha256.as_str())
        .collect();
    ensure!(
        current == [auth.as_str()],
        "the current auth token is another"
    );

    let token = status.r2_token_id.as_deref().context("no R2 token id")?;
    let value = site.sim.token_value(token);
    let value = value.context("its R2 token is not there")?.sha256_hex();
    ensure!(
        opened(&secret(names::R2_ACCESS_KEY_ID)?) == token,
        "the R2 key id is another"
    );
    ensure!(
        opened(&secret(names::R2_SECRET_ACCESS_KEY)?) == value,
        "the R2 secret is not of the token's present value"
    );
    ensure!(
        opened(&secret(names::MODEL)?) == agent.spec.model,
        "the Worker runs another model"
    );
    ensure!(
        opened(&secret(names::KEEP_ALIVE)?) == agent.spec.keep_alive.to_string(),
        "the Worker has another keep-alive"
    );
    ensure!(
        opened(&secret("ANTHROPIC_API_KEY")?) == key_of(agent.name.as_str()),
        "the Worker has another key"
    );
    let identity = site.sim.module_text(name, IDENTITY_MODULE);
    ensure!(
        identity.is_some() && identity == status.identity_md,
        "IDENTITY.md is not the recorded one"
    );
    let card = card(&*site.store, agent.id).await?;
    ensure!(
        card.authentication.map(|a| a.credentials).as_ref() == Some(&auth),
        "the card has another auth token"
    );
    let mut skills = card.skills.into_iter().map(|s| s.description);
    let wanted = agent.spec.skills.iter().map(|s| &s.description);
    // Without any, the card has one that Talon makes up.
    let mut wanted = wanted.peekable();
    ensure!(
        wanted.peek().is_none() || wanted.all(|w| skills.next().as_ref() == Some(w)),
        "the card has other skills"
    );
    Ok(())
}

#[allow(clippy::disallowed_methods)] // The proof that credentials fit each other.
fn opened(value: &talon_core::secret::SecretValue) -> String {
    value.expose().to_owned()
}

async fn card(store: &dyn WholeStore, id: AgentId) -> Result<talon_core::card::AgentCard> {
    store.card(id).await?.context("it has no card")
}

/// What the deletes that took effect removed: names of Workers and buckets, ids of tokens.
fn effective_deletes(site: &Site<'_>) -> BTreeSet<String> {
    site.sim
        .calls()
        .into_iter()
        .filter(|c| c.method == "DELETE" && c.took_effect())
        .filter_map(|c| {
            let last = c.resource().split('?').next()?.rsplit('/').next()?;
            Some(last.to_owned())
        })
        .collect()
}

/// The recorded result of each thing is what became of it.
fn cleanup(row: &Snapshot, deleted: &BTreeSet<String>, wrong: &mut Vec<String>) {
    let status = row.agent.status.deployment_status;
    if status != DeploymentStatus::Deleting {
        wrong.push(format!("{} is archived and {status}", row.agent.name));
    }
    for record in &row.resources {
        let gone_by_us = match record.kind {
            ResourceKind::Worker | ResourceKind::R2Bucket => deleted.contains(&record.name),
            ResourceKind::R2Token => record
                .external_id
                .as_ref()
                .is_none_or(|id| deleted.contains(id)),
            ResourceKind::WorkerRoute | ResourceKind::R2Objects | ResourceKind::AgentCard => true,
        };
        let right = record.state == ResourceState::Absent
            && record.cleanup_error.is_none()
            && match record.cleanup_result {
                Some(CleanupResult::Deleted) => gone_by_us && record.cleaned_at.is_some(),
                Some(CleanupResult::AlreadyAbsent) => record.cleaned_at.is_some(),
                Some(CleanupResult::Kept | CleanupResult::Failed) => false,
                // Never made.
                None => record.intent_at.is_none() && record.external_id.is_none(),
            };
        if !right {
            wrong.push(format!("{}: cleanup of {record:?}", row.agent.name));
        }
    }
}
