//! The retry policy. The only module that knows the `backoff` crate, which is no longer maintained upstream.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use talon_core::clock::Random;

use crate::clock::fraction;

/// Waits that double from `initial` to `max`, with jitter that is ours, so that a simulation can own it.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// First wait.
    pub initial: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl RetryPolicy {
    /// The wait after so many failures in a row (1 = the first), between half of it and the whole.
    pub fn after(&self, failures: i64, random: &dyn Random) -> Duration {
        let mut policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.initial)
            .with_max_interval(self.max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        let mut wait = self.initial;
        // Beyond 64 doublings every wait is the longest one.
        for _ in 0..failures.clamp(1, 64) {
            wait = policy.next_backoff().unwrap_or(self.max);
        }
        wait.mul_f64(0.5 + fraction(random) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_stay_within_their_jitter() {
        let policy = RetryPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
        };
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (1000, 300)] {
            let low = policy.after(failures, &Fixed(0));
            let high = policy.after(failures, &Fixed(255));
            assert_eq!(low, Duration::from_secs(whole) / 2, "after {failures}");
            assert!(
                high > low && high <= Duration::from_secs(whole),
                "after {failures}"
            );
        }
    }
}
