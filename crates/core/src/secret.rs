//! Secrets: values that live in memory only, references that may be stored, and the names a Worker knows them by.
#![allow(clippy::disallowed_methods)] // One of the modules that may open a value.

use std::fmt;

use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest value that is taken.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// A secret value. Wiped when dropped; has no `Display`, no `Serialize`, no `Clone`; `Debug` shows nothing.
///
/// Lives from where it was read to the request that hands it to Cloudflare, and nowhere else.
pub struct SecretValue(SecretString);

impl SecretValue {
    /// Takes a value into keeping.
    pub fn new(value: String) -> Self {
        Self(SecretString::from(value))
    }

    /// The bare value. Only the Cloudflare client, the secret readers and this module may call it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A second holder of the same value, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self::new(self.expose().to_owned())
    }

    /// Lower-case hex SHA-256 of the value: what the Hub compares, and how R2 derives an S3 secret from a token.
    pub fn sha256_hex(&self) -> String {
        hex::encode(Sha256::digest(self.expose().as_bytes()))
    }

    /// Why this cannot be a key, if it cannot: empty, too long, not one line of text, or a reference. Never says it.
    pub fn unusable(&self) -> Option<&'static str> {
        let value = self.expose();
        if value.trim().is_empty() {
            Some("is empty")
        } else if value.len() > MAX_VALUE_BYTES {
            Some("is longer than 64 KiB")
        } else if value.chars().any(char::is_control) {
            Some("has control characters or several lines")
        } else if ["env:", "file:", "vault:"]
            .iter()
            .any(|p| value.starts_with(p))
        {
            Some("is a reference, not the key itself")
        } else {
            None
        }
    }

    /// `HMAC-SHA256(key, name ‖ 0 ‖ value)` in hex: tells two values apart without telling either.
    pub fn fingerprint(&self, key: &SecretValue, name: &str) -> String {
        keyed_hex(
            key.expose().as_bytes(),
            &[name.as_bytes(), &[0], self.expose().as_bytes()],
        )
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// HMAC-SHA256 over the joined parts, in lower-case hex.
pub fn keyed_hex(key: &[u8], parts: &[&[u8]]) -> String {
    hex::encode(keyed_bytes(key, parts))
}

/// HMAC-SHA256 over the joined parts.
pub fn keyed_bytes(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // Cannot happen: a key longer than a block is hashed first, a shorter one padded; no length is refused.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A model provider, as it stands before the `/` of a model name: `^[a-z][a-z0-9_]{0,31}$`.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Provider(pub String);

impl Provider {
    /// The Worker secret that holds this provider's key: `ANTHROPIC_API_KEY`.
    pub fn secret_name(&self) -> String {
        format!("{}_API_KEY", self.0.to_ascii_uppercase())
    }

    /// Whether this is `^[a-z][a-z0-9_]{0,31}$` and does not look like a pasted key.
    pub fn is_well_formed(&self) -> bool {
        let mut bytes = self.0.bytes();
        self.0.len() <= 32
            && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !looks_like_key(&self.0)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of a reference as it was written; see [`RefTarget`] for what it points at. Not a secret by itself, but
/// text that fails to parse may be one pasted by mistake, so `Debug` shows only well-formed references.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(description = "env:NAME, file:NAME or vault:PATH#FIELD; never the key itself.")]
pub struct SecretRef(pub String);

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Some(_) => f.write_str(&self.0),
            None => f.write_str("SecretRef(not a reference)"),
        }
    }
}

/// What a well-formed reference points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefTarget<'a> {
    /// `env:NAME`: an environment variable of the daemon.
    Env(&'a str),
    /// `file:NAME`: a file inside the owner's directory.
    File(&'a str),
    /// `vault:path#field`.
    Vault {
        /// Path of the entry.
        path: &'a str,
        /// Field within the entry.
        field: &'a str,
    },
    /// The word `discarded`: something here was not a reference and the database threw it away.
    Discarded,
}

impl SecretRef {
    /// Parses the reference; `None` if it is not one (it may then be a pasted key: never repeat it).
    pub fn parse(&self) -> Option<RefTarget<'_>> {
        let charset = |s: &str, max: usize, extra: &[u8]| {
            (1..=max).contains(&s.len())
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
        };
        if self.0 == "discarded" {
            return Some(RefTarget::Discarded);
        }
        if let Some(name) = self.0.strip_prefix("env:") {
            let ok = (1..=128).contains(&name.len())
                && name.as_bytes()[0].is_ascii_uppercase()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            return ok.then_some(RefTarget::Env(name));
        }
        if let Some(name) = self.0.strip_prefix("file:") {
            let ok =
                charset(name, 128, b"._-") && !looks_like_key(name) && name != "." && name != "..";
            return ok.then_some(RefTarget::File(name));
        }
        let (path, field) = self.0.strip_prefix("vault:")?.split_once('#')?;
        let ok = charset(path, 255, b"/_.-") && charset(field, 64, b"_.-") && !looks_like_key(path);
        ok.then_some(RefTarget::Vault { path, field })
    }
}

/// Whether a text starts like an API key of a known provider.
pub fn looks_like_key(s: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "sk-",
        "sk_",
        "sai_",
        "xai-",
        "gsk_",
        "AIza",
        "ghp_",
        "github_pat_",
        "hf_",
        "AKIA",
        "xoxb-",
        "pplx-",
    ];
    PREFIXES.iter().any(|p| s.starts_with(p))
}

/// Names of the Worker secrets that Talon itself makes or derives.
pub mod names {
    /// Authenticates the Worker at the Hub.
    pub const AUTH_TOKEN: &str = "SOCIETY_AI_AUTH_TOKEN";
    /// Authenticates the controller at the Worker.
    pub const CONTROL_TOKEN: &str = "CONTROL_TOKEN";
    /// `provider/model`; a secret so that changing it needs no upload.
    pub const MODEL: &str = "OPENCLAW_MODEL";
    /// `true` or `false`.
    pub const KEEP_ALIVE: &str = "KEEP_ALIVE";
    /// Id of the R2 token.
    pub const R2_ACCESS_KEY_ID: &str = "R2_ACCESS_KEY_ID";
    /// SHA-256 of the R2 token's value.
    pub const R2_SECRET_ACCESS_KEY: &str = "R2_SECRET_ACCESS_KEY";
    /// Tells which push the Worker runs with.
    pub const SECRETS_REV: &str = "TALON_SECRETS_REV";
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
