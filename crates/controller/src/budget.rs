//! The call budget: how many calls to Cloudflare's API may be made, and who goes first when it is short.
//!
//! Cloudflare allows 1,200 calls in five minutes to a token, for everything, and answers nothing for five minutes
//! beyond that; we stay at 1,000, in whichever five minutes. Urgent classes may use the last calls, the others leave a
//! reserve; a class that was refused for a minute may use everything, so that none starves. A budget that is shared
//! through the database knows no classes: who asks first goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::clock::Clock;
use talon_core::cloud::{Budget, CallClass, RateSignal};
use talon_store::Store;
use talon_store::budget::{Decision, Slot, decide};

/// The window Cloudflare counts in.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Pause after a 429 that says nothing else.
const BLIND_PAUSE: Duration = Duration::from_secs(300);
/// Calls taken from the shared window at once.
const CHUNK: u32 = 20;
/// Nobody is asked to come back sooner.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// After this long a refused class may use everything.
const AGEING: Duration = Duration::from_secs(60);

/// One account token's budget.
pub struct CallBudget {
    clock: Arc<dyn Clock>,
    ceiling: u32,
    shared: Option<Shared>,
    state: Mutex<State>,
}

struct Shared {
    store: Arc<dyn Store>,
    account: String,
}

#[derive(Default)]
struct State {
    /// Calls made here, by slot of time; unused while the budget is shared.
    slots: Vec<Slot>,
    /// What is left of the calls taken from the shared window.
    chunk: u32,
    /// What Cloudflare said is left, and until when (monotonic) that holds.
    told: Option<(u32, Duration)>,
    paused_until: Duration,
    pause_to_share: Option<Duration>,
    refused_since: HashMap<CallClass, Duration>,
}

impl CallBudget {
    /// A budget of this process alone: in no span of the window, wherever it starts, more calls than this.
    pub fn in_process(clock: Arc<dyn Clock>, calls: u32) -> Self {
        Self {
            clock,
            ceiling: calls.max(1),
            shared: None,
            state: Mutex::default(),
        }
    }

