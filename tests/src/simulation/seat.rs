//! A seat is one process: it can die or be frozen at any of its calls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// When, around a call, the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the call is made.
    Before,
    /// When it is on its way: it is carried out all the same.
    InFlight,
    /// When it was carried out, before the process could do anything about the answer.
    After,
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// At its call of this number (those that change something at Cloudflare or in the database, from 0).
    pub at: u64,
    /// When around it.
    pub moment: Moment,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    crash: Option<Crash>,
    freezes_at: Option<u64>,
    dead: bool,
    frozen: bool,
}

/// One process.
#[derive(Debug, Default)]
pub struct Seat {
    state: Mutex<State>,
    thawed: Notify,
    died: Notify,
}

impl Seat {
    /// A process that dies there.
    pub fn doomed(crash: Crash) -> Self {
        let seat = Self::default();
        seat.state().crash = Some(crash);
        seat
    }

    /// A process that is frozen at its call of this number.
    pub fn freezing(at: u64) -> Self {
        let seat = Self::default();
        seat.state().freezes_at = Some(at);
        seat
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes when the process is alive and not frozen; never, once it is dead.
    pub async fn alive(&self) {
        loop {
            let thawed = self.thawed.notified();
            let (dead, frozen) = {
                let state = self.state();
                (state.dead, state.frozen)
            };
            if dead {
                std::future::pending::<()>().await;
            }
            if !frozen {
                return;
            }
            thawed.await;
        }
    }

    /// A call that changes something is about to be made: its number.
    pub fn number(&self) -> u64 {
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        state.frozen |= state.freezes_at == Some(number);
        number
    }

    /// Dies here, if it is to die here; then never returns.
    pub async fn may_die(&self, at: u64, moment: Moment) {
        if self.state().crash == Some(Crash { at, moment }) {
            self.kill();
            std::future::pending::<()>().await;
        }
    }

    /// Whether it will die while this call is on its way.
    pub fn dies_in_flight(&self, at: u64) -> bool {
        let moment = Moment::InFlight;
        self.state().crash == Some(Crash { at, moment })
    }

    /// Ends the process: it does nothing any more.
    pub fn kill(&self) {
        self.state().dead = true;
        self.died.notify_one();
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Waits until it died at the place where it was to die.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// How many calls it made that change something.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Stops it wherever it is, as a laptop's lid or a paused virtual machine does.
    pub fn freeze(&self) {
        self.state().frozen = true;
    }

    /// Lets it go on, unaware that time has passed.
    pub fn thaw(&self) {
        self.state().frozen = false;
        self.thawed.notify_waiters();
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }
}
