//! How often one caller may ask, as problems over HTTP; and when the use of a token was last noted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use talon_core::turns::{Rate, TooOften};

use crate::http::{Kind, Problem};

/// Tokens beyond this many are looked through for those whose use is news again, which are forgotten.
const MANY: usize = 1_000;
/// How often the use of a token is noted.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// 429: more than `rate` allows. `policy`: which limit it is, as `RateLimit` names it.
pub fn exceeded(policy: &str, rate: Rate, TooOften(wait): TooOften) -> Problem {
    let Rate { per_second, burst } = rate;
    let seconds = wait.as_secs() + 1;
    // The names and forms of draft-ietf-httpapi-ratelimit-headers.
    let window = (burst / per_second.max(1)).max(1);
    let headers = [
        ("ratelimit", format!("\"{policy}\";r=0;t={seconds}")),
        (
            "ratelimit-policy",
            format!("\"{policy}\";q={burst};w={window}"),
        ),
    ];
    let problem = Problem::new(
        Kind::TooManyRequests,
        "this token, or another of its owner, asks too often: wait, then try again",
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

/// 429: as many answers that last as one caller may have.
pub fn too_many(most: usize) -> Problem {
    Problem::new(
        Kind::TooManyRequests,
        format!(
            "{most} watches, waits and tasks of this token and its owner are open, which is as many as may be: end some of them"
        ),
    )
    .retry_after(Duration::from_secs(5))
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
    fn the_use_of_a_token_is_noted_once_a_minute() {
        let uses = Uses::default();
        assert!(uses.is_news("a", Duration::ZERO));
        assert!(!uses.is_news("a", Duration::from_secs(59)));
        assert!(uses.is_news("b", Duration::from_secs(59)));
        assert!(uses.is_news("a", Duration::from_secs(60)));
    }
}
