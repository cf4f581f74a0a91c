//! What a client must be told.

use std::time::Duration;

use talon_core::secret::SecretValue;
use url::Url;

/// Cloudflare's public API.
pub const API_BASE: &str = "https://api.cloudflare.com/client/v4";

/// How to reach one Cloudflare account.
#[derive(Debug)]
pub struct ClientConfig {
    /// Base of the API, with `/client/v4`.
    pub api_base: Url,
    /// One fixed base for S3, path-style, in place of `https://{account}[.jurisdiction].r2.cloudflarestorage.com`.
    /// With it, nothing but the bucket's name tells jurisdictions apart.
    pub s3_endpoint: Option<Url>,
    /// The account's id.
    pub account_id: String,
    /// The controller's API token. S3 credentials are derived from it as well.
    pub token: SecretValue,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// Sent with every request.
    pub user_agent: String,
}

impl ClientConfig {
    /// The real Cloudflare, with default timeouts.
    ///
    /// # Errors
    /// Only if the built-in address were not a URL.
    pub fn new(account_id: impl Into<String>, token: SecretValue) -> Result<Self, ConfigError> {
        Ok(Self {
            api_base: Url::parse(API_BASE).map_err(|_| ConfigError::ApiBase)?,
            s3_endpoint: None,
            account_id: account_id.into(),
            token,
            timeouts: Timeouts::default(),
            user_agent: concat!("talon/", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }
}

/// Upper bounds; a write is cut shorter when the caller has less time left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Making a connection.
    pub connect: Duration,
    /// Any call but an upload, from the connection to the last byte of the answer.
    pub request: Duration,
    /// The upload of a Worker.
    pub upload: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(20),
            upload: Duration::from_secs(30),
        }
    }
}

/// Why a client could not be made. Never repeats the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an `http` or `https` address with a host.
    #[error("the API base is not an http(s) address")]
    ApiBase,
    /// Not an `http` or `https` address with a host.
    #[error("the S3 endpoint is not an http(s) address")]
    S3Endpoint,
    /// Empty, or with characters that an account id cannot have.
    #[error("the account id must be 1-64 characters of [A-Za-z0-9_-]")]
    AccountId,
    /// Empty, or with characters that cannot stand in a header.
    #[error("the API token is empty or contains characters that no token has")]
    Token,
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Http(String),
}

impl ConfigError {
    /// Whether the address can carry requests.
    pub(crate) fn check_url(url: &Url, error: Self) -> Result<(), Self> {
        let usable = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|h| !h.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none();
        if usable { Ok(()) } else { Err(error) }
    }

    /// Whether the text can stand in a path.
    pub(crate) fn check_account(id: &str) -> Result<(), Self> {
        let ok = (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if ok { Ok(()) } else { Err(Self::AccountId) }
    }
}
