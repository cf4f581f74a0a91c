//! API tokens: recognisable in a leak, checkable without knowing any, and as good as unguessable.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use talon_core::clock::Random;
use talon_core::secret::SecretValue;
use talon_hub::API_KEY_PREFIX;

/// What every token starts with, so that scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "talon_at_";

/// A new token: the prefix, 64 hex digits (256 bits), and a checksum of six.
pub fn new_token(random: &dyn Random) -> SecretValue {
    let mut bytes = [0u8; 32];
    random.fill(&mut bytes);
    let body = hex::encode(bytes);
    bytes.fill(0);
    let check = hex::encode(&Sha256::digest(format!("talon-api-token:{body}"))[..3]);
    SecretValue::new(format!("{TOKEN_PREFIX}{body}{check}"))
}

/// Bytes of chance in an API key.
const KEY_BYTES: usize = 30;

/// A new API key, with which somebody lets their own agents into the Hub: the Hub's prefix and 48 letters (240 bits).
pub fn new_api_key(random: &dyn Random) -> SecretValue {
    let mut bytes = [0u8; KEY_BYTES];
    random.fill(&mut bytes);
    let text = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
    bytes.fill(0);
    SecretValue::new(format!("{API_KEY_PREFIX}{text}"))
}
