//! What the headers of an answer say about the rate limit.
//!
//! `Ratelimit: "default";r=50;t=30` (left, seconds to the reset), `Ratelimit-Policy: "burst";q=100;w=60` (quota, window
//! in seconds), the older `x-ratelimit-remaining` and `x-ratelimit-reset`, and `Retry-After` (seconds or an HTTP date).

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use talon_core::cloud::RateSignal;

use crate::lenient;

/// Cloudflare answers nothing for five minutes once its limit is passed; so long we wait when it does not say.
pub(crate) const PAUSE: Duration = Duration::from_secs(300);
/// No wish to wait longer than this is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Everything the headers tell; `None` if that is nothing.
pub(crate) fn signal(http: u16, headers: &HeaderMap, now: DateTime<Utc>) -> Option<RateSignal> {
    let limited = http == 429;
    let (remaining, reset) = standard(headers)
        .or_else(|| older(headers, now))
        .unwrap_or((None, None));
    let signal = RateSignal {
        remaining,
        reset_in: reset.map(|s| Duration::from_secs(s).min(LONGEST_PAUSE)),
        retry_after: limited.then(|| retry_after(headers, now).unwrap_or(PAUSE)),
        limited,
    };
    (limited || signal.remaining.is_some() || signal.reset_in.is_some()).then_some(signal)
}

/// `Retry-After`: at least one second, at most an hour. A date is taken against the answer's own `Date`.
pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = text(headers, "retry-after")?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let there = self::text(headers, "date")
                .and_then(lenient::date)
                .unwrap_or(now);
            let until = lenient::date(text)?
                .signed_duration_since(there)
                .num_seconds();
            u64::try_from(until).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST_PAUSE))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

type Window = (Option<u32>, Option<u64>);

/// The tightest of the windows named in `Ratelimit`; its length from `Ratelimit-Policy` where the reset is not told.
fn standard(headers: &HeaderMap) -> Option<Window> {
    let items = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    let tightest = items
        .filter_map(|item| {
            let left = parameter(item, "r")?;
            Some((left, parameter(item, "t")))
        })
        .min_by_key(|(left, _)| *left)?;
    let window = || {
        text(headers, "ratelimit-policy")
            .and_then(|policy| parameter(policy.split(',').next()?, "w"))
    };
    Some((
        Some(u32::try_from(tightest.0).unwrap_or(u32::MAX)),
        tightest.1.or_else(window),
    ))
}

fn parameter(item: &str, name: &str) -> Option<u64> {
    item.split(';').skip(1).find_map(|p| {
        let (key, value) = p.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    })
}

fn older(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Window> {
    let number = |name| text(headers, name).and_then(|v| v.trim().parse::<u64>().ok());
    let left = number("x-ratelimit-remaining");
    // Some services give the moment of the reset, others the seconds until then.
    let reset = number("x-ratelimit-reset").map(|v| {
        let now = u64::try_from(now.timestamp()).unwrap_or(0);
        if v > 1_000_000_000 {
            v.saturating_sub(now)
        } else {
            v
        }
    });
    (left.is_some() || reset.is_some())
        .then(|| (left.map(|v| u32::try_from(v).unwrap_or(u32::MAX)), reset))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn now() -> DateTime<Utc> {
        lenient::date("2026-11-01T00:00:00Z").unwrap()
    }

    fn read(http: u16, pairs: &[(&'static str, &'static str)]) -> Option<RateSignal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        signal(http, &headers, now())
    }

    fn left(remaining: u32, reset: u64) -> Option<RateSignal> {
        Some(RateSignal {
            remaining: Some(remaining),
            reset_in: Some(Duration::from_secs(reset)),
            retry_after: None,
            limited: false,
        })
    }

    fn limited(retry_after: u64) -> Option<RateSignal> {
        Some(RateSignal {
            remaining: None,
            reset_in: None,
            retry_after: Some(Duration::from_secs(retry_after)),
            limited: true,
        })
    }

    #[test]
    fn every_spelling() {
        assert_eq!(read(200, &[]), None);
        assert_eq!(
            read(200, &[("ratelimit", "\"default\";r=50;t=30")]),
            left(50, 30)
        );
        assert_eq!(
            read(200, &[("ratelimit", "\"a\";r=50;t=30, \"b\"; r=4 ; t=9")]),
            left(4, 9)
        );
        assert_eq!(
            read(
                200,
                &[
                    ("ratelimit", "\"d\";r=5"),
                    ("ratelimit-policy", "\"d\";q=100;w=60")
                ]
            ),
            left(5, 60)
        );
        assert_eq!(
            read(
                200,
                &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "12")]
            ),
            left(7, 12)
        );
        assert_eq!(
            read(
                200,
                &[
                    ("x-ratelimit-remaining", "7"),
                    ("x-ratelimit-reset", "1793491212")
                ]
            ),
            left(7, 12)
        );
        assert_eq!(read(200, &[("ratelimit", "nonsense;;=;r=x")]), None);
    }

    #[test]
    fn a_429_always_says_how_long() {
        assert_eq!(read(429, &[]), limited(300));
        assert_eq!(read(429, &[("retry-after", "17")]), limited(17));
        assert_eq!(read(429, &[("retry-after", "0")]), limited(1));
        assert_eq!(read(429, &[("retry-after", "99999999")]), limited(3600));
        assert_eq!(read(429, &[("retry-after", "soon")]), limited(300));
        assert_eq!(
            read(429, &[("retry-after", "Sun, 01 Nov 2026 00:00:42 GMT")]),
            limited(42)
        );
        assert_eq!(
            read(
                429,
                &[
                    ("retry-after", "Sun, 01 Nov 2026 10:00:42 GMT"),
                    ("date", "Sun, 01 Nov 2026 10:00:00 GMT"),
                ]
            ),
            limited(42)
        );
    }
}
