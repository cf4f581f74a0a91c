//! What goes wrong with calls to Cloudflare and with the database, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dice::Dice;

/// What becomes of one call to Cloudflare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallFault {
    /// Answered with a 5xx or a reset, and not carried out.
    LostBefore,
    /// Carried out, and the answer lost.
    LostAfter,
    /// The answer is given up; carried out when the settle time is almost over.
    LandsLate,
    /// Delivered twice.
    Doubled,
    /// 429 with this many seconds to wait.
    Throttled(u64),
    /// The controller's token lacks a permission for once.
    Forbidden,
    /// A bucket that is there cannot be bound yet.
    NotBindable,
}

/// What becomes of one call to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreFault {
    /// Refused, nothing written.
    Away,
    /// Written, and the acknowledgement lost.
    AckLost,
}

/// How much goes wrong, while anything does.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Of a thousand calls that change something at Cloudflare, how many go wrong.
    pub writes: u64,
    /// Of a thousand calls that read from Cloudflare.
    pub reads: u64,
    /// Of a thousand calls to the database.
    pub database: u64,
    /// How old lists may be.
    pub lag: Duration,
    /// Whether every list is that old, rather than up to that old.
    pub always: bool,
    /// How long a fresh Worker is listed without its tags.
    pub tagless: Duration,
    /// Of a thousand words to a Worker, how many go wrong; beyond the budget.
    pub doors: u64,
    /// No more faults than this.
    pub budget: u64,
}

/// Decides, and keeps count.
#[derive(Debug, Default)]
pub struct Faults {
    /// What may go wrong.
    pub weather: Weather,
    /// Faults that hit the next calls of these operations, before chance decides.
    pub armed: BTreeMap<&'static str, Vec<CallFault>>,
    /// How often each fault has fired.
    pub fired: BTreeMap<String, u64>,
}

impl Faults {
    /// How many faults have fired.
    pub fn total(&self) -> u64 {
        self.fired.values().sum()
    }

    /// Notes that something went wrong.
    pub fn note(&mut self, what: impl Into<String>) {
        *self.fired.entry(what.into()).or_default() += 1;
    }

    fn spend(&mut self) -> bool {
        if self.weather.budget == 0 {
            return false;
        }
        self.weather.budget -= 1;
        true
    }

    /// The fate of a call that changes something.
    pub fn write(&mut self, operation: &'static str, dice: &mut Dice) -> Option<CallFault> {
        if let Some(armed) = self.armed.get_mut(operation).filter(|a| !a.is_empty()) {
            let fault = armed.remove(0);
            self.note(format!("{operation} {fault:?}"));
            return Some(fault);
        }
        if !dice.permille(self.weather.writes) || !self.spend() {
            return None;
        }
        let fault = match dice.range(0..16) {
            0..3 => CallFault::LostBefore,
            3..7 => CallFault::LostAfter,
            7..10 => CallFault::LandsLate,
            10..12 => CallFault::Doubled,
            12..14 => CallFault::Throttled(*dice.pick(&[1, 30, 300])),
            14 => CallFault::Forbidden,
            _ => CallFault::NotBindable,
        };
        self.note(format!("{fault:?}"));
        Some(fault)
    }

    /// The fate of a call that reads.
    pub fn read(&mut self, dice: &mut Dice) -> Option<CallFault> {
        if !dice.permille(self.weather.reads) || !self.spend() {
            return None;
        }
        let fault = match dice.range(0..4) {
            0 => CallFault::Throttled(*dice.pick(&[1, 30, 300])),
            1 => CallFault::Forbidden,
            _ => CallFault::LostBefore,
        };
        self.note(format!("read {fault:?}"));
        Some(fault)
    }

    /// The fate of a call to the database.
    pub fn store(&mut self, writes: bool, dice: &mut Dice) -> Option<StoreFault> {
        if !dice.permille(self.weather.database) || !self.spend() {
            return None;
        }
        let fault = if writes && dice.permille(500) {
            StoreFault::AckLost
        } else {
            StoreFault::Away
        };
        self.note(format!("{fault:?}"));
        Some(fault)
    }

    /// How old the next list is.
    pub fn lag(&self, dice: &mut Dice) -> Duration {
        let most = u64::try_from(self.weather.lag.as_millis()).unwrap_or_default();
        if self.weather.always {
            self.weather.lag
        } else {
            Duration::from_millis(dice.range(0..most + 1))
        }
    }
}