    /// A budget shared by every daemon on one database: taken from there in chunks.
    pub fn shared(
        clock: Arc<dyn Clock>,
        calls: u32,
        store: Arc<dyn Store>,
        account: String,
    ) -> Self {
        let mut budget = Self::in_process(clock, calls);
        budget.shared = Some(Shared { store, account });
        budget
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Calls kept for more urgent classes.
    fn reserve(&self, class: CallClass) -> u32 {
        let percent = match class {
            CallClass::Delete => 0,
            CallClass::UserChange => 2,
            CallClass::Retry => 5,
            CallClass::Resync => 10,
            CallClass::Sweep => 20,
        };
        u32::try_from(u64::from(self.ceiling) * percent / 100).unwrap_or(self.ceiling)
    }

    fn take(&self, class: CallClass) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX / 4);
        let mut state = self.lock();
        if now < state.paused_until {
            return Err(state.paused_until - now);
        }
        // Asked for everything, the decision says what is left.
        let window = decide(&state.slots, now_ms, self.ceiling, self.ceiling, WINDOW);
        let mut left = match self.shared {
            Some(_) => state.chunk,
            None => window.grant.calls,
        };
        let mut wait = window.grant.retry_in;
        if let Some((told, until)) = state.told.filter(|(_, until)| now < *until)
            && self.shared.is_none()
            && told < left
        {
            (left, wait) = (told, until - now);
        }
        let waited = state
            .refused_since
            .get(&class)
            .map_or(Duration::ZERO, |t| now.saturating_sub(*t));
        let reserve = match self.shared {
            Some(_) => 0,
            None => self.reserve(class),
        };
        if left > reserve || (left > 0 && waited >= AGEING) {
            match self.shared {
                Some(_) => state.chunk -= 1,
                None => charge(&mut state.slots, &window),
            }
            if let Some((told, _)) = &mut state.told {
                *told = told.saturating_sub(1);
            }
            if left > reserve {
                // Until then it stays aged: one call alone gets nobody through a list.
                state.refused_since.remove(&class);
            }
            return Ok(());
        }
        state.refused_since.entry(class).or_insert(now);
        if left > 0 {
            // Only the reserve is in the way, and that ends with ageing.
            wait = AGEING.saturating_sub(waited);
        }
        Err(wait.max(LEAST_WAIT))
    }

    async fn refill_from_store(&self, shared: &Shared) -> Result<(), Duration> {
        let pause = self.lock().pause_to_share.take();
        if let Some(pause) = pause
            && shared
                .store
                .pause_budget(&shared.account, pause)
                .await
                .is_err()
        {
            self.lock().pause_to_share = Some(pause);
        }
        match shared
            .store
            .take_budget(&shared.account, CHUNK, self.ceiling, WINDOW)
            .await
        {
            Ok(grant) if grant.calls > 0 => {
                self.lock().chunk += grant.calls;
                Ok(())
            }
            Ok(grant) => Err(grant.retry_in.max(LEAST_WAIT)),
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// Charges one call to the present slot and forgets what counts no more.
fn charge(slots: &mut Vec<Slot>, window: &Decision) {
    slots.retain(|s| s.start_ms > window.forget_before_ms);
    match slots.iter_mut().find(|s| s.start_ms == window.slot_ms) {
        Some(slot) => slot.used += 1,
        None => slots.push(Slot {
            start_ms: window.slot_ms,
            used: 1,
        }),
    }
}

#[async_trait]
impl Budget for CallBudget {
    async fn admit(&self, class: CallClass) -> Result<(), Duration> {
        match (self.take(class), &self.shared) {
            (Ok(()), _) => Ok(()),
            (Err(wait), None) => Err(wait),
            (Err(wait), Some(_)) if self.clock.monotonic() < self.lock().paused_until => Err(wait),
            (Err(_), Some(shared)) => {
                self.refill_from_store(shared).await?;
                self.take(class)
            }
        }
    }

    fn observe(&self, signal: RateSignal) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if signal.limited {
            let pause = signal.retry_after.unwrap_or(BLIND_PAUSE);
            state.paused_until = state.paused_until.max(now + pause);
            state.pause_to_share = Some(pause);
        }
        if let Some(remaining) = signal.remaining {
            state.told = Some((remaining, now + signal.reset_in.unwrap_or(WINDOW)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Hand {
        fn turn(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for Hand {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    fn signal(retry_after: Option<Duration>, limited: bool) -> RateSignal {
        RateSignal {
            remaining: None,
            reset_in: None,
            retry_after,
            limited,
        }
    }

    #[tokio::test]
    async fn no_five_minutes_hold_more_calls_than_the_ceiling() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 100);
        let mut granted: Vec<u64> = Vec::new();
        for second in 0..1200u64 {
            // A burst after a quiet time, then whatever is to be had.
            while second >= 200 && budget.admit(CallClass::Delete).await.is_ok() {
                granted.push(second);
            }
            clock.turn(Duration::from_secs(1));
        }
        for start in 0..900 {
            let within = granted.iter().filter(|s| (start..start + 300).contains(*s));
            assert!(within.count() <= 100, "from second {start}");
        }
        assert!(granted.len() >= 300, "{}", granted.len());
    }

    #[tokio::test]
    async fn what_cloudflare_says_is_left_counts_until_its_window_ends() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 1000);
        budget.observe(RateSignal {
            remaining: Some(1),
            reset_in: Some(Duration::from_secs(30)),
            retry_after: None,
            limited: false,
        });
        assert!(budget.admit(CallClass::Delete).await.is_ok());
        assert_eq!(
            budget.admit(CallClass::Delete).await,
            Err(Duration::from_secs(30))
        );
        clock.turn(Duration::from_secs(30));
        assert!(budget.admit(CallClass::Delete).await.is_ok());
    }

    #[tokio::test]
    async fn the_last_calls_are_for_the_urgent_and_a_refused_class_ages() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 1000);
        while budget.admit(CallClass::Sweep).await.is_ok() {}
        assert!(budget.admit(CallClass::Resync).await.is_ok());
        assert!(budget.admit(CallClass::Delete).await.is_ok());
        while budget.admit(CallClass::Resync).await.is_ok() {}
        assert_eq!(budget.admit(CallClass::Sweep).await, Err(AGEING));
        clock.turn(AGEING);
        for _ in 0..10 {
            assert!(
                budget.admit(CallClass::Sweep).await.is_ok(),
                "a class that waited goes, and not with one call only"
            );
        }
    }

    #[tokio::test]
    async fn a_429_pauses_everything_for_as_long_as_it_says_or_five_minutes() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 1000);
        budget.observe(signal(Some(Duration::from_secs(7)), true));
        assert_eq!(
            budget.admit(CallClass::Delete).await,
            Err(Duration::from_secs(7))
        );
        clock.turn(Duration::from_secs(7));
        assert!(budget.admit(CallClass::Delete).await.is_ok());
        budget.observe(signal(None, true));
        assert_eq!(budget.admit(CallClass::Delete).await, Err(BLIND_PAUSE));
    }
}
