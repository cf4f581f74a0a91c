//! The sweep: what carries our mark and belongs to an archived row is removed, for ever; what belongs to no row at
//! all is reported and left alone, for the database may be the one that is wrong.

use std::collections::{BTreeMap, HashMap};

use talon_core::cloud::{BucketRef, CallClass, CallCx, CloudError};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::name;
use talon_core::resource::ResourceKind;
use talon_core::spec::Jurisdiction;
use talon_core::{AgentId, InstallId};
use talon_store::{Leftover, RowState, StoreError, StoreResult};

use crate::clock::fraction;
use crate::inventory::{Inventory, marked_workers};
use crate::pass::Shared;

/// Things a sweep tries to remove at most, so that it never holds up a resync nor uses up the budget.
const MOST: usize = 100;

/// What a sweep did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Removed.
    pub removed: usize,
    /// Marked, but of no row.
    pub unowned: Vec<String>,
}

struct Found {
    kind: ResourceKind,
    name: String,
    id: String,
}

/// Sweeps once. Never destroys anything while a hold is in force.
pub async fn run(shared: &Shared, inventory: &Inventory) -> StoreResult<Report> {
    let install = &shared.base.install;
    let mut found: BTreeMap<AgentId, Vec<Found>> = BTreeMap::new();
    for (agent, worker) in marked_workers(inventory, install) {
        let name = worker.name.clone();
        found.entry(agent).or_default().push(Found {
            kind: ResourceKind::Worker,
            id: name.clone(),
            name,
        });
    }
    for tokens in inventory.tokens.values() {
        for token in tokens {
            if let Some(agent) = name::agent_of_token(install, &token.name) {
                let (name, id) = (token.name.clone(), token.id.clone());
                found.entry(agent).or_default().push(Found {
                    kind: ResourceKind::R2Token,
                    name,
                    id,
                });
            }
        }
    }
    let leftovers: HashMap<String, AgentId> = shared
        .store
        .leftovers()
        .await?
        .into_iter()
        .filter(|l| l.kind == ResourceKind::R2Bucket && is_own_bucket(install, l))
        .map(|l| (l.name, l.agent_id))
        .collect();
    for bucket in inventory.buckets.keys() {
        if let Some(agent) = leftovers.get(bucket) {
            let (name, id) = (bucket.clone(), bucket.clone());
            found.entry(*agent).or_default().push(Found {
                kind: ResourceKind::R2Bucket,
                name,
                id,
            });
        }
    }
    let ids: Vec<AgentId> = found.keys().copied().collect();
    let rows: HashMap<AgentId, RowState> =
        shared.store.ownership(&ids).await?.into_iter().collect();
    let held = shared.store.hold().await?.is_some() || shared.config.observe_only;
    let mut report = Report::default();
    let mut tried = 0;
    // Begun anywhere: what cannot be removed, however much, keeps nothing else from its turn.
    let mut found: Vec<(AgentId, Vec<Found>)> = found.into_iter().collect();
    let begin = fraction(shared.random.as_ref()) * found.len() as f64;
    let begin = (begin as usize).min(found.len());
    found.rotate_left(begin);
    for (agent, things) in found {
        match rows.get(&agent) {
            Some(RowState::Live) => {}
            Some(RowState::Archived) if held => {}
            Some(RowState::Archived) => {
                for thing in things {
                    if tried < MOST {
                        tried += 1;
                        remove(shared, agent, &thing, inventory, &mut report).await?;
                    }
                }
            }
            None => report
                .unowned
                .extend(things.iter().map(|t| format!("{}/{}", t.kind, t.name))),
        }
    }
    for object in &report.unowned {
        let event = NewEvent {
            severity: Severity::Warning,
            reason: EventReason::OrphanFound,
            object: object.clone(),
            message: "carries the mark of this install but belongs to no row; it was left alone"
                .to_owned(),
        };
        shared.store.record_event(None, &event).await?;
    }
    Ok(report)
}

/// A bucket carries no mark: only the name that Talon itself would give it is believed, not what a row says.
fn is_own_bucket(install: &InstallId, leftover: &Leftover) -> bool {
    name::AgentName::parse(&leftover.agent).is_ok_and(|agent| {
        let worker = name::worker_name(install, leftover.agent_id, &agent);
        leftover.name == name::bucket_name(install, &worker)
    })
}

async fn remove(
    shared: &Shared,
    agent: AgentId,
    thing: &Found,
    inventory: &Inventory,
    report: &mut Report,
) -> StoreResult<()> {
    let cx = CallCx {
        class: CallClass::Sweep,
        remaining: None,
    };
    let done = match thing.kind {
        ResourceKind::Worker => shared.cloud.delete_worker(cx, &thing.id).await,
        ResourceKind::R2Token => shared.cloud.delete_token(cx, &thing.id).await,
        ResourceKind::R2Bucket => {
            let jurisdiction = inventory
                .buckets
                .get(&thing.name)
                .map_or(Jurisdiction::Default, |b| b.jurisdiction);
            empty_and_delete(
                shared,
                cx,
                &BucketRef {
                    name: thing.name.clone(),
                    jurisdiction,
                },
            )
            .await
        }
        ResourceKind::WorkerRoute | ResourceKind::R2Objects | ResourceKind::AgentCard => Ok(()),
    };
    let (cleaned, error) = match &done {
        Ok(()) | Err(CloudError::NotFound(_)) => (true, None),
        Err(error) => (false, Some(error.to_string())),
    };
    // What was part of it is gone with it.
    let part = match thing.kind {
        ResourceKind::Worker => Some(ResourceKind::WorkerRoute),
        ResourceKind::R2Bucket => Some(ResourceKind::R2Objects),
        ResourceKind::R2Token
        | ResourceKind::WorkerRoute
        | ResourceKind::R2Objects
        | ResourceKind::AgentCard => None,
    };
    for kind in [Some(thing.kind), part.filter(|_| cleaned)]
        .into_iter()
        .flatten()
    {
        let noted = shared
            .store
            .correct_cleanup(agent, kind, cleaned, error.as_deref());
        match noted.await {
            // A row of an older backup may have no record of what was made since: it is removed all the same.
            Ok(()) | Err(StoreError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    if done.is_ok() {
        report.removed += 1;
        let event = NewEvent {
            severity: Severity::Normal,
            reason: EventReason::CleanedUp,
            object: format!("{}/{}", thing.kind, thing.name),
            message: "removed by the sweep".to_owned(),
        };
        shared.store.record_event(Some(agent), &event).await?;
    }
    Ok(())
}

/// One page a sweep: a large bucket is emptied over many.
async fn empty_and_delete(
    shared: &Shared,
    cx: CallCx,
    bucket: &BucketRef,
) -> Result<(), CloudError> {
    let page = shared.cloud.list_objects(cx, bucket).await?;
    if !page.keys.is_empty() {
        shared.cloud.delete_objects(cx, bucket, &page.keys).await?;
    }
    for upload in shared.cloud.list_uploads(cx, bucket).await? {
        shared.cloud.abort_upload(cx, bucket, &upload).await?;
    }
    shared.cloud.delete_bucket(cx, bucket).await
}
