//! The sweep: what carries our mark and belongs to an archived row is removed, for ever; what belongs to no row at
//! all is reported and left alone, for the database may be the one that is wrong.

mod find;
mod remove;

use std::collections::HashMap;

use talon_core::AgentId;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::resource::ResourceKind;
use talon_store::{HoldKind, RowState, StoreResult};

use crate::clock::fraction;
use crate::inventory::Inventory;
use crate::shared::Shared;
use remove::Remover;

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

/// Has the jurisdictions listed in which cleanup has left a bucket: no live agent may be there any more.
pub async fn want(shared: &Shared) -> StoreResult<()> {
    for left in shared.store.leftovers().await? {
        if find::is_of_bucket(left.kind) {
            shared.surveyor.want(left.jurisdiction);
        }
    }
    Ok(())
}

/// Sweeps once. Never destroys anything while a hold is in force.
pub async fn run(shared: &Shared, inventory: &Inventory) -> StoreResult<Report> {
    let hold = shared.store.hold().await?;
    let leftovers = shared.store.leftovers().await?;
    let found = find::all(&shared.base.install, inventory, &leftovers);
    let ids: Vec<AgentId> = found.keys().copied().collect();
    let rows: HashMap<AgentId, RowState> =
        shared.store.ownership(&ids).await?.into_iter().collect();
    let held = hold.is_some() || shared.config.observe_only;
    let mut report = Report::default();
    let mut remover = Remover::new(shared, inventory, &leftovers);
    let mut tried = 0;
    // Begun anywhere: what cannot be removed, however much, keeps nothing else from its turn.
    let mut found: Vec<_> = found.into_iter().collect();
    let begin = fraction(shared.random.as_ref()) * found.len() as f64;
    let begin = (begin as usize).min(found.len());
    found.rotate_left(begin);
    for (agent, kinds) in found {
        match rows.get(&agent) {
            Some(RowState::Live) => {}
            Some(RowState::Archived) if held => {}
            Some(RowState::Archived) => {
                for (kind, things) in kinds {
                    if tried < MOST {
                        tried += things.len().max(1);
                        remover.settle(agent, kind, &things).await?;
                    }
                }
            }
            None => {
                let things = kinds
                    .iter()
                    .flat_map(|(kind, things)| things.iter().map(move |t| (kind, t)));
                report
                    .unowned
                    .extend(things.map(|(kind, t)| format!("{kind}/{}", t.name)));
            }
        }
    }
    report.removed = remover.removed;
    let restored = hold.is_some_and(|h| h.kind == HoldKind::RestoredDatabase);
    let buckets = find::unowned_buckets(shared, inventory, restored).await?;
    let buckets = buckets.iter().map(|b| (ResourceKind::R2Bucket, b));
    report
        .unowned
        .extend(buckets.map(|(kind, name)| format!("{kind}/{name}")));
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
