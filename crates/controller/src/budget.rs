//! The call budget: how many calls to Cloudflare's API may be made, and who goes first when it is short.
//!
//! Cloudflare allows 1,200 calls in five minutes to a token, for everything, and answers nothing for five minutes
//! beyond that; we stay at 1,000. Urgent classes may use the last calls, the others leave a reserve; a class that was
//! refused for a minute may use everything, so that none starves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::clock::Clock;
use talon_core::cloud::{Budget, CallClass, RateSignal};
use talon_store::Store;

/// The window Cloudflare counts in.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Pause after a 429 that says nothing else.
const BLIND_PAUSE: Duration = Duration::from_secs(300);
/// Calls taken from the shared window at once.
const CHUNK: u32 = 20;
/// After this long a refused class may use everything.
const AGEING: Duration = Duration::from_secs(60);

/// One account token's budget.
pub struct CallBudget {
    clock: Arc<dyn Clock>,
    capacity: f64,
    shared: Option<Shared>,
    state: Mutex<State>,
}

struct Shared {
    store: Arc<dyn Store>,
    account: String,
}

struct State {
    calls: f64,
    at: Duration,
    paused_until: Duration,
    pause_to_share: Option<Duration>,
    refused_since: HashMap<CallClass, Duration>,
}

impl CallBudget {
    /// A budget of this process alone: it refills evenly over the window.
    pub fn in_process(clock: Arc<dyn Clock>, calls: u32) -> Self {
        let at = clock.monotonic();
        let state = State {
            calls: f64::from(calls),
            at,
            paused_until: Duration::ZERO,
            pause_to_share: None,
            refused_since: HashMap::new(),
        };
        Self {
            clock,
            capacity: f64::from(calls.max(1)),
            shared: None,
            state: Mutex::new(state),
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
        budget.lock().calls = 0.0;
        budget
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn reserve(class: CallClass) -> f64 {
        match class {
            CallClass::Delete => 0.0,
            CallClass::UserChange => 0.02,
            CallClass::Retry => 0.05,
            CallClass::Resync => 0.10,
            CallClass::Sweep => 0.20,
        }
    }

    fn take(&self, class: CallClass) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if now < state.paused_until {
            return Err(state.paused_until - now);
        }
        if self.shared.is_none() {
            let refill =
                (now.saturating_sub(state.at)).as_secs_f64() * self.capacity / WINDOW.as_secs_f64();
            state.calls = (state.calls + refill).min(self.capacity);
            state.at = now;
        }
        let aged = state
            .refused_since
            .get(&class)
            .is_some_and(|t| now.saturating_sub(*t) >= AGEING);
        let reserve = if aged || self.shared.is_some() {
            0.0
        } else {
            Self::reserve(class) * self.capacity
        };
        if state.calls >= 1.0 + reserve {
            state.calls -= 1.0;
            state.refused_since.remove(&class);
            return Ok(());
        }
        state.refused_since.entry(class).or_insert(now);
        let missing = 1.0 + reserve - state.calls;
        Err(
            Duration::from_secs_f64(missing * WINDOW.as_secs_f64() / self.capacity)
                .max(Duration::from_millis(100)),
        )
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
        // The capacity came from a u32, so the way back is exact.
        let ceiling = self.capacity as u32;
        match shared
            .store
            .take_budget(&shared.account, CHUNK, ceiling, WINDOW)
            .await
        {
            Ok(grant) if grant.calls > 0 => {
                self.lock().calls += f64::from(grant.calls);
                Ok(())
            }
            Ok(grant) => Err(grant.retry_in.max(Duration::from_millis(100))),
            Err(_) => Err(Duration::from_secs(1)),
        }
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
        if let Some(remaining) = signal.remaining
            && self.shared.is_none()
        {
            state.calls = state.calls.min(f64::from(remaining));
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
    async fn never_grants_more_than_the_burst_and_the_refill() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 100);
        let mut granted = 0;
        for _ in 0..300 {
            while budget.admit(CallClass::Delete).await.is_ok() {
                granted += 1;
            }
            clock.turn(Duration::from_secs(1));
        }
        assert!((199..=200).contains(&granted), "{granted}");
    }

    #[tokio::test]
    async fn the_last_calls_are_for_the_urgent_and_a_refused_class_ages() {
        let clock = Arc::new(Hand::default());
        let budget = CallBudget::in_process(clock.clone(), 1000);
        while budget.admit(CallClass::Sweep).await.is_ok() {}
        assert!(budget.admit(CallClass::Resync).await.is_ok());
        assert!(budget.admit(CallClass::Delete).await.is_ok());
        while budget.admit(CallClass::Resync).await.is_ok() {}
        clock.turn(AGEING);
        assert!(
            budget.admit(CallClass::Sweep).await.is_ok(),
            "a class that waited goes"
        );
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
