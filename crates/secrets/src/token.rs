//! Auth tokens of agents: recognisable in a leak, and checkable without knowing any.

use sha2::{Digest, Sha256};
use talon_core::secret::SecretValue;
use zeroize::Zeroizing;

/// What every token starts with, so that scanners and people recognise one.
pub const PREFIX: &str = "sat_";

const BODY_CHARS: usize = 64;
const CHECK_CHARS: usize = 6;

/// Makes a token of 32 random bytes (from the operating system's generator): `sat_`, 64 hex digits, and a checksum of
/// six hex digits.
pub fn generate(bytes: [u8; 32]) -> SecretValue {
    let bytes = Zeroizing::new(bytes);
    let body = Zeroizing::new(hex::encode(*bytes));
    SecretValue::new(format!("{PREFIX}{}{}", *body, checksum(&body)))
}

/// Whether a text has the shape and the checksum of a token. Says nothing about whether it is valid.
pub fn is_well_formed(s: &str) -> bool {
    let Some(rest) = s.strip_prefix(PREFIX) else {
        return false;
    };
    let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    rest.len() == BODY_CHARS + CHECK_CHARS && hex(rest) && {
        let (body, check) = rest.split_at(BODY_CHARS);
        checksum(body) == check
    }
}

/// Tells a typo or a cut token from a whole one; no protection against anybody.
fn checksum(body: &str) -> String {
    hex::encode(&Sha256::digest(format!("talon-auth-token:{body}"))[..CHECK_CHARS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_has_the_documented_form() {
        let token = generate([0xAB; 32]);
        assert!(token.expose().starts_with("sat_abab"));
        assert_eq!(token.expose().len(), 4 + 64 + 6);
        assert_eq!(format!("{token:?}"), "SecretValue(…)");
    }

    proptest! {
        #[test]
        fn every_token_is_well_formed_and_no_damaged_one(bytes: [u8; 32], at in 0usize..74) {
            let token = generate(bytes);
            prop_assert!(is_well_formed(token.expose()));
            let mut damaged = token.expose().to_owned().into_bytes();
            damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
            prop_assert!(!is_well_formed(&String::from_utf8(damaged).unwrap()));
            prop_assert!(!is_well_formed(&token.expose()[..73]));
        }

        #[test]
        fn arbitrary_text_never_panics(s in any::<String>()) {
            prop_assert!(!is_well_formed(&s));
            is_well_formed(&format!("sat_{s}"));
        }
    }
}
