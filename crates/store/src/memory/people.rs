//! What people ask for.

use talon_core::event::Event;
use talon_core::spec::DeletionPolicy;
use talon_core::{AgentId, AgentName, AgentSpec, Generation, Owner, Snapshot};

use super::state::{Now, Row, State};
use crate::fleet::{Actor, Decided};
use crate::types::{
    Applied, ApplyOptions, ApplyOutcome, CONTROLLER, Change, ChangeKind, EventFilter, ListFilter,
};
use crate::{StoreError, StoreResult, codes, columns};
use talon_core::resource::{ResourceKind, ResourceState};

impl State {
    pub(super) fn apply(
        &mut self,
        actor: Option<&Actor>,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
        now: Now,
    ) -> StoreResult<Applied> {
        columns::check_owner(owner)?;
        let wanted = columns::encode(spec)?;
        let found = self.live_id(name.as_str());
        let living = found.and_then(|id| self.rows.get(&id));
        options.check(living.map(|row| (row.agent.id, row.agent.generation.0)))?;
        let Some(row) = found.and_then(|id| self.rows.get_mut(&id)) else {
            let id = self.ids.agent();
            if !options.dry_run {
                self.rows.insert(id, Row::new(id, name, owner, spec, now));
                self.changed(id, ChangeKind::Spec, now);
                self.audit(actor, "insert", name.as_str(), Vec::new(), now);
            }
            return Ok(Applied {
                id,
                generation: Generation(1),
                outcome: ApplyOutcome::Created,
            });
        };
        if row.agent.owner != *owner {
            return Err(codes::rejected(codes::FIXED));
        }
        if row.agent.is_deleting() {
            return Err(codes::rejected(codes::DELETING));
        }
        let id = row.agent.id;
        let changed = columns::changed(wanted, &row.agent.spec, &[]);
        let fields: Vec<_> = changed.into_iter().map(|(column, _)| column).collect();
        if fields.is_empty() {
            return Ok(Applied {
                id,
                generation: row.agent.generation,
                outcome: ApplyOutcome::Unchanged,
            });
        }
        check_spec(row, spec)?;
        let generation = Generation(row.agent.generation.0 + 1);
        if !options.dry_run {
            self.set_spec(id, now, |agent| agent.spec = spec.clone());
            self.audit(actor, "update", name.as_str(), fields, now);
        }
        Ok(Applied {
            id,
            generation,
            outcome: ApplyOutcome::Updated,
        })
    }

    /// Changes the spec: one generation, due now, one entry in the feed.
    fn set_spec(&mut self, id: AgentId, now: Now, set: impl FnOnce(&mut talon_core::agent::Agent)) {
        if let Some(row) = self.rows.get_mut(&id) {
            set(&mut row.agent);
            row.agent.generation.0 += 1;
            row.agent.updated_at = now;
            row.work.next_due_at = Some(now);
            self.changed(id, ChangeKind::Spec, now);
        }
    }

    fn live(&mut self, name: &AgentName) -> StoreResult<&mut Row> {
        self.live_id(name.as_str())
            .and_then(|id| self.rows.get_mut(&id))
            .ok_or(StoreError::NotFound)
    }

    pub(super) fn request_deletion(
        &mut self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
        now: Now,
    ) -> StoreResult<()> {
        let row = self.live(name)?;
        if let Some(decided) = decided {
            decided.check(row.agent.id, row.agent.generation.0)?;
        }
        if row.agent.is_deleting() {
            return Ok(());
        }
        if row.agent.spec.deletion_protected {
            return Err(codes::rejected(codes::PROTECTED));
        }
        let id = row.agent.id;
        self.set_spec(id, now, |agent| {
            agent.deletion_requested_at = Some(now);
            if keep_bucket {
                agent.spec.deletion_policy = DeletionPolicy::KeepBucket;
            }
        });
        self.tasks.end_of_deleted(name.as_str(), now);
        self.audit(actor, "delete", name.as_str(), Vec::new(), now);
        Ok(())
    }

    pub(super) fn request_reconcile(
        &mut self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
        now: Now,
    ) -> StoreResult<()> {
        let row = self.live(name)?;
        if let Some(decided) = decided {
            decided.check(row.agent.id, row.agent.generation.0)?;
        }
        let action = if row.agent.is_deleting() {
            "cleanup_retry"
        } else {
            "reconcile"
        };
        let id = row.agent.id;
        // Two requests in one tick of the clock are two requests.
        let at = match row.agent.reconcile_requested_at {
            Some(old) if old >= now => old + chrono::TimeDelta::milliseconds(1),
            _ => now,
        };
        row.agent.reconcile_requested_at = Some(at);
        row.work.next_due_at = Some(now);
        self.changed(id, ChangeKind::Spec, now);
        self.audit(actor, action, name.as_str(), Vec::new(), now);
        Ok(())
    }

