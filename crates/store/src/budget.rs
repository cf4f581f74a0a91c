//! The shared window of Cloudflare calls, as a pure decision.
//!
//! A window is counted in ten slots. A call counts until the whole slot it fell into is older than the window, so that
//! in no span of the window's length, wherever it starts, more than the ceiling is granted.

use std::time::Duration;

use crate::types::Grant;

/// Slots in a window.
const SLOTS: i64 = 10;

/// What was granted in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When it begins, in milliseconds since 1970.
    pub start_ms: i64,
    /// How many calls were granted in it.
    pub used: u32,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What the caller gets.
    pub grant: Grant,
    /// The slot to charge `grant.calls` to.
    pub slot_ms: i64,
    /// Slots that begin before this count no more and may be forgotten.
    pub forget_before_ms: i64,
}

/// Decides about `want` calls at `now_ms`, given what was granted so far.
pub fn decide(slots: &[Slot], now_ms: i64, want: u32, ceiling: u32, window: Duration) -> Decision {
    let window_ms = i64::try_from(window.as_millis())
        .unwrap_or(i64::MAX / 4)
        .clamp(1, i64::MAX / 4);
    let slot_len = (window_ms / SLOTS).max(1);
    let counts_from = now_ms - window_ms - slot_len;
    let counting: Vec<Slot> = slots
        .iter()
        .copied()
        .filter(|s| s.start_ms > counts_from)
        .collect();
    let used = counting
        .iter()
        .fold(0u32, |sum, s| sum.saturating_add(s.used));
    let calls = want.min(ceiling.saturating_sub(used));
    let retry_in = if calls > 0 || want == 0 {
        Duration::ZERO
    } else {
        let first_end = counting
            .iter()
            .map(|s| s.start_ms.saturating_add(window_ms + slot_len))
            .min()
            .unwrap_or(now_ms + window_ms);
        Duration::from_millis(u64::try_from(first_end - now_ms).unwrap_or(0).max(1))
    };
    Decision {
        grant: Grant { calls, retry_in },
        slot_ms: now_ms - now_ms.rem_euclid(slot_len),
        forget_before_ms: counts_from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_of_the_window_holds_more_than_the_ceiling() {
        let window = Duration::from_millis(1000);
        let mut slots: Vec<Slot> = Vec::new();
        let mut granted: Vec<(i64, u32)> = Vec::new();
        let mut now = 1_700_000_000_123;
        for i in 0..5_000i64 {
            now += (i * 37) % 61;
            let d = decide(&slots, now, 3, 20, window);
            slots.retain(|s| s.start_ms > d.forget_before_ms);
            if d.grant.calls > 0 {
                match slots.iter_mut().find(|s| s.start_ms == d.slot_ms) {
                    Some(slot) => slot.used += d.grant.calls,
                    None => slots.push(Slot {
                        start_ms: d.slot_ms,
                        used: d.grant.calls,
                    }),
                }
                granted.push((now, d.grant.calls));
            } else {
                assert!(d.grant.retry_in > Duration::ZERO);
            }
        }
        for (i, (start, _)) in granted.iter().enumerate() {
            let sum: u32 = granted[i..]
                .iter()
                .take_while(|(at, _)| at - start <= 1000)
                .map(|(_, n)| n)
                .sum();
            assert!(sum <= 20, "{sum} calls within a window");
        }
        assert!(granted.len() > 500);
    }
}
