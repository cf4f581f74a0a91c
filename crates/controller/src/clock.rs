//! The real clock and the real dice.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rand::TryRngCore;
use talon_core::clock::{Clock, Random};

/// This machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The operating system's generator.
#[derive(Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// Dies rather than hand out predictable bytes: tokens are made of them.
    fn fill(&self, buffer: &mut [u8]) {
        if rand::rngs::OsRng.try_fill_bytes(buffer).is_err() {
            std::process::abort();
        }
    }
}

/// A number in `0.0..1.0`.
pub fn fraction(random: &dyn Random) -> f64 {
    let mut bytes = [0u8; 4];
    random.fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
