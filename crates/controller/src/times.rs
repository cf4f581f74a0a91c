//! How long the latest passes took, for whoever watches the controller.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many passes are remembered.
const KEPT: usize = 512;

/// What the latest passes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassSummary {
    /// How many are looked at, at most the latest 512.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Of a hundred, 99 took no longer.
    pub p99: Duration,
}

/// Durations of the latest passes, the oldest first.
#[derive(Debug, Default)]
pub struct PassTimes(Mutex<VecDeque<Duration>>);

impl PassTimes {
    /// Remembers one pass, from claim to finish.
    pub(crate) fn add(&self, took: Duration) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(took);
    }

    /// The latest ones together; `None` before the first.
    pub fn summary(&self) -> Option<PassSummary> {
        let mut all: Vec<Duration> = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().copied().collect()
        };
        all.sort_unstable();
        // The nearest rank: the smallest that so many of a hundred do not exceed.
        let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).max(1) - 1);
        Some(PassSummary {
            count: all.len(),
            p50: *rank(50)?,
            p99: *rank(99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_latest() {
        let times = PassTimes::default();
        assert_eq!(times.summary(), None);
        times.add(Duration::from_millis(7));
        let one = times.summary().map(|s| (s.count, s.p50, s.p99));
        let seven = Duration::from_millis(7);
        assert_eq!(one, Some((1, seven, seven)));
        for ms in 1..=(KEPT as u64) {
            times.add(Duration::from_millis(ms));
        }
        let all = times.summary().map(|s| (s.count, s.p50, s.p99));
        let ms = Duration::from_millis;
        assert_eq!(all, Some((KEPT, ms(256), ms(507))));
    }
}
