//! Seeded chance: ids and token values.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// A seeded source; the same seed and the same calls give the same ids.
#[derive(Debug, Clone)]
pub(crate) struct Chance(StdRng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// 32 hexadecimal characters.
    pub(crate) fn hex32(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        hex::encode(bytes)
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    /// An API token's value: 40 characters, as Cloudflare makes them.
    pub(crate) fn token_value(&mut self) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
        (0..40)
            .map(|_| char::from(ALPHABET[self.0.random_range(0..ALPHABET.len())]))
            .collect()
    }
}
