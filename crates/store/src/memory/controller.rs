//! What the controller asks for: claims, passes, schedules.

use std::collections::BTreeSet;
use std::time::Duration;

use talon_core::mutation::{Finish, Mutation, Progress};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::snapshot::AuthTokenState;
use talon_core::{AgentId, Snapshot};

use super::mutate::Pass;
use super::state::{Now, Row, State};
use crate::types::{ChangeKind, Claim, Committed, KEEP_RETIRED_TOKENS, Leftover, RowState};
use crate::writes::later;
use crate::{StoreError, StoreResult};

fn take(row: &mut Row, holder: &str, lease: Duration, now: Now) -> Claim {
    let work = &mut row.work;
    if work.lease_owner.is_some() {
        work.unclean_until = work.unclean_until.max(work.lease_until);
    }
    work.lease_epoch.0 += 1;
    work.lease_owner = Some(holder.to_owned());
    work.lease_until = Some(later(now, lease));
    Claim {
        agent_id: row.agent.id,
        epoch: work.lease_epoch,
    }
}

impl State {
    pub(super) fn claim_due(
        &mut self,
        holder: &str,
        lease: Duration,
        limit: usize,
        now: Now,
    ) -> Vec<Claim> {
        let mut due: Vec<_> = self
            .rows
            .values()
            .filter(|row| !row.agent.is_archived() && !row.leased(now))
            .filter_map(|row| {
                let at = row.work.next_due_at.filter(|at| *at <= now)?;
                Some((
                    !row.agent.is_deleting(),
                    at,
                    row.agent.created_at,
                    row.agent.id,
                ))
            })
            .collect();
        due.sort();
        due.truncate(limit);
        due.into_iter()
            .filter_map(|(_, _, _, id)| {
                let row = self.rows.get_mut(&id)?;
                row.woken = false;
                Some(take(row, holder, lease, now))
            })
            .collect()
    }

    pub(super) fn claim_agent(
        &mut self,
        id: AgentId,
        holder: &str,
        lease: Duration,
        now: Now,
    ) -> StoreResult<Option<Claim>> {
        let row = self
            .rows
            .get_mut(&id)
            .filter(|row| !row.agent.is_archived())
            .ok_or(StoreError::NotFound)?;
        Ok((!row.leased(now)).then(|| take(row, holder, lease, now)))
    }

    pub(super) fn renew(&mut self, claims: &[Claim], lease: Duration, now: Now) -> Vec<AgentId> {
        let mut lost = Vec::new();
        for claim in claims {
            match self.fenced(claim) {
                Ok(row) if row.work.lease_owner.is_some() => {
                    row.work.lease_until = Some(later(now, lease));
                }
                Ok(_) | Err(_) => lost.push(claim.agent_id),
            }
        }
        lost
    }

    fn fenced(&mut self, claim: &Claim) -> StoreResult<&mut Row> {
        let row = self
            .rows
            .get_mut(&claim.agent_id)
            .ok_or(StoreError::NotFound)?;
        if row.work.lease_epoch == claim.epoch {
            Ok(row)
        } else {
            Err(StoreError::StaleEpoch)
        }
    }

    pub(super) fn load(&self, id: AgentId, now: Now) -> Option<Snapshot> {
        self.rows.get(&id).map(|row| row.snapshot(now))
    }

    pub(super) fn load_page(&self, after: Option<AgentId>, limit: i64, now: Now) -> Vec<Snapshot> {
        self.rows
            .values()
            .filter(|row| {
                !row.agent.is_archived() && after.is_none_or(|after| row.agent.id > after)
            })
            .take(usize::try_from(limit).unwrap_or(0))
            .map(|row| row.snapshot(now))
            .collect()
    }

    /// Applies mutations to a copy of the row, so that a refused one leaves nothing behind.
    fn pass(&mut self, claim: &Claim, mutations: &[Mutation], now: Now) -> StoreResult<Pass> {
        let mut pass = Pass::new(self.fenced(claim)?.clone());
        for mutation in mutations {
            pass.apply(mutation, &self.rows, now)?;
        }
        Ok(pass)
    }

    fn keep(&mut self, id: AgentId, pass: Pass, now: Now) -> Committed {
        for event in &pass.events {
            self.record_event(Some(id), event, now);
        }
        if pass.status_changed {
            self.changed(id, ChangeKind::Status, now);
        }
        self.cards_version += u64::from(pass.cards_changed);
        self.rows.insert(id, pass.row);
        Committed {
            latched: pass.latched,
        }
    }

    pub(super) fn commit(
        &mut self,
        claim: &Claim,
        mutations: &[Mutation],
        now: Now,
    ) -> StoreResult<Committed> {
        let pass = self.pass(claim, mutations, now)?;
        Ok(self.keep(claim.agent_id, pass, now))
    }

