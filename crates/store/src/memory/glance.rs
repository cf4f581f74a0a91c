//! A fleet at a glance.

use async_trait::async_trait;
use chrono::TimeDelta;
use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::event::Event;
use talon_core::resource::CleanupResult;
use talon_core::{Owner, Snapshot};

use super::MemoryStore;
use super::state::{Now, Row, State};
use crate::glance::{
    AccountBudget, ControllerState, GlanceCounts, GlanceEvents, GlancePage, GlanceStore,
    SECRETS_NEED_SOMEBODY, SLOW_DELETION, Trouble,
};
use crate::{CONTROLLER, StoreResult};

impl Row {
    fn is_of(&self, owner: Option<&Owner>) -> bool {
        owner.is_none_or(|owner| *owner == self.agent.owner)
    }

    fn wants_a_look(&self, now: Now) -> bool {
        let slow = TimeDelta::from_std(SLOW_DELETION).unwrap_or_default();
        let agent = &self.agent;
        agent.status.deployment_status == talon_core::status::DeploymentStatus::Failed
            || agent
                .deletion_requested_at
                .is_some_and(|at| at < now - slow)
            || self.conditions.values().any(|stored| {
                let c = &stored.condition;
                c.observed_generation >= agent.generation
                    && match c.kind {
                        ConditionType::Stalled | ConditionType::Drifted => c.status == Truth::True,
                        ConditionType::SecretsReady => {
                            c.status == Truth::False && SECRETS_NEED_SOMEBODY.contains(&c.reason)
                        }
                        ConditionType::Reconciling => c.reason == Reason::AwaitingKeys,
                        _ => false,
                    }
            })
    }

    fn contains(&self, text: &str) -> bool {
        let has = |s: &str| s.to_ascii_lowercase().contains(&text.to_ascii_lowercase());
        has(self.agent.name.as_str()) || self.agent.spec.display_name.as_deref().is_some_and(has)
    }

    fn has_leftovers(&self) -> bool {
        self.resources
            .values()
            .any(|r| r.cleanup_result == Some(CleanupResult::Failed))
    }
}

