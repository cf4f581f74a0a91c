//! What a mutation comes to, given what is stored: pure decisions that every store carries out in its own way, so
//! that none writes where nothing differs. Times are only ever named here ([`Stamp`]); the database makes them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::agent::AgentStatus;
use talon_core::mutation::{Intent, Outcome, ResourceWrite, StatusWrite};
use talon_core::resource::{CleanupResult, ResourceRecord, ResourceState};

/// What happens to a time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// It stays.
    Keep,
    /// It becomes now.
    Now,
    /// It becomes now plus this, if that is later than what it is.
    NoEarlierThan(Duration),
    /// It becomes NULL.
    Clear,
}

impl Stamp {
    /// The new content, for a store that has the database's clock in its hand.
    pub fn apply(self, old: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Keep => old,
            Self::Now => Some(now),
            Self::NoEarlierThan(d) => {
                let at = later(now, d);
                Some(old.map_or(at, |old| old.max(at)))
            }
            Self::Clear => None,
        }
    }
}

/// `now` plus a duration, capped rather than overflowing.
pub fn later(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A resource row as it is to stand: `record` with its time fields replaced as the stamps say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRow {
    /// Every column but the four times, which are the old ones.
    pub record: ResourceRecord,
    /// `intent_at`
    pub intent_at: Stamp,
    /// `settle_until`
    pub settle_until: Stamp,
    /// `confirmed_at`
    pub confirmed_at: Stamp,
    /// `cleaned_at`
    pub cleaned_at: Stamp,
}

/// What a [`ResourceWrite`] makes of the stored row; `None` if nothing differs.
pub fn resource(old: Option<&ResourceRecord>, write: &ResourceWrite) -> Option<ResourceRow> {
    let mut record = old.cloned().unwrap_or_else(|| ResourceRecord {
        kind: write.kind,
        name: write.name.clone(),
        external_id: None,
        try_id: None,
        state: ResourceState::Absent,
        desired_hash: None,
        observed_hash: None,
        version_id: None,
        attempts: 0,
        last_error: None,
        intent_at: None,
        settle_until: None,
        confirmed_at: None,
        cleanup_result: None,
        cleanup_error: None,
        cleaned_at: None,
    });
    let open = record.state == ResourceState::Unknown && record.intent_at.is_some();
    record.name.clone_from(&write.name);
    record.state = write.state;
    if let Some(v) = &write.external_id {
        record.external_id.clone_from(v);
    }
    if let Some(v) = &write.try_id {
        record.try_id = Some(v.clone());
    }
    if let Some(v) = &write.desired_hash {
        record.desired_hash = Some(v.clone());
    }
    if let Some(v) = &write.observed_hash {
        record.observed_hash.clone_from(v);
    }
    if let Some(v) = &write.version_id {
        record.version_id.clone_from(v);
    }
    match &write.outcome {
        None => {}
        Some(Outcome::Ok) => {
            record.attempts = 0;
            record.last_error = None;
        }
        Some(Outcome::Failed(message)) => {
            record.attempts += 1;
            record.last_error = Some(message.clone());
        }
    }
    let (intent_at, settle_until) = match &write.intent {
        None => (Stamp::Keep, Stamp::Keep),
        Some(Intent::Open { settle_in }) => (
            if open { Stamp::Keep } else { Stamp::Now },
            Stamp::NoEarlierThan(*settle_in),
        ),
        Some(Intent::Settled) => (Stamp::Keep, clear(record.settle_until)),
        Some(Intent::Cleared) => (clear(record.intent_at), clear(record.settle_until)),
    };
    let mut cleaned_at = Stamp::Keep;
    if let Some(cleanup) = &write.cleanup {
        cleaned_at = if cleanup.result == CleanupResult::Failed {
            clear(record.cleaned_at)
        } else if record.cleanup_result == Some(cleanup.result) && record.cleaned_at.is_some() {
            Stamp::Keep
        } else {
            Stamp::Now
        };
        record.cleanup_result = Some(cleanup.result);
        record.cleanup_error.clone_from(&cleanup.error);
    }
    let row = ResourceRow {
        intent_at,
        settle_until,
        confirmed_at: if write.confirmed {
            Stamp::Now
        } else {
            Stamp::Keep
        },
        cleaned_at,
        record,
    };
    let times = [
        row.intent_at,
        row.settle_until,
        row.confirmed_at,
        row.cleaned_at,
    ];
    let same = old == Some(&row.record) && times == [Stamp::Keep; 4];
    (!same).then_some(row)
}

fn clear(time: Option<DateTime<Utc>>) -> Stamp {
    if time.is_some() {
        Stamp::Clear
    } else {
        Stamp::Keep
    }
}

/// The part of a [`StatusWrite`] that differs from what is stored.
pub fn status(old: &AgentStatus, write: &StatusWrite) -> StatusWrite {
    fn differing<T: Clone + PartialEq>(old: &T, new: &Option<T>) -> Option<T> {
        new.as_ref().filter(|new| *new != old).cloned()
    }
    StatusWrite {
        deployment_status: differing(&old.deployment_status, &write.deployment_status),
        deployment_error: differing(&old.deployment_error, &write.deployment_error),
        observed_generation: write
            .observed_generation
            .filter(|new| *new > old.observed_generation),
        worker_url: differing(&old.worker_url, &write.worker_url),
        r2_token_id: differing(&old.r2_token_id, &write.r2_token_id),
        has_anthropic_key: differing(&old.has_anthropic_key, &write.has_anthropic_key),
        has_openai_key: differing(&old.has_openai_key, &write.has_openai_key),
    }
}
