//! What concerns the whole installation.

use std::time::Duration;

use talon_core::InstallId;

use super::state::{Now, State};
use crate::budget::{self, Slot};
use crate::fleet::Actor;
use crate::types::{BrakeFacts, BudgetAsk, Grant, Hold, HoldKind, Install};
use crate::writes::later;

impl State {
    pub(super) fn init_install(&mut self, id: &InstallId, key_check: &str) -> Install {
        self.install
            .get_or_insert_with(|| Install {
                id: id.clone(),
                key_check: key_check.to_owned(),
            })
            .clone()
    }

    pub(super) fn try_lease(&mut self, name: &str, holder: &str, ttl: Duration, now: Now) -> bool {
        if let Some((other, until)) = self.leases.get(name)
            && other != holder
            && *until > now
        {
            return false;
        }
        self.leases
            .insert(name.to_owned(), (holder.to_owned(), later(now, ttl)));
        true
    }

    pub(super) fn release_lease(&mut self, name: &str, holder: &str) {
        if self.leases.get(name).is_some_and(|(h, _)| h == holder) {
            self.leases.remove(name);
        }
    }

    pub(super) fn take_budget(&mut self, account: &str, ask: BudgetAsk, now: Now) -> Grant {
        if let Some(until) = self.pauses.get(account)
            && *until > now
        {
            return Grant::paused((*until - now).to_std().unwrap_or(Duration::ZERO));
        }
        let slots = self.budgets.entry(account.to_owned()).or_default();
        let decision = budget::decide(slots, now.timestamp_millis(), ask);
        let calls = decision.grant.calls;
        if calls > 0 {
            slots.retain(|slot| slot.start_ms > decision.forget_before_ms);
            match slots.iter_mut().find(|s| s.start_ms == decision.slot_ms) {
                Some(slot) => slot.used += calls,
                None => slots.push(Slot {
                    start_ms: decision.slot_ms,
                    used: calls,
                }),
            }
        }
        decision.grant
    }

    pub(super) fn pause_budget(&mut self, account: &str, pause: Duration, now: Now) {
        let until = later(now, pause);
        let entry = self.pauses.entry(account.to_owned()).or_insert(until);
        *entry = (*entry).max(until);
    }

    pub(super) fn set_hold(
        &mut self,
        actor: Option<&Actor>,
        kind: HoldKind,
        reason: &str,
        now: Now,
    ) -> bool {
        if self.hold.is_some() {
            return false;
        }
        self.hold = Some(Hold {
            kind,
            reason: reason.to_owned(),
            since: now,
        });
        match kind {
            HoldKind::Operator => self.audit(actor, "hold", "controller", Vec::new(), now),
            HoldKind::MassChange | HoldKind::RestoredDatabase => {
                self.enter("controller", None, "hold", "controller", Vec::new(), now);
            }
        }
        true
    }

    pub(super) fn release_hold(&mut self, actor: Option<&Actor>, now: Now) -> Option<Hold> {
        let hold = self.hold.take()?;
        self.last_release = Some(now);
        for row in self.rows.values_mut() {
            row.due(now);
        }
        self.audit(actor, "release_hold", "controller", Vec::new(), now);
        Some(hold)
    }

    pub(super) fn brake_facts(&self, window: Duration, now: Now) -> BrakeFacts {
        let from = chrono::TimeDelta::from_std(window)
            .ok()
            .and_then(|window| now.checked_sub_signed(window));
        let recent = self
            .rows
            .values()
            .filter(|row| !row.agent.is_archived())
            .filter_map(|row| row.agent.deletion_requested_at)
            .filter(|at| from.is_none_or(|from| *at > from))
            .filter(|at| self.last_release.is_none_or(|release| *at > release))
            .count();
        BrakeFacts {
            recent_deletions: recent as u64,
            last_release: self.last_release,
        }
    }
}