fn at_most(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

impl State {
    fn glance_counts(&self, owner: Option<&Owner>, now: Now) -> GlanceCounts {
        let mut counts = GlanceCounts::default();
        for row in self.rows.values() {
            if row.is_of(owner) && !row.agent.is_archived() {
                counts.add(row.agent.status.deployment_status, 1);
                counts.attention += u64::from(row.wants_a_look(now));
            }
        }
        counts
    }

    fn glance_page(&self, ask: &GlancePage, now: Now) -> Vec<Snapshot> {
        let mut found: Vec<_> = self
            .rows
            .values()
            .filter(|row| !row.agent.is_archived() && row.is_of(ask.owner.as_ref()))
            .filter(|row| {
                ask.status
                    .is_none_or(|s| s == row.agent.status.deployment_status)
            })
            .filter(|row| !ask.attention || row.wants_a_look(now))
            .filter(|row| ask.text.as_deref().is_none_or(|text| row.contains(text)))
            .filter(|row| {
                ask.after
                    .as_deref()
                    .is_none_or(|after| row.agent.name.as_str() > after)
            })
            .collect();
        found.sort_by(|a, b| a.agent.name.cmp(&b.agent.name));
        found
            .into_iter()
            .take(at_most(ask.limit))
            .map(|row| row.snapshot(now))
            .collect()
    }

    fn glance_cleanup(&self, owner: Option<&Owner>, limit: i64, now: Now) -> Vec<Snapshot> {
        let mut found: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.is_of(owner))
            .filter(|row| {
                if row.agent.is_archived() {
                    row.has_leftovers()
                } else {
                    row.agent.is_deleting()
                }
            })
            .collect();
        found.sort_by_key(|row| {
            (
                row.agent.is_archived(),
                std::cmp::Reverse(row.agent.status.deleted_at),
                row.agent.deletion_requested_at,
                row.agent.name.clone(),
            )
        });
        found
            .into_iter()
            .take(at_most(limit))
            .map(|row| row.snapshot(now))
            .collect()
    }

    fn glance_events(&self, ask: &GlanceEvents) -> Vec<Event> {
        let row_of = |id| self.rows.get(&id);
        let mut found: Vec<Event> = self
            .events
            .iter()
            .filter(|e| ask.severity.is_none_or(|s| s == e.event.severity))
            .filter(|e| ask.agent.is_none_or(|id| e.agent == Some(id)))
            .filter(|e| {
                ask.owner.is_none()
                    || e.agent
                        .and_then(row_of)
                        .is_some_and(|row| row.is_of(ask.owner.as_ref()))
            })
            .map(|e| Event {
                agent: e
                    .agent
                    .and_then(row_of)
                    .map_or_else(|| CONTROLLER.to_owned(), |row| row.agent.name.to_string()),
                event: e.event.clone(),
                count: e.count,
                first_at: e.first_at,
                last_at: e.last_at,
            })
            .collect();
        found.sort_by_key(|event| event.last_at);
        found.split_off(found.len().saturating_sub(at_most(ask.limit)))
    }

    fn controller_state(&self, now: Now) -> ControllerState {
        let mut state = ControllerState {
            now,
            due: 0,
            oldest_due: None,
            scheduled: 0,
            failing: 0,
            replicas: Vec::new(),
            budgets: Vec::new(),
            troubles: Vec::new(),
        };
        for row in self.rows.values().filter(|row| !row.agent.is_archived()) {
            let work = &row.work;
            state.failing += u64::from(work.failure_count > 0);
            match work.next_due_at {
                Some(at) if at <= now && !row.leased(now) => {
                    state.due += 1;
                    state.oldest_due = Some(state.oldest_due.map_or(at, |old| old.min(at)));
                }
                Some(at) if at > now => state.scheduled += 1,
                _ => {}
            }
            if let (true, Some(holder), Some(until)) =
                (row.leased(now), &work.lease_owner, work.lease_until)
            {
                state.add_lease(holder, 1, None, until);
            }
            for stored in row.conditions.values() {
                let c = &stored.condition;
                let counts = match c.kind {
                    ConditionType::Stalled
                    | ConditionType::Held
                    | ConditionType::Throttled
                    | ConditionType::Drifted => c.status == Truth::True,
                    ConditionType::Reconciling => {
                        matches!(c.reason, Reason::AwaitingKeys | Reason::BackingOff)
                    }
                    _ => false,
                };
                if !counts || c.observed_generation < row.agent.generation {
                    continue;
                }
                match state
                    .troubles
                    .iter_mut()
                    .find(|t| (t.kind, t.reason) == (c.kind, c.reason))
                {
                    Some(trouble) => trouble.agents += 1,
                    None => state.troubles.push(Trouble {
                        kind: c.kind,
                        reason: c.reason,
                        agents: 1,
                    }),
                }
            }
        }
        for (name, (holder, until)) in self.leases.iter().filter(|(_, (_, until))| *until > now) {
            state.add_lease(holder, 0, Some(name), *until);
        }
        let mut accounts: Vec<&String> = self.budgets.keys().chain(self.pauses.keys()).collect();
        accounts.sort();
        accounts.dedup();
        for account in accounts {
            let mut slots = self.budgets.get(account).cloned().unwrap_or_default();
            slots.sort_by_key(|slot| slot.start_ms);
            state.budgets.push(AccountBudget {
                account: account.clone(),
                slots,
                paused_until: self
                    .pauses
                    .get(account)
                    .copied()
                    .filter(|until| *until > now),
            });
        }
        state.arrange();
        state
    }
}

#[async_trait]
impl GlanceStore for MemoryStore {
    async fn glance_counts(&self, owner: Option<&Owner>) -> StoreResult<GlanceCounts> {
        Ok(self.read(|s, now| s.glance_counts(owner, now)))
    }

    async fn glance_page(&self, ask: &GlancePage) -> StoreResult<Vec<Snapshot>> {
        Ok(self.read(|s, now| s.glance_page(ask, now)))
    }

    async fn glance_cleanup(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        Ok(self.read(|s, now| s.glance_cleanup(owner, limit, now)))
    }

    async fn glance_left_over(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let mut found = self.read(|s, now| s.glance_cleanup(owner, i64::MAX, now));
        found.retain(|s| s.agent.is_archived());
        found.truncate(usize::try_from(limit).unwrap_or_default());
        Ok(found)
    }

    async fn glance_events(&self, ask: &GlanceEvents) -> StoreResult<Vec<Event>> {
        Ok(self.read(|s, _| s.glance_events(ask)))
    }

    async fn controller_state(&self) -> StoreResult<ControllerState> {
        Ok(self.read(|s, now| s.controller_state(now)))
    }
}
