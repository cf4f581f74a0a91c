//! How often one caller may ask: a bucket of requests for each, filled at a steady rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::Rate;
use crate::http::{Answer, Kind, Problem};

/// Buckets beyond this many are looked through for full ones, which are forgotten.
const MANY: usize = 1_000;
/// How often the use of a token is noted.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// A bucket for each caller.
pub struct Rates {
    rate: Rate,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Duration,
}

impl Rates {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one request out of the caller's bucket; 429 if it is empty.
    pub fn take(&self, caller: &Arc<str>, now: Duration) -> Answer<()> {
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
        let bucket = buckets.entry(caller.clone()).or_insert(Bucket {
            left: burst,
            at: now,
        });
        bucket.left = filled(bucket);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.left) / speed);
        Err(self.exceeded(wait))
    }

    fn exceeded(&self, wait: Duration) -> Problem {
        let Rate { per_second, burst } = self.rate;
        let seconds = wait.as_secs() + 1;
        // The names and forms of draft-ietf-httpapi-ratelimit-headers.
        let window = (burst / per_second).max(1);
        let headers = [
            ("ratelimit", format!("\"default\";r=0;t={seconds}")),
            (
                "ratelimit-policy",
                format!("\"default\";q={burst};w={window}"),
            ),
        ];
        let problem = Problem::new(
            Kind::TooManyRequests,
            "this token asks too often: wait, then try again",
        )
        .retry_after(wait);
        headers.into_iter().fold(
            problem,
            |problem, (name, value)| match HeaderValue::from_str(&value) {
                Ok(value) => problem.with_header(HeaderName::from_static(name), value),
                Err(_) => problem,
            },
        )
    }
}

/// When the use of each token was last noted.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<String, Duration>>);

impl Uses {
    /// Whether its use is to be noted now.
    pub fn is_news(&self, token: &str, now: Duration) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted
            .get(token)
            .is_some_and(|at| now.saturating_sub(*at) < NOTED_EVERY)
        {
            return false;
        }
        if noted.len() >= MANY {
            noted.retain(|_, at| now.saturating_sub(*at) < NOTED_EVERY);
        }
        noted.insert(token.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again_and_others_have_their_own() {
        let rates = Rates::new(Rate {
            per_second: 2,
            burst: 3,
        });
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert!(rates.take(&ann, at(0)).is_ok());
        }
        assert!(rates.take(&ann, at(0)).is_err());
        assert!(rates.take(&bob, at(0)).is_ok());
        assert!(rates.take(&ann, at(499)).is_err());
        assert!(rates.take(&ann, at(1_000)).is_ok());
    }

    #[test]
    fn the_use_of_a_token_is_noted_once_a_minute() {
        let uses = Uses::default();
        assert!(uses.is_news("a", Duration::ZERO));
        assert!(!uses.is_news("a", Duration::from_secs(59)));
        assert!(uses.is_news("b", Duration::from_secs(59)));
        assert!(uses.is_news("a", Duration::from_secs(60)));
    }
}
