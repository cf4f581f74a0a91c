//! A budget without a limit, and the rest of a caller's time.

use std::time::Duration;

use async_trait::async_trait;
use talon_core::cloud::{Budget, CallClass, CallCx, RateSignal};
use tokio::time::Instant;

/// Admits every call; for tools and tests. The daemon's budget lives in the controller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

#[async_trait]
impl Budget for Unlimited {
    async fn admit(&self, _class: CallClass) -> Result<(), Duration> {
        Ok(())
    }

    fn observe(&self, _signal: RateSignal) {}
}

/// A write is not begun with less than this left: its answer would most likely be lost.
const LEAST_FOR_A_WRITE: Duration = Duration::from_secs(2);
/// The same for a read, which does no harm.
const LEAST_FOR_A_READ: Duration = Duration::from_millis(50);

/// The moment until which the caller may act, fixed when the call begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn of(cx: CallCx) -> Self {
        Self(
            cx.remaining
                .and_then(|left| Instant::now().checked_add(left)),
        )
    }

    /// The timeout of a request sent now: `wanted`, or what is left. `None`: too little is left.
    pub(crate) fn timeout(self, write: bool, wanted: Duration) -> Option<Duration> {
        let Some(at) = self.0 else {
            return Some(wanted);
        };
        let left = at.saturating_duration_since(Instant::now());
        let least = if write {
            LEAST_FOR_A_WRITE.min(wanted)
        } else {
            LEAST_FOR_A_READ
        };
        (left >= least).then(|| left.min(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(left_ms: u64) -> Deadline {
        Deadline::of(CallCx {
            class: CallClass::Resync,
            remaining: Some(Duration::from_millis(left_ms)),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_needs_two_seconds_and_is_cut_to_fit() {
        let wanted = Duration::from_secs(20);
        assert_eq!(deadline(1_999).timeout(true, wanted), None);
        assert_eq!(
            deadline(2_000).timeout(true, wanted),
            Some(Duration::from_secs(2))
        );
        assert_eq!(deadline(60_000).timeout(true, wanted), Some(wanted));
        assert_eq!(
            deadline(100).timeout(false, wanted),
            Some(Duration::from_millis(100))
        );
        assert_eq!(deadline(10).timeout(false, wanted), None);
        assert_eq!(Deadline(None).timeout(true, wanted), Some(wanted));
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_waiting_counts() {
        let d = deadline(5_000);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(d.timeout(true, Duration::from_secs(20)), None);
    }
}
