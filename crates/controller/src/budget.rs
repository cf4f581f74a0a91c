//! The call budget: how many calls to Cloudflare's API may be made, and who goes first when it is short.
//!
//! Cloudflare allows 1,200 calls in five minutes to a token, for everything, and answers nothing for five minutes
//! beyond that; we stay at 1,000, in whichever five minutes. Urgent classes may use the last calls, the others leave a
//! reserve; a class that was refused for a minute may use everything for a while, so that none starves.
//!
//! A budget that is shared through the database is asked there for each call, with the reserve of its class. Nobody
//! takes calls in store: no daemon holds what another one's deletions need, and what was granted is what is counted. It
//! costs one small transaction where a call to Cloudflare follows, four in a second at the most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::clock::Clock;
use talon_core::cloud::{Budget, CallClass, RateSignal};
use talon_store::budget::{Decision, Slot, decide};
use talon_store::{BudgetAsk, Grant, Store};

/// The window Cloudflare counts in.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Pause after a 429 that says nothing else.
const BLIND_PAUSE: Duration = Duration::from_secs(300);
/// Nobody is asked to come back sooner.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// When to come back if the database could not be asked.
const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// After this long a refused class may use everything…
const AGEING: Duration = Duration::from_secs(60);
/// …for so many calls; then it ages anew. One call alone gets nobody through the lists of an account.
const AGED_CALLS: u32 = 50;

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
    /// What Cloudflare said is left, and until when (monotonic) that holds.
    told: Option<(u32, Duration)>,
    paused_until: Duration,
    /// Until when Cloudflare asked this daemon to pause, and until when the others know of it.
    asked_until: Duration,
    told_until: Duration,
    refused: BTreeMap<CallClass, Refused>,
}

/// A class that was refused and has had no call of its own right since.
struct Refused {
    since: Duration,
    /// Calls it was given because it had aged.
    given: u32,
}

impl State {
    fn aged(&self, class: CallClass, now: Duration) -> bool {
        self.refused
            .get(&class)
            .is_some_and(|r| now.saturating_sub(r.since) >= AGEING)
    }

    /// Counts one call granted to the class.
    fn granted(&mut self, class: CallClass, now: Duration) {
        if let Some((told, _)) = &mut self.told {
            *told = told.saturating_sub(1);
        }
        let aged = self.aged(class, now);
        if let Some(refused) = self.refused.get_mut(&class) {
            refused.given += 1;
            if !aged || refused.given >= AGED_CALLS {
                self.refused.remove(&class);
            }
        }
    }

    /// Notes a refusal; when to ask again, if calls may be free in `retry_in`.
    fn refuse(&mut self, class: CallClass, now: Duration, retry_in: Duration) -> Duration {
        let refused = self.refused.entry(class).or_insert_with(|| {
            let retry_s = retry_in.as_secs();
            tracing::info!(
                ?class,
                retry_s,
                "the call budget is short: these calls wait"
            );
            Refused {
                since: now,
                given: 0,
            }
        });
        let ages_in = (refused.since + AGEING).saturating_sub(now);
        let wait = match class {
            // It leaves no reserve that ageing could open.
            CallClass::Delete => retry_in,
            _ if ages_in.is_zero() => retry_in,
            _ => retry_in.min(ages_in),
        };
        wait.max(LEAST_WAIT)
    }

    fn pause(&mut self, now: Duration, pause: Duration) {
        if self.paused_until <= now {
            let pause_s = pause.as_secs();
            tracing::warn!(
                pause_s,
                "Cloudflare asks for a pause: no call before it ends"
            );
        }
        self.paused_until = self.paused_until.max(now + pause);
    }
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

    /// A budget shared by every daemon on one database.
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

