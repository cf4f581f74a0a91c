//! What there is to sweep: things with our mark in the lists, what cleanup is known to have left behind, and buckets
//! that look ours.

use std::collections::BTreeMap;

use talon_core::cloud::{CallClass, CallCx};
use talon_core::name::{self, AgentName};
use talon_core::resource::ResourceKind;
use talon_core::spec::Jurisdiction;
use talon_core::{AgentId, InstallId};
use talon_store::{Leftover, StoreResult};

use crate::inventory::{Inventory, marked_workers};
use crate::shared::Shared;

/// One thing to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    /// Its name.
    pub name: String,
    /// By what it is removed.
    pub id: String,
    /// Where it lives (buckets).
    pub jurisdiction: Jurisdiction,
}

impl Thing {
    fn new(name: &str, id: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            jurisdiction: Jurisdiction::Default,
        }
    }
}

/// By agent and kind. No thing at all: it was left over, and these lists do not show it any more.
pub(super) type Found = BTreeMap<AgentId, BTreeMap<ResourceKind, Vec<Thing>>>;

/// Whether a leftover of this kind is about the bucket.
pub(super) fn is_of_bucket(kind: ResourceKind) -> bool {
    match kind {
        ResourceKind::R2Bucket | ResourceKind::R2Objects => true,
        ResourceKind::Worker
        | ResourceKind::WorkerRoute
        | ResourceKind::R2Token
        | ResourceKind::AgentCard => false,
    }
}

/// Everything that carries our mark, and everything cleanup has left over.
pub(super) fn all(install: &InstallId, inventory: &Inventory, leftovers: &[Leftover]) -> Found {
    let mut found = Found::new();
    let mut add = |agent: AgentId, kind: ResourceKind, thing: Option<Thing>| {
        let things = found.entry(agent).or_default().entry(kind).or_default();
        things.extend(thing.filter(|t| !things.contains(t)));
    };
    for (agent, worker) in marked_workers(inventory, install) {
        let thing = Thing::new(&worker.name, &worker.name);
        add(agent, ResourceKind::Worker, Some(thing));
    }
    for token in inventory.tokens.values().flatten() {
        if let Some(agent) = name::agent_of_token(install, &token.name) {
            let thing = Thing::new(&token.name, &token.id);
            add(agent, ResourceKind::R2Token, Some(thing));
        }
    }
    for left in leftovers {
        if let Some((kind, thing)) = of_leftover(install, inventory, left) {
            add(left.agent_id, kind, thing);
        }
    }
    found
}

/// What a leftover comes to: something to remove, or nothing any more (the inner `None`). The outer one: these lists do
/// not tell, or what they show under its name is not known to be ours. Only the names that Talon itself would give are
/// believed, not what a row says.
fn of_leftover(
    install: &InstallId,
    inventory: &Inventory,
    left: &Leftover,
) -> Option<(ResourceKind, Option<Thing>)> {
    let agent = AgentName::parse(&left.agent).ok()?;
    let worker = name::worker_name(install, left.agent_id, &agent);
    match left.kind {
        // With our mark on it, it is found without the row.
        ResourceKind::Worker | ResourceKind::WorkerRoute => {
            let listed = inventory.workers.contains_key(&worker);
            (!listed).then_some((ResourceKind::Worker, None))
        }
        ResourceKind::R2Bucket | ResourceKind::R2Objects => {
            let bucket = name::bucket_name(install, &worker);
            let thing = match inventory.buckets.get(&bucket) {
                Some(info) => (info.jurisdiction == left.jurisdiction).then(|| {
                    Some(Thing {
                        jurisdiction: info.jurisdiction,
                        ..Thing::new(&bucket, &bucket)
                    })
                }),
                None => inventory
                    .jurisdictions
                    .contains(&left.jurisdiction)
                    .then_some(None),
            };
            thing.map(|thing| (ResourceKind::R2Bucket, thing))
        }
        ResourceKind::R2Token => {
            let ours = name::token_name(install, left.agent_id);
            let known = |id: &String| Some(id) == left.external_id.as_ref();
            let mut all = inventory.tokens.values().flatten();
            let listed = all.any(|t| t.name == ours || known(&t.id));
            (!listed).then_some((ResourceKind::R2Token, None))
        }
        ResourceKind::AgentCard => {
            let url = format!("ws-agent://{agent}");
            Some((ResourceKind::AgentCard, Some(Thing::new(&url, &url))))
        }
    }
}

/// Buckets that look as if this install had made them and that stand in no row. After a restore those are asked for
/// wherever they may be: the rows that said where are lost.
pub(super) async fn unowned_buckets(
    shared: &Shared,
    inventory: &Inventory,
    restored: bool,
) -> StoreResult<Vec<String>> {
    let mut names: Vec<String> = inventory.buckets.keys().cloned().collect();
    let elsewhere = [Jurisdiction::Eu, Jurisdiction::Fedramp];
    for jurisdiction in elsewhere
        .into_iter()
        .filter(|j| restored && !inventory.jurisdictions.contains(j))
    {
        let cx = CallCx {
            class: CallClass::Sweep,
            remaining: None,
        };
        match shared.cloud.list_buckets(cx, jurisdiction).await {
            Ok(more) => names.extend(more.into_iter().map(|b| b.name)),
            // Not every account has every jurisdiction.
            Err(error) => {
                tracing::debug!(
                    error = crate::failure::shown(&error),
                    jurisdiction = jurisdiction.as_str(),
                    "buckets not listed"
                );
            }
        }
    }
    names.retain(|bucket| name::bucket_looks_ours(&shared.base.install, bucket));
    if names.is_empty() {
        return Ok(names);
    }
    let owned = shared.store.owned_buckets(&names).await?;
    names.retain(|bucket| !owned.contains(bucket));
    Ok(names)
}
