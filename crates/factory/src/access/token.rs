//! API tokens: recognisable in a leak, checkable without knowing any, and as good as unguessable.

use sha2::{Digest, Sha256};
use talon_core::clock::Random;
use talon_core::secret::SecretValue;

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
