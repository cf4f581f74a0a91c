//! Removes what an archived agent has left behind, and notes in its records what became of it.

use std::collections::HashMap;

use talon_core::cloud::{BucketRef, CallClass, CallCx, CloudError};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, Snapshot, name};
use talon_store::writes::later;
use talon_store::{Leftover, StoreError, StoreResult};

use super::find::Thing;
use crate::failure;
use crate::inventory::Inventory;
use crate::observe::Anchor;
use crate::shared::Shared;

/// What became of one thing.
enum Done {
    Removed,
    WasAbsent,
    Left(String),
    /// Not tried, or put off: nothing is known that was not known before.
    NotNow,
}

/// Removes things of archived agents, kind by kind.
pub(super) struct Remover<'a> {
    shared: &'a Shared,
    inventory: &'a Inventory,
    /// Why each is left.
    left: HashMap<(AgentId, ResourceKind), Option<&'a str>>,
    throttled: bool,
    /// How many things are gone.
    pub removed: usize,
}

impl<'a> Remover<'a> {
    pub fn new(shared: &'a Shared, inventory: &'a Inventory, leftovers: &'a [Leftover]) -> Self {
        let left = leftovers
            .iter()
            .map(|l| ((l.agent_id, l.kind), l.error.as_deref()))
            .collect();
        Self {
            shared,
            inventory,
            left,
            throttled: false,
            removed: 0,
        }
    }

    /// Removes everything of one kind that an archived agent has, and notes the one result of all of it.
    pub async fn settle(
        &mut self,
        agent: AgentId,
        kind: ResourceKind,
        things: &[Thing],
    ) -> StoreResult<()> {
        let mut all = Vec::new();
        for thing in things {
            all.push(self.remove(agent, kind, thing).await?);
        }
        if things.is_empty() {
            all.push(self.missing(agent, kind).await?);
        }
        let mut result = CleanupResult::AlreadyAbsent;
        let mut why = None;
        for done in all {
            match done {
                Done::WasAbsent => {}
                Done::Removed if result == CleanupResult::AlreadyAbsent => {
                    result = CleanupResult::Deleted;
                }
                Done::Removed => {}
                Done::Left(error) => {
                    result = CleanupResult::Failed;
                    why.get_or_insert(error);
                }
                // Part of it was not tried: it is as it was.
                Done::NotNow => return Ok(()),
            }
        }
        self.note(agent, kind, result, why.as_deref()).await?;
        // What was part of it is gone with it.
        let part = match kind {
            ResourceKind::Worker => Some(ResourceKind::WorkerRoute),
            ResourceKind::R2Bucket => Some(ResourceKind::R2Objects),
            ResourceKind::R2Token
            | ResourceKind::WorkerRoute
            | ResourceKind::R2Objects
            | ResourceKind::AgentCard => None,
        };
        if let Some(part) = part.filter(|_| result != CleanupResult::Failed) {
            self.note(agent, part, result, None).await?;
        }
        Ok(())
    }

