//! Counting calls per token in fixed windows, as the REST API does.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::Quota;

/// What a call is told about the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limited: bool,
    pub(crate) remaining: u32,
    /// Seconds until the window starts again, rounded up.
    pub(crate) reset: u64,
    pub(crate) quota: Quota,
}

impl Standing {
    /// The two rate headers.
    pub(crate) fn headers(&self) -> [(&'static str, String); 2] {
        let window = self.quota.window.as_secs();
        [
            (
                "ratelimit",
                format!("\"default\";r={};t={}", self.remaining, self.reset),
            ),
            (
                "ratelimit-policy",
                format!("\"default\";q={};w={window}", self.quota.limit),
            ),
        ]
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct QuotaCounter {
    quota: Option<Quota>,
    /// Caller → start of its window and calls in it.
    windows: HashMap<String, (Duration, u32)>,
}

impl QuotaCounter {
    pub(crate) fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            windows: HashMap::new(),
        }
    }

    /// Another quota from now on; counting starts anew.
    pub(crate) fn set(&mut self, quota: Option<Quota>) {
        *self = Self::new(quota);
    }

    /// Counts a call at a moment of the monotonic clock; `None` if nothing is counted.
    pub(crate) fn count(&mut self, caller: &str, now: Duration) -> Option<Standing> {
        let quota = self.quota?;
        let window = self.windows.entry(caller.to_owned()).or_insert((now, 0));
        if now.saturating_sub(window.0) >= quota.window {
            *window = (now, 0);
        }
        window.1 = window.1.saturating_add(1);
        let left = (window.0 + quota.window).saturating_sub(now);
        Some(Standing {
            limited: window.1 > quota.limit,
            remaining: quota.limit.saturating_sub(window.1),
            reset: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            quota,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_for_the_rest_of_the_window() {
        let mut counter = QuotaCounter::new(Some(Quota {
            limit: 2,
            window: Duration::from_secs(300),
        }));
        let at = Duration::from_secs;
        assert_eq!(counter.count("t", at(10)).unwrap().remaining, 1);
        assert!(!counter.count("t", at(20)).unwrap().limited);
        let third = counter.count("t", at(30)).unwrap();
        assert!(third.limited);
        assert_eq!(third.reset, 280);
        assert!(!counter.count("other", at(30)).unwrap().limited);
        assert!(counter.count("t", at(309)).unwrap().limited);
        assert!(!counter.count("t", at(310)).unwrap().limited);
    }
}
