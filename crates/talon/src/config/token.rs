//! Where the controller's own Cloudflare token is read from.

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
    /// Reads a reference. What is not one may be the token itself and is never repeated.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let word =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match text.split_once(':') {
            Some(("env", name)) if word(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(Failure::usage(
                "cloudflare.apiToken must be a reference, not the token itself",
                "write env:NAME or file:PATH there, or set TALON_CLOUDFLARE_API_TOKEN; a token that stood in a file should be rotated",
            )),
        }
    }

    /// Reads the token.
    pub fn read(&self) -> Result<SecretValue, Failure> {
        let missing = |what: String| {
            Failure::new(
                Exit::NotAllowed,
                what,
                "set it, or point cloudflare.apiToken elsewhere; talon doctor checks it",
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
            TokenSource::parse("env:CF_TOKEN"),
            Ok(TokenSource::Env("CF_TOKEN".into()))
        );
        assert_eq!(
            TokenSource::parse("file:/run/secrets/cf"),
            Ok(TokenSource::File("/run/secrets/cf".into()))
        );
        for bad in ["", "abcdef", "env:", "file:", "vault:a#b", "env:a b"] {
            assert!(TokenSource::parse(bad).is_err(), "{bad}");
        }
    }
}
