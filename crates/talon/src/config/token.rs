//! Where the daemon's own credentials are read from: its Cloudflare token, its key at a Router elsewhere.

use std::path::PathBuf;

use talon_core::secret::SecretValue;

use crate::exit::{Exit, Failure};

/// A reference to the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `env:NAME`.
    Env(String),
    /// `file:PATH`.
    File(PathBuf),
}

impl TokenSource {
    /// Reads the reference of a key of the configuration. What is not one may be the token itself and is never repeated.
    pub fn parse(key: &str, text: &str) -> Result<Self, Failure> {
        let word =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match text.split_once(':') {
            Some(("env", name)) if word(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(Failure::usage(
                format!("{key} must be a reference, not the token itself"),
                "write env:NAME or file:PATH there, or set its variable (talon config show names it); a token that stood in a file should be rotated",
            )),
        }
    }

    /// Reads the token that this key of the configuration refers to.
    pub fn read(&self, key: &str) -> Result<SecretValue, Failure> {
        let missing = |what: String| {
            Failure::new(
                Exit::NotAllowed,
                what,
                format!("set it, or point {key} elsewhere; talon doctor checks what it can"),
            )
        };
        let text = match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| missing(format!("the environment variable {name} is not set")))?,
            Self::File(path) => std::fs::read_to_string(path).map_err(|error| {
                missing(format!(
                    "the token file {} cannot be read: {error}",
                    path.display()
                ))
            })?,
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(missing(match self {
                Self::Env(name) => format!("the environment variable {name} is empty"),
                Self::File(path) => format!("the token file {} is empty", path.display()),
            }));
        }
        Ok(SecretValue::new(trimmed.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_nothing_else_is() {
        assert_eq!(
            TokenSource::parse("key", "env:CF_TOKEN"),
            Ok(TokenSource::Env("CF_TOKEN".into()))
        );
        assert_eq!(
            TokenSource::parse("key", "file:/run/secrets/cf"),
            Ok(TokenSource::File("/run/secrets/cf".into()))
        );
        for bad in ["", "abcdef", "env:", "file:", "vault:a#b", "env:a b"] {
            assert!(TokenSource::parse("key", bad).is_err(), "{bad}");
        }
    }
}