    pub(super) fn finish(&mut self, claim: &Claim, finish: &Finish, now: Now) -> StoreResult<()> {
        let mut pass = self.pass(claim, &finish.mutations, now)?;
        let hold = self.hold.as_ref().map(|hold| hold.since);
        let released = finish.loaded_hold.is_some() && finish.loaded_hold != hold;
        let row = &mut pass.row;
        let woken = std::mem::take(&mut row.woken);
        let moved = released
            || woken
            || row.agent.generation != finish.loaded_generation
            || row.agent.reconcile_requested_at != finish.loaded_reconcile_requested_at;
        row.work.next_due_at = if row.agent.is_archived() {
            None
        } else if moved {
            Some(now)
        } else {
            finish.next_due_in.map(|d| later(now, d))
        };
        match finish.progress {
            Progress::Ok => {
                row.work.failure_count = 0;
                row.work.failing_since = None;
                row.work.throttled_seconds = 0;
            }
            Progress::Failed => {
                row.work.failure_count += 1;
                row.work.failing_since.get_or_insert(now);
            }
            Progress::Waiting => {}
            Progress::Throttled { seconds } => {
                if row.work.failing_since.is_some() {
                    row.work.throttled_seconds += seconds;
                }
            }
        }
        if let Some(report) = &finish.plan_report {
            row.work.plan_report = Some(report.clone());
        }
        row.free();
        self.keep(claim.agent_id, pass, now);
        Ok(())
    }

    pub(super) fn release(&mut self, claim: &Claim) -> StoreResult<()> {
        self.fenced(claim)?.free();
        Ok(())
    }

    pub(super) fn enqueue(&mut self, ids: &[AgentId], now: Now) -> u64 {
        let mut moved = 0;
        for id in ids {
            if self.rows.get_mut(id).is_some_and(|row| row.due(now)) {
                moved += 1;
            }
        }
        moved
    }

    pub(super) fn next_due_in(&self, now: Now) -> Option<Duration> {
        self.rows
            .values()
            .filter(|row| !row.agent.is_archived())
            .filter_map(|row| {
                let due = row.work.next_due_at?;
                let free = row.work.lease_until.filter(|_| row.leased(now));
                Some(free.map_or(due, |free| due.max(free)))
            })
            .min()
            .map(|at| (at - now).to_std().unwrap_or(Duration::ZERO))
    }

    pub(super) fn leftovers(&self) -> Vec<Leftover> {
        let mut left: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.agent.is_archived())
            .flat_map(|row| row.resources.values().map(move |r| (&row.agent, r)))
            .filter(|(_, r)| r.cleanup_result == Some(CleanupResult::Failed))
            .map(|(agent, r)| Leftover {
                agent_id: agent.id,
                agent: agent.name.to_string(),
                kind: r.kind,
                name: r.name.clone(),
                external_id: r.external_id.clone(),
                jurisdiction: agent.spec.r2.jurisdiction,
                error: r.cleanup_error.clone(),
            })
            .collect();
        left.sort_by(|a, b| (&a.agent, a.agent_id, a.kind).cmp(&(&b.agent, b.agent_id, b.kind)));
        left
    }

    pub(super) fn correct_cleanup(
        &mut self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
        now: Now,
    ) -> StoreResult<()> {
        let record = self
            .rows
            .get_mut(&id)
            .filter(|row| row.agent.is_archived())
            .and_then(|row| row.resources.get_mut(&kind))
            .ok_or(StoreError::NotFound)?;
        record.cleanup_result = Some(result);
        record.cleanup_error = error.map(str::to_owned);
        record.cleaned_at = (result != CleanupResult::Failed).then_some(now);
        Ok(())
    }

    pub(super) fn ownership(&self, ids: &[AgentId]) -> Vec<(AgentId, RowState)> {
        ids.iter()
            .filter_map(|id| {
                let archived = self.rows.get(id)?.agent.is_archived();
                Some((
                    *id,
                    if archived {
                        RowState::Archived
                    } else {
                        RowState::Live
                    },
                ))
            })
            .collect()
    }

    pub(super) fn owned_buckets(&self, buckets: &[String]) -> BTreeSet<String> {
        let asked: BTreeSet<&String> = buckets.iter().collect();
        self.rows
            .values()
            .filter_map(|row| row.agent.status.r2_bucket.as_ref())
            .filter(|bucket| asked.contains(bucket))
            .cloned()
            .collect()
    }

    pub(super) fn prune(&mut self, keep: Duration, now: Now) -> u64 {
        // What is kept for longer than time itself goes never.
        let begin = |keep: Duration| {
            chrono::TimeDelta::from_std(keep)
                .ok()
                .and_then(|keep| now.checked_sub_signed(keep))
                .unwrap_or(Now::MIN_UTC)
        };
        let (kept, tokens_kept) = (begin(keep), begin(keep.min(KEEP_RETIRED_TOKENS)));
        let rows = |state: &Self| {
            let tokens: usize = state.rows.values().map(|row| row.tokens.len()).sum();
            tokens + state.events.len() + state.changes.len()
        };
        let before = rows(self);
        let last = self.change_seq;
        self.events.retain(|row| row.last_at >= kept);
        self.changes
            .retain(|(change, at)| *at >= kept || change.seq == last);
        for row in self.rows.values_mut() {
            row.tokens.retain(|_, token| {
                token.state != AuthTokenState::Retired || token.created_at >= tokens_kept
            });
        }
        (before - rows(self)) as u64
    }

    pub(super) fn card_hashes(&self) -> Vec<(AgentId, String)> {
        self.rows
            .values()
            .filter_map(|row| Some((row.agent.id, row.card.as_ref()?.hash())))
            .collect()
    }
}
