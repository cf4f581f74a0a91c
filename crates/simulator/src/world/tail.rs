//! Tails: who may listen to which Worker, and until when. What they hear passes by elsewhere (`tails`).

use chrono::{DateTime, TimeDelta, Utc};

use super::World;
use crate::reply::{ApiError, Handled};

/// Most tails of one Worker, as on the live service.
const MOST: usize = 10;
/// How long a tail lives. Of the live service this is not known; six hours were seen.
const LIFE: TimeDelta = TimeDelta::hours(6);

/// One tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) id: String,
    pub(crate) worker: String,
    pub(crate) expires_at: DateTime<Utc>,
}

impl World {
    /// Makes a tail.
    pub(crate) fn open_tail(&mut self, worker: &str, now: DateTime<Utc>) -> Handled<Tail> {
        if self.live_tails(worker, now)?.len() >= MOST {
            // The code is made up: clients must not know it.
            let text = format!("This Worker has {MOST} tails already.");
            return Err(ApiError::new(400, 10057, text));
        }
        let tail = Tail {
            id: self.chance.hex32(),
            worker: worker.to_owned(),
            expires_at: now + LIFE,
        };
        self.tails.push(tail.clone());
        Ok(tail)
    }

    /// A Worker's tails, the oldest first.
    pub(crate) fn live_tails(&mut self, worker: &str, now: DateTime<Utc>) -> Handled<Vec<Tail>> {
        if !self.catalog().workers.contains_key(worker) {
            return Err(ApiError::no_worker());
        }
        let workers = &self.catalog.workers;
        self.tails
            .retain(|t| t.expires_at > now && workers.contains_key(&t.worker));
        let of_it = self.tails.iter().filter(|t| t.worker == worker);
        Ok(of_it.cloned().collect())
    }

    /// Removes a tail.
    pub(crate) fn close_tail(&mut self, worker: &str, id: &str, now: DateTime<Utc>) -> Handled<()> {
        if !self.live_tails(worker, now)?.iter().any(|t| t.id == id) {
            // The code is made up, too.
            return Err(ApiError::new(404, 10055, "There is no such tail."));
        }
        self.tails.retain(|t| t.id != id);
        Ok(())
    }

    /// The tail, if it may be listened to now.
    pub(crate) fn tail(&self, id: &str, now: DateTime<Utc>) -> Option<&Tail> {
        self.tails.iter().find(|t| {
            t.id == id && t.expires_at > now && self.catalog.workers.contains_key(&t.worker)
        })
    }
}
