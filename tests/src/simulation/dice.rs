//! Chance, all of it out of one seed.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use talon_core::clock::Random;

/// SplitMix64: small, seeded, good enough for choices.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x7461_6c6f_6e21)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in the range.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.bits() % (range.end - range.start).max(1)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.range(0..1000) < chance
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.range(0..of.len() as u64)).unwrap_or_default();
        &of[at]
    }
}

/// Dice that several parts of a history throw in turn. Also the [`Random`] of every daemon.
#[derive(Debug, Clone)]
pub struct SharedDice(Arc<Mutex<Dice>>);

impl SharedDice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Dice::new(seed))))
    }

    /// Throws.
    pub fn throw<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Random for SharedDice {
    fn fill(&self, buffer: &mut [u8]) {
        self.throw(|dice| {
            for chunk in buffer.chunks_mut(8) {
                let bytes = dice.bits().to_be_bytes();
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
        });
    }
}