    async fn note(
        &self,
        agent: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        let left = self.left.get(&(agent, kind));
        let news = match result {
            // What stands in the record tells how it went then.
            CleanupResult::AlreadyAbsent | CleanupResult::Kept => left.is_some(),
            CleanupResult::Failed => left != Some(&error),
            CleanupResult::Deleted => true,
        };
        if !news {
            return Ok(());
        }
        let noted = self
            .shared
            .store
            .correct_cleanup(agent, kind, result, error);
        match noted.await {
            // A row of an older backup may have no record of what was made since: it is removed all the same.
            Ok(()) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, agent: AgentId, object: String, message: &str) -> StoreResult<()> {
        let event = NewEvent {
            severity: Severity::Normal,
            reason: EventReason::CleanedUp,
            object,
            message: message.to_owned(),
        };
        self.shared.store.record_event(Some(agent), &event).await
    }

    async fn remove(
        &mut self,
        agent: AgentId,
        kind: ResourceKind,
        thing: &Thing,
    ) -> StoreResult<Done> {
        if self.throttled {
            return Ok(Done::NotNow);
        }
        let cx = CallCx {
            class: CallClass::Sweep,
            remaining: None,
        };
        let cloud = &self.shared.cloud;
        let answer = match kind {
            ResourceKind::Worker => cloud.delete_worker(cx, &thing.id).await,
            ResourceKind::R2Token => cloud.delete_token(cx, &thing.id).await,
            ResourceKind::R2Bucket => {
                let bucket = BucketRef {
                    name: thing.name.clone(),
                    jurisdiction: thing.jurisdiction,
                };
                self.empty_and_delete(cx, &bucket).await
            }
            ResourceKind::AgentCard => return self.deregister(agent, thing).await,
            // Gone with the Worker and the bucket that they are part of.
            ResourceKind::WorkerRoute | ResourceKind::R2Objects => return Ok(Done::NotNow),
        };
        Ok(match answer {
            Ok(()) => {
                self.removed += 1;
                let object = format!("{kind}/{}", thing.name);
                self.tell(agent, object, "removed by the sweep").await?;
                Done::Removed
            }
            Err(CloudError::NotFound(_)) => Done::WasAbsent,
            Err(CloudError::Throttled { .. }) => {
                self.throttled = true;
                Done::NotNow
            }
            Err(error) => Done::Left(failure::shown(&error)),
        })
    }

    /// One page a sweep: a large bucket is emptied over many.
    async fn empty_and_delete(&self, cx: CallCx, bucket: &BucketRef) -> Result<(), CloudError> {
        let cloud = &self.shared.cloud;
        let page = cloud.list_objects(cx, bucket).await?;
        if !page.keys.is_empty() {
            cloud.delete_objects(cx, bucket, &page.keys).await?;
        }
        for upload in cloud.list_uploads(cx, bucket).await? {
            cloud.abort_upload(cx, bucket, &upload).await?;
        }
        cloud.delete_bucket(cx, bucket).await
    }

    /// Nobody claims an archived row: its last epoch stays the current one.
    async fn deregister(&mut self, agent: AgentId, thing: &Thing) -> StoreResult<Done> {
        let Some(snapshot) = self.shared.store.load(agent).await? else {
            return Ok(Done::NotNow);
        };
        let epoch = snapshot.work.lease_epoch;
        Ok(match self.shared.registry.deregister(agent, epoch).await {
            Ok(true) => {
                self.removed += 1;
                let object = format!("{}/{}", ResourceKind::AgentCard, thing.name);
                self.tell(agent, object, "removed by the sweep").await?;
                Done::Removed
            }
            Ok(false) => Done::WasAbsent,
            Err(error) => Done::Left(failure::of_registry(&error).failure.message),
        })
    }

    /// It was left over, and the lists do not show it. That it is gone follows only where they began after the last
    /// moment at which it can have been there.
    async fn missing(&mut self, agent: AgentId, kind: ResourceKind) -> StoreResult<Done> {
        let Some(snapshot) = self.shared.store.load(agent).await? else {
            return Ok(Done::NotNow);
        };
        let anchor = Anchor {
            database: snapshot.now,
            monotonic: self.shared.clock.monotonic(),
        };
        let timing = &self.shared.base.timing;
        let (agent_row, work) = (&snapshot.agent, &snapshot.work);
        let frozen = work.unclean_until.map(|t| later(t, timing.request_timeout));
        let sent = snapshot.resources.iter().filter_map(|r| r.settle_until);
        let last = sent
            .chain(frozen)
            .chain(agent_row.status.deleted_at)
            .max()
            .map(|t| later(t, timing.list_lag));
        let looked = anchor.to_database(self.inventory.taken);
        if last.is_none_or(|last| looked <= last) {
            return Ok(Done::NotNow);
        }
        if kind == ResourceKind::R2Bucket && !self.bucket_is_gone(&snapshot).await {
            return Ok(Done::NotNow);
        }
        let recorded = snapshot.resource(kind).map(|r| r.name.as_str());
        let named = recorded.unwrap_or(agent_row.name.as_str());
        let object = format!("{kind}/{named}");
        let message = "was left over and is gone; somebody else removed it";
        self.tell(agent, object, message).await?;
        Ok(Done::WasAbsent)
    }

    /// Without a mark no later list would bring a bucket back to mind that an incomplete one has left out.
    async fn bucket_is_gone(&mut self, snapshot: &Snapshot) -> bool {
        let install = &self.shared.base.install;
        let agent = &snapshot.agent;
        let worker = name::worker_name(install, agent.id, &agent.name);
        let bucket = BucketRef {
            name: name::bucket_name(install, &worker),
            jurisdiction: agent.spec.r2.jurisdiction,
        };
        let cx = CallCx {
            class: CallClass::Sweep,
            remaining: None,
        };
        matches!(
            self.shared.cloud.get_bucket(cx, &bucket).await,
            Err(CloudError::NotFound(_))
        )
    }
}
