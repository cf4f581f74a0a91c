//! Who may connect. A managed agent shows the token that was made for it; somebody who runs an agent themselves trades an
//! API key for a short token (a JWT, HS256) and shows that. Tokens and keys are compared by hash, in constant time.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use talon_core::presence::HubAgent;
use talon_core::snapshot::AuthTokenState;

/// How API keys begin.
pub const API_KEY_PREFIX: &str = "sai_";
const ISSUER: &str = "talon-hub";
/// The only header that is ever made, and so the only one that is taken: nobody chooses the algorithm but us.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// No token of ours is longer.
const MAX_TOKEN: usize = 2_048;

/// What a connection shows to be let in. Never shown itself.
pub struct Presented(String);

impl Presented {
    /// Takes it from a frame or a query; `None` if it is empty or longer than any token.
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty() && text.len() <= MAX_TOKEN).then_some(Self(text))
    }

    /// Lower-case hex SHA-256.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.0)
    }

    /// Whether it is an API key, which must be traded first.
    pub fn is_api_key(&self) -> bool {
        self.0.starts_with(API_KEY_PREFIX)
    }

    /// Whether it has the shape of a JWT.
    pub fn is_jwt(&self) -> bool {
        self.0.starts_with("eyJ") && self.0.bytes().filter(|b| *b == b'.').count() == 2
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(…)")
    }
}

/// Lower-case hex SHA-256 of a text.
pub fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether a hash is that of a token the agent may use: a candidate or the current one. Every one is compared, whichever
/// fits.
pub fn accepts(agent: &HubAgent, sha256: &str) -> bool {
    let mut fits = Choice::from(0);
    for (accepted, state) in &agent.tokens {
        let usable = match state {
            AuthTokenState::Candidate | AuthTokenState::Current => Choice::from(1),
            AuthTokenState::Retired => Choice::from(0),
        };
        fits |= accepted.as_bytes().ct_eq(sha256.as_bytes()) & usable;
    }
    fits.into()
}

/// Signs the tokens that are traded for API keys. Derived from the install key.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Why a signed token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Not signed by us, or not what we sign.
    #[error("not a token of this Hub")]
    Forged,
    /// It was good until some time ago.
    #[error("the token has expired")]
    Expired,
}

/// Who holds a signed token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose agents it lets in.
    pub owner: String,
    /// Id of the API key it was traded for.
    pub key: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    key: String,
    iat: i64,
    exp: i64,
}

impl SigningKey {
    /// Takes the key: 32 bytes derived from the install key for this purpose alone.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Makes a token for an owner.
    pub fn sign(&self, holder: &Holder, now: DateTime<Utc>, lifetime: Duration) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: holder.owner.clone(),
            key: holder.key.clone(),
            iat: now.timestamp(),
            exp: now.timestamp().saturating_add_unsigned(lifetime.as_secs()),
        };
        let claims = serde_json::json!(claims).to_string();
        let mut token = BASE64URL_NOPAD.encode(HEADER.as_bytes());
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = self.mac(&token).finalize().into_bytes();
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature));
        token
    }

    /// Who holds the token. The signature is checked before anything in it is read.
    pub fn verify(&self, token: &Presented, now: DateTime<Utc>) -> Result<Holder, BadToken> {
        let (signed, signature) = token.0.rsplit_once('.').ok_or(BadToken::Forged)?;
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .map_err(|_| BadToken::Forged)?;
        self.mac(signed)
            .verify_slice(&signature)
            .map_err(|_| BadToken::Forged)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Forged)?;
        if header != BASE64URL_NOPAD.encode(HEADER.as_bytes()) {
            return Err(BadToken::Forged);
        }
        let claims = BASE64URL_NOPAD
            .decode(claims.as_bytes())
            .map_err(|_| BadToken::Forged)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| BadToken::Forged)?;
        if claims.iss != ISSUER {
            return Err(BadToken::Forged);
        }
        if claims.exp <= now.timestamp() {
            return Err(BadToken::Expired);
        }
        Ok(Holder {
            owner: claims.sub,
            key: claims.key,
        })
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(signed.as_bytes());
        mac
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
