//! A leaking bucket: so much at once, so much per second.

use tokio::time::Instant;

use crate::config::RateLimit;

/// How much may still be taken.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
}

impl Bucket {
    fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            level: burst,
        }
    }

    fn take(&mut self, amount: f64, seconds: f64) -> bool {
        self.level = (self.level + seconds * self.per_second).min(self.burst);
        self.level -= amount;
        self.level >= 0.0
    }
}

/// What one connection may send.
#[derive(Debug)]
pub struct Meter {
    frames: Bucket,
    bytes: Bucket,
    last: Instant,
}

impl Meter {
    /// Full buckets.
    pub fn new(limit: &RateLimit) -> Self {
        Self {
            frames: Bucket::new(limit.frames, limit.frames_burst),
            bytes: Bucket::new(limit.bytes, limit.bytes_burst),
            last: Instant::now(),
        }
    }

    /// Counts a frame of so many bytes; `false` if that is too much.
    pub fn frame(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64();
        self.last = now;
        let frames = self.frames.take(1.0, seconds);
        let bytes = self.bytes.take(bytes as f64, seconds);
        frames && bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: RateLimit = RateLimit {
        frames: 10.0,
        frames_burst: 20.0,
        bytes: 100.0,
        bytes_burst: 1_000.0,
    };

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_a_steady_flow() {
        let mut meter = Meter::new(&LIMIT);
        assert!((0..20).all(|_| meter.frame(1)));
        assert!(!meter.frame(1), "the burst is used up");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!((0..9).all(|_| meter.frame(1)), "ten a second, one owed");
        assert!(!meter.frame(1));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_as_well() {
        let mut meter = Meter::new(&LIMIT);
        assert!(meter.frame(900));
        assert!(!meter.frame(200));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(meter.frame(1_000), "full again, and no fuller");
        assert!(!meter.frame(1));
    }
}