    /// Calls that this process granted within the window that ends now. Those granted through the database are counted there.
    pub fn used(&self) -> u32 {
        let now_ms = i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX / 4);
        let window_ms = i64::try_from(WINDOW.as_millis()).unwrap_or(0);
        let state = self.lock();
        let counting = state
            .slots
            .iter()
            .filter(|s| s.start_ms > now_ms - window_ms);
        counting.fold(0, |sum, slot| sum.saturating_add(slot.used))
    }

    /// For how much longer nothing is asked of Cloudflare because it wants a pause.
    pub fn pause_left(&self) -> Option<Duration> {
        let left = self
            .lock()
            .paused_until
            .saturating_sub(self.clock.monotonic());
        (!left.is_zero()).then_some(left)
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

    /// What to ask the window for, unless it is known already that nothing is to be had.
    fn ask(
        &self,
        state: &mut State,
        class: CallClass,
        now: Duration,
    ) -> Result<BudgetAsk, Duration> {
        if now < state.paused_until {
            return Err(state.paused_until - now);
        }
        let reserve = if state.aged(class, now) {
            0
        } else {
            self.reserve(class)
        };
        if let Some((told, until)) = state.told.filter(|(_, until)| now < *until)
            && told <= reserve
        {
            return Err(state.refuse(class, now, until - now));
        }
        Ok(BudgetAsk {
            want: 1,
            reserve,
            ceiling: self.ceiling,
            window: WINDOW,
        })
    }

    /// What follows from the window's answer to what was asked at `now`.
    fn settle(
        state: &mut State,
        class: CallClass,
        now: Duration,
        grant: Grant,
    ) -> Result<(), Duration> {
        if grant.calls > 0 {
            state.granted(class, now);
            Ok(())
        } else if grant.paused {
            state.pause(now, grant.retry_in);
            Err(grant.retry_in.max(LEAST_WAIT))
        } else {
            Err(state.refuse(class, now, grant.retry_in))
        }
    }

    fn admit_here(&self, class: CallClass) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX / 4);
        let mut state = self.lock();
        let ask = self.ask(&mut state, class, now)?;
        let decision = decide(&state.slots, now_ms, ask);
        if decision.grant.calls > 0 {
            charge(&mut state.slots, &decision);
        }
        Self::settle(&mut state, class, now, decision.grant)
    }

    async fn admit_through(&self, shared: &Shared, class: CallClass) -> Result<(), Duration> {
        self.share_pause(shared).await;
        let now = self.clock.monotonic();
        let ask = self.ask(&mut self.lock(), class, now)?;
        match shared.store.take_budget(&shared.account, ask).await {
            Ok(grant) => Self::settle(&mut self.lock(), class, now, grant),
            Err(_) => Err(DATABASE_RETRY),
        }
    }

    /// Tells the other daemons of a pause that Cloudflare asked this one for, while it lasts.
    async fn share_pause(&self, shared: &Shared) {
        let now = self.clock.monotonic();
        let asked = {
            let state = self.lock();
            (state.asked_until > state.told_until.max(now)).then_some(state.asked_until)
        };
        let Some(asked) = asked else { return };
        let told = shared.store.pause_budget(&shared.account, asked - now);
        // Noted only now: whoever drops this in the middle has told nobody.
        if told.await.is_ok() {
            let mut state = self.lock();
            state.told_until = state.told_until.max(asked);
        }
    }
}

/// Charges what was granted to the present slot and forgets what counts no more.
fn charge(slots: &mut Vec<Slot>, window: &Decision) {
    slots.retain(|s| s.start_ms > window.forget_before_ms);
    match slots.iter_mut().find(|s| s.start_ms == window.slot_ms) {
        Some(slot) => slot.used += window.grant.calls,
        None => slots.push(Slot {
            start_ms: window.slot_ms,
            used: window.grant.calls,
        }),
    }
}

#[async_trait]
impl Budget for CallBudget {
    async fn admit(&self, class: CallClass) -> Result<(), Duration> {
        match &self.shared {
            None => self.admit_here(class),
            Some(shared) => self.admit_through(shared, class).await,
        }
    }

    fn observe(&self, signal: RateSignal) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if signal.limited {
            let pause = signal.retry_after.unwrap_or(BLIND_PAUSE);
            state.pause(now, pause);
            state.asked_until = state.asked_until.max(now + pause);
        }
        if let Some(remaining) = signal.remaining {
            state.told = Some((remaining, now + signal.reset_in.unwrap_or(WINDOW)));
        }
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
