//! How often and for how long one caller may ask: shared by everything that answers in one process, so that nobody has a
//! bucket of their own at each door.
//!
//! Guarantees: what is counted is bounded in memory by those who asked lately; nothing here waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::id::AgentId;
use crate::name::Owner;

/// Buckets beyond this many are looked through for full ones, which are forgotten.
const MANY: usize = 1_000;

/// So many requests at once, and so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second; 0: as many as anybody likes.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// What one caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests of any kind.
    pub requests: Rate,
    /// Requests that write a key, which are counted among the others as well: each is a call to Cloudflare.
    pub keys: Rate,
    /// Answers that last, at the same time: watches, waits, tasks, open pages.
    pub long_answers: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            requests: Rate {
                per_second: 50,
                burst: 500,
            },
            keys: Rate {
                per_second: 1,
                burst: 20,
            },
            long_answers: 64,
        }
    }
}

/// As whom a caller is counted: the owner, where there is one, so that tokens which an owner's token makes bring no bucket
/// of their own; else by name.
pub fn counted_as(owner: Option<&Owner>, name: &str) -> String {
    match owner {
        Some(owner) => format!("owner:{}", owner.0),
        None => name.to_owned(),
    }
}

/// Counts what callers ask for.
pub struct Turns {
    clock: Arc<dyn Clock>,
    requests: Buckets,
    keys: Buckets,
    long_answers: Arc<Places<String>>,
    writes: Arc<Places<AgentId>>,
}

/// Asked too often; after so long it is answered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften(pub Duration);

impl Turns {
    /// Everybody begins with full buckets.
    pub fn new(allowance: Allowance, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            requests: Buckets::new(allowance.requests),
            keys: Buckets::new(allowance.keys),
            long_answers: Places::new(allowance.long_answers),
            writes: Places::new(1),
        }
    }

    /// Counts a request of whoever is [`counted_as`] this.
    pub fn ask(&self, who: &str) -> Result<(), TooOften> {
        self.requests.take(who, self.clock.monotonic())
    }

    /// Counts a request that writes a key, beside [`Turns::ask`].
    pub fn write_key(&self, who: &str) -> Result<(), TooOften> {
        self.keys.take(who, self.clock.monotonic())
    }

    /// A place for an answer that lasts; `None`: this caller has as many as one may.
    pub fn stay(&self, who: &str) -> Option<Place<String>> {
        Places::take(&self.long_answers, who.to_owned())
    }

    /// The place of the one request that may wait to write keys of this agent; `None`: another one has it.
    pub fn keys_of(&self, agent: AgentId) -> Option<Place<AgentId>> {
        Places::take(&self.writes, agent)
    }
}

/// A bucket for each caller, filled at a steady rate.
struct Buckets {
    rate: Rate,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Duration,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one request out of the caller's bucket.
    fn take(&self, who: &str, now: Duration) -> Result<(), TooOften> {
        let (speed, burst) = (f64::from(self.rate.per_second), f64::from(self.rate.burst));
        if self.rate.per_second == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |bucket: &Bucket| {
            let grown = now.saturating_sub(bucket.at).as_secs_f64() * speed;
            (bucket.left + grown).min(burst)
        };
        if buckets.len() >= MANY {
            buckets.retain(|_, bucket| filled(bucket) < burst);
        }
        let bucket = buckets.entry(who.to_owned()).or_insert(Bucket {
            left: burst,
            at: now,
        });
        bucket.left = filled(bucket);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.left) / speed;
        Err(TooOften(Duration::from_secs_f64(wait)))
    }
}

/// So many places for each.
struct Places<K> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

impl<K: Clone + Eq + std::hash::Hash> Places<K> {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    fn take(places: &Arc<Self>, who: K) -> Option<Place<K>> {
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.get(&who).copied().unwrap_or_default();
        if number >= places.most {
            return None;
        }
        taken.insert(who.clone(), number + 1);
        drop(taken);
        Some(Place {
            places: places.clone(),
            who,
        })
    }
}

/// A place that is taken; dropping it gives it back.
#[must_use]
pub struct Place<K: Clone + Eq + std::hash::Hash> {
    places: Arc<Places<K>>,
    who: K,
}

impl<K: Clone + Eq + std::hash::Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = taken.get_mut(&self.who) {
            *number -= 1;
            if *number == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again_and_others_have_their_own() {
        let buckets = Buckets::new(Rate {
            per_second: 2,
            burst: 3,
        });
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert!(buckets.take("ann", at(0)).is_ok());
        }
        assert_eq!(
            buckets.take("ann", at(0)),
            Err(TooOften(Duration::from_millis(500)))
        );
        assert!(buckets.take("bob", at(0)).is_ok());
        assert!(buckets.take("ann", at(499)).is_err());
        assert!(buckets.take("ann", at(1_000)).is_ok());
    }

    #[test]
    fn a_place_is_given_back_and_nobody_is_remembered_who_has_none() {
        let places = Places::new(2);
        let first = Places::take(&places, "ann");
        let second = Places::take(&places, "ann");
        assert!(first.is_some() && second.is_some());
        assert!(Places::take(&places, "ann").is_none());
        assert!(Places::take(&places, "bob").is_some());
        drop(first);
        let third = Places::take(&places, "ann");
        assert!(third.is_some());
        drop((second, third));
        assert!(places.taken.lock().expect("unpoisoned").is_empty());
    }

    #[test]
    fn one_request_at_a_time_is_at_the_keys_of_an_agent() {
        let turns = Turns::new(Allowance::default(), Arc::new(Still));
        let [one, other] = [1, 2].map(|n| AgentId(uuid::Uuid::from_u128(n)));
        let at_it = turns.keys_of(one);
        assert!(at_it.is_some() && turns.keys_of(one).is_none());
        assert!(turns.keys_of(other).is_some());
        drop(at_it);
        assert!(turns.keys_of(one).is_some());
    }

    /// A clock that stands.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> chrono::DateTime<chrono::Utc> {
            chrono::DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn an_owner_is_counted_once_whatever_its_tokens() {
        let owner = Owner("ann".to_owned());
        assert_eq!(
            counted_as(Some(&owner), "token:1"),
            counted_as(Some(&owner), "token:2")
        );
        assert_ne!(counted_as(None, "token:1"), counted_as(None, "token:2"));
    }
}
