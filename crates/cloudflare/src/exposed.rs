//! The one place of this crate that opens a [`SecretValue`]: the `Authorization` header, and the bodies that carry
//! secrets to Cloudflare.
#![allow(
    clippy::disallowed_methods,
    reason = "one of the few modules that may open a secret: it hands it to Cloudflare"
)]

use reqwest::header::HeaderValue;
use serde::{Serialize, Serializer};
use talon_core::secret::SecretValue;

/// `Bearer {token}`, marked sensitive, so that no `Debug` shows it. `None` if the token cannot stand in a header.
pub(crate) fn bearer(token: &SecretValue) -> Option<HeaderValue> {
    let text = token.expose();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Serialises the bare value: only for bodies of requests to Cloudflare.
pub(crate) struct Exposed<'a>(pub(crate) &'a SecretValue);

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// Bytes to sign with.
pub(crate) fn signing_bytes(secret: &SecretValue) -> Vec<u8> {
    [b"AWS4", secret.expose().as_bytes()].concat()
}
