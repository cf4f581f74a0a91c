//! API tokens: recognisable in a leak, checkable without knowing any, and as good as unguessable.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use talon_core::clock::Random;
use talon_core::secret::SecretValue;
use talon_hub::API_KEY_PREFIX;

/// What every token starts with, so that scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "talon_at_";

/// Hex digits between prefix and checksum.
const BODY: usize = 64;

/// A new token: the prefix, 64 hex digits (256 bits), and a checksum of six.
pub fn new_token(random: &dyn Random) -> SecretValue {
    let mut bytes = [0u8; 32];
    random.fill(&mut bytes);
    let body = hex::encode(bytes);
    bytes.fill(0);
    SecretValue::new(format!("{TOKEN_PREFIX}{body}{}", checksum(&body)))
}

fn checksum(body: &str) -> String {
    hex::encode(&Sha256::digest(format!("talon-api-token:{body}"))[..3])
}

/// Whether it can be a token of ours at all: what is not needs no look into the database. No secret is compared here.
pub fn is_well_formed(token: &[u8]) -> bool {
    let body = std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.strip_prefix(TOKEN_PREFIX))
        .and_then(|rest| rest.split_at_checked(BODY));
    body.is_some_and(|(body, check)| check == checksum(body))
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

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests look at values.
mod tests {
    use talon_controller::clock::OsRandom;

    use super::*;

    #[test]
    fn a_token_of_ours_is_known_by_its_form() {
        let token = new_token(&OsRandom);
        let text = token.expose();
        assert!(is_well_formed(text.as_bytes()));
        let mut other = text.to_owned();
        other.truncate(other.len() - 1);
        assert!(!is_well_formed(other.as_bytes()));
        for bad in ["", "talon_at_", "sk-ant-x", "talon_at_\u{e4}"] {
            assert!(!is_well_formed(bad.as_bytes()), "{bad}");
        }
        assert!(!is_well_formed(&[0xff; 79]));
    }
}
