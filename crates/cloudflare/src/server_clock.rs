//! Cloudflare's clock, as the `Date` of its answers tells it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{DATE, HeaderMap};

use crate::lenient;

/// What the last dated answer said, and when it came.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    last: Mutex<Option<(Instant, DateTime<Utc>)>>,
}

impl ServerClock {
    /// Learns from an answer that has just come. One without a date teaches nothing.
    pub(crate) fn learn(&self, headers: &HeaderMap, came: Instant) {
        let date = headers.get(DATE).and_then(|v| v.to_str().ok());
        if let Some(date) = date.and_then(lenient::date) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((came, date));
        }
    }

    /// The time at Cloudflare at a moment of ours: early by the answer's way and a second at most, never late.
    pub(crate) fn at(&self, moment: Instant) -> Option<DateTime<Utc>> {
        let (came, date) = (*self.last.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = TimeDelta::from_std(moment.saturating_duration_since(came)).ok()?;
        date.checked_add_signed(since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn goes_on_from_the_last_dated_answer_whatever_this_machine_believes() {
        let clock = ServerClock::default();
        let came = Instant::now();
        assert_eq!(clock.at(came), None);
        let mut headers = HeaderMap::new();
        clock.learn(&headers, came);
        assert_eq!(clock.at(came), None);
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        clock.learn(&headers, came);
        let then = clock.at(came + Duration::from_secs(90));
        assert_eq!(then.unwrap().to_rfc3339(), "1994-11-06T08:51:07+00:00");
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        clock.learn(&headers, came + Duration::from_secs(5));
        assert_eq!(clock.at(came + Duration::from_secs(90)), then);
    }
}