    pub(super) fn set_suspend(
        &mut self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
        now: Now,
    ) -> StoreResult<bool> {
        let row = self.live(name)?;
        if let Some(decided) = decided {
            decided.check(row.agent.id, row.agent.generation.0)?;
        }
        if row.agent.spec.suspend == suspend {
            return Ok(false);
        }
        if row.agent.is_deleting() {
            return Err(codes::rejected(codes::DELETING));
        }
        let id = row.agent.id;
        self.set_spec(id, now, |agent| agent.spec.suspend = suspend);
        self.audit(actor, "update", name.as_str(), vec!["suspend"], now);
        Ok(true)
    }

    pub(super) fn get(&self, name: &str, include_archived: bool, now: Now) -> Option<Snapshot> {
        self.rows
            .values()
            .filter(|row| row.agent.name.as_str() == name)
            .filter(|row| include_archived || !row.agent.is_archived())
            // A live row before any archived one, the latest archived one before the others.
            .max_by_key(|row| {
                (
                    !row.agent.is_archived(),
                    row.agent.status.deleted_at,
                    row.agent.created_at,
                )
            })
            .map(|row| row.snapshot(now))
    }

    pub(super) fn list(&self, filter: &ListFilter, now: Now) -> Vec<Snapshot> {
        let mut found: Vec<_> = self
            .rows
            .values()
            .filter(|row| filter.include_archived || !row.agent.is_archived())
            .filter(|row| filter.owner.as_ref().is_none_or(|o| *o == row.agent.owner))
            .filter(|row| {
                filter
                    .status
                    .is_none_or(|s| s == row.agent.status.deployment_status)
            })
            .collect();
        found.sort_by(|a, b| {
            (&a.agent.name, a.agent.created_at, a.agent.id).cmp(&(
                &b.agent.name,
                b.agent.created_at,
                b.agent.id,
            ))
        });
        found.into_iter().map(|row| row.snapshot(now)).collect()
    }

    fn event_agent(&self, agent: Option<AgentId>) -> String {
        match agent {
            None => CONTROLLER.to_owned(),
            Some(id) => self
                .rows
                .get(&id)
                .map_or_else(|| id.to_string(), |row| row.agent.name.to_string()),
        }
    }

    pub(super) fn events(&self, filter: &EventFilter) -> Vec<Event> {
        let mut found: Vec<Event> = self
            .events
            .iter()
            .filter(|row| filter.severity.is_none_or(|s| s == row.event.severity))
            .filter(|row| filter.after.is_none_or(|after| row.last_at > after))
            .map(|row| Event {
                agent: self.event_agent(row.agent),
                event: row.event.clone(),
                count: row.count,
                first_at: row.first_at,
                last_at: row.last_at,
            })
            .filter(|event| {
                filter
                    .agent
                    .as_ref()
                    .is_none_or(|name| *name == event.agent)
            })
            .collect();
        found.sort_by_key(|event| event.last_at);
        let limit = usize::try_from(filter.limit)
            .ok()
            .filter(|l| *l > 0)
            .unwrap_or(1000);
        found.split_off(found.len().saturating_sub(limit))
    }

    pub(super) fn changes_after(&self, seq: i64, limit: i64) -> Vec<Change> {
        let from = self
            .changes
            .partition_point(|(change, _)| change.seq <= seq);
        self.changes[from..]
            .iter()
            .take(usize::try_from(limit).unwrap_or(0))
            .map(|(change, _)| change.clone())
            .collect()
    }
}

/// The contract's rules about a changed spec, in the order in which the databases check them.
fn check_spec(row: &Row, new: &AgentSpec) -> StoreResult<()> {
    let old = &row.agent.spec;
    if row.agent.is_deleting() {
        return Err(codes::rejected(codes::DELETING));
    }
    if row.agent.status.first_deployed_at.is_some()
        && (old.persona != new.persona || old.instructions != new.instructions)
    {
        return Err(codes::rejected(codes::IMMUTABLE));
    }
    let bucket = row
        .resources
        .get(&ResourceKind::R2Bucket)
        .is_some_and(|r| r.state != ResourceState::Absent);
    if bucket && old.r2 != new.r2 {
        return Err(codes::rejected(codes::BUCKET_FIXED));
    }
    Ok(())
}
