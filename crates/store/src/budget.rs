//! The shared window of Cloudflare calls, as a pure decision.
//!
//! A window is counted in ten slots. A call counts until the whole slot it fell into is older than the window, so that
//! in no span of the window's length, wherever it starts, more than the ceiling is granted.

use std::time::Duration;

use crate::types::{BudgetAsk, Grant};

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

/// Decides about what is asked at `now_ms`, given what was granted so far.
pub fn decide(slots: &[Slot], now_ms: i64, ask: BudgetAsk) -> Decision {
    let window_ms = i64::try_from(ask.window.as_millis())
        .unwrap_or(i64::MAX / 4)
        .clamp(1, i64::MAX / 4);
    let slot_len = (window_ms / SLOTS).max(1);
    let counts_from = now_ms - window_ms - slot_len;
    let mut counting: Vec<Slot> = slots
        .iter()
        .copied()
        .filter(|s| s.start_ms > counts_from)
        .collect();
    counting.sort_by_key(|s| s.start_ms);
    let mut used = counting
        .iter()
        .fold(0u32, |sum, s| sum.saturating_add(s.used));
    let free = |used: u32| ask.ceiling.saturating_sub(used).saturating_sub(ask.reserve);
    let calls = ask.want.min(free(used));
    let retry_in = if calls > 0 || ask.want == 0 {
        Duration::ZERO
    } else {
        // The first slot with whose end enough is free; one slot alone may hold less than the reserve.
        let enough = counting.iter().find(|s| {
            used = used.saturating_sub(s.used);
            free(used) > 0
        });
        let end = enough.map_or(now_ms + window_ms, |s| {
            s.start_ms.saturating_add(window_ms + slot_len)
        });
        Duration::from_millis(u64::try_from(end - now_ms).unwrap_or(0).max(1))
    };
    Decision {
        grant: Grant {
            calls,
            retry_in,
            paused: false,
        },
        slot_ms: now_ms - now_ms.rem_euclid(slot_len),
        forget_before_ms: counts_from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(want: u32, reserve: u32) -> BudgetAsk {
        BudgetAsk {
            want,
            reserve,
            ceiling: 20,
            window: Duration::from_millis(1000),
        }
    }

    #[test]
    fn no_span_of_the_window_holds_more_than_the_ceiling() {
        let mut slots: Vec<Slot> = Vec::new();
        let mut granted: Vec<(i64, u32)> = Vec::new();
        let mut now = 1_700_000_000_123;
        for i in 0..5_000i64 {
            now += (i * 37) % 61;
            let d = decide(&slots, now, ask(3, 0));
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

    #[test]
    fn the_reserve_is_left_and_the_wait_ends_when_more_than_it_is_free() {
        let slot = |start_ms, used| Slot { start_ms, used };
        // In no order: databases promise none.
        let slots = [slot(500, 4), slot(200, 3), slot(300, 10)];
        assert_eq!(decide(&slots, 600, ask(5, 0)).grant.calls, 3);
        assert_eq!(decide(&slots, 600, ask(5, 1)).grant.calls, 2);
        let retry = |reserve| {
            let grant = decide(&slots, 600, ask(5, reserve)).grant;
            assert_eq!(grant.calls, 0);
            grant.retry_in
        };
        // 3 are free; 6 when the slot of 200 counts no more, 16 when that of 300 does, and 20 in the end.
        assert_eq!(retry(3), Duration::from_millis(200 + 1100 - 600));
        assert_eq!(retry(6), Duration::from_millis(300 + 1100 - 600));
        assert_eq!(retry(16), Duration::from_millis(500 + 1100 - 600));
        assert_eq!(
            decide(&slots, 1400, ask(5, 6)).grant.calls,
            5,
            "and then it is granted"
        );
        assert_eq!(retry(20), Duration::from_millis(1000), "never enough");
    }
}
