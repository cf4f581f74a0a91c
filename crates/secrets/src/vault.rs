//! OpenBao and Vault: entries of a KV v2 engine over HTTP.
//!
//! Guarantees: no redirect is followed, since it would carry the token elsewhere; an answer is bounded in time and size;
//! nothing of an answer stands in an error, and the token nowhere but in its header.
#![allow(clippy::disallowed_methods)] // One of the secret readers: the token goes into its header here.

mod answer;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, redirect, retry};
use talon_core::secret::SecretValue;
use url::Url;

use crate::reader::SecretReadError;
pub use answer::Entry;

/// Longest answer that is read: an entry holds some keys, not files.
const MOST_BYTES: usize = 512 * 1024;

/// Reads the daemon's own Vault token, each time anew: an agent beside the daemon may have renewed it.
pub type TokenReader = Box<dyn Fn() -> Result<SecretValue, String> + Send + Sync>;

/// How to reach the engine.
pub struct VaultConfig {
    /// `https://vault.example:8200`; plain http only on this machine.
    pub address: Url,
    /// Reads the token.
    pub token: TokenReader,
    /// Namespace, where the server has them.
    pub namespace: Option<String>,
    /// The engine's mount; `None`: the first part of each reference's path.
    pub mount: Option<String>,
    /// Certificates to trust beside the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// How long one answer may take.
    pub timeout: Duration,
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("address", &self.address.as_str())
            .field("namespace", &self.namespace)
            .field("mount", &self.mount)
            .field("ca_file", &self.ca_file)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why the configuration makes no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultConfigError {
    /// Keys would cross the network in the open.
    #[error("vault.address must be an https address, or http on this machine")]
    Address,
    /// A name that cannot stand in a header or a path.
    #[error("vault.{0} is not a name that a path can hold")]
    Name(&'static str),
    /// The certificates.
    #[error("vault.caFile: {0}")]
    Ca(String),
    /// The HTTP client.
    #[error("the HTTP client for Vault: {0}")]
    Http(String),
}

/// Why an entry was not read, and whether another one could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRead {
    /// Of this entry.
    pub error: SecretReadError,
    /// Of every other entry, which it does not name: the server cannot be asked at all.
    pub everywhere: Option<SecretReadError>,
}

impl NotRead {
    fn server(what: &str, why: &str) -> Self {
        Self {
            error: unavailable(what, why),
            everywhere: Some(unavailable("vault", why)),
        }
    }
}

impl From<SecretReadError> for NotRead {
    fn from(error: SecretReadError) -> Self {
        Self {
            error,
            everywhere: None,
        }
    }
}

impl From<NotRead> for SecretReadError {
    fn from(not: NotRead) -> Self {
        not.error
    }
}

/// A client of one KV v2 engine, or of all of a server.
pub struct Vault {
    http: reqwest::Client,
    config: VaultConfig,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.config).finish()
    }
}

impl Vault {
    /// Checks the configuration and makes the client. Makes no call.
    pub fn new(config: VaultConfig) -> Result<Self, VaultConfigError> {
        let address = &config.address;
        let safe = address.scheme() == "https" || (address.scheme() == "http" && is_local(address));
        if !safe || address.cannot_be_a_base() || address.query().is_some() {
            return Err(VaultConfigError::Address);
        }
        for (name, value) in [("namespace", &config.namespace), ("mount", &config.mount)] {
            let plain = |part: &str| {
                !matches!(part, "" | "." | "..")
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            };
            if value
                .as_deref()
                .is_some_and(|v| !v.trim_matches('/').split('/').all(plain))
            {
                return Err(VaultConfigError::Name(name));
            }
        }
        // A second installation is refused, which is as good: the first one stays.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("talon/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.timeout)
            .timeout(config.timeout);
        if let Some(file) = &config.ca_file {
            let unusable =
                |e: &dyn fmt::Display| VaultConfigError::Ca(format!("{}: {e}", file.display()));
            let pem = std::fs::read(file).map_err(|e| unusable(&e))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(&e))?;
            if certificates.is_empty() {
                return Err(unusable(&"there is no certificate in it"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder
            .build()
            .map_err(|e| VaultConfigError::Http(e.without_url().to_string()))?;
        Ok(Self { http, config })
    }

    /// The entry at a path, with all its fields. `what` names the reference in errors.
    pub async fn entry(&self, path: &str, what: &str) -> Result<Entry, NotRead> {
        let url = self.url(path, what)?;
        let headers = self.headers().map_err(|why| NotRead::server(what, &why))?;
        let request = self.http.get(url).headers(headers);
        let mut response = request.send().await.map_err(|e| {
            if e.is_timeout() {
                NotRead::server(what, "no answer in time")
            } else if e.is_connect() {
                NotRead::server(what, "no connection")
            } else {
                unavailable(what, "the connection broke").into()
            }
        })?;
        let status = response.status().as_u16();
        if status == 503 {
            return Err(NotRead::server(what, "Vault is sealed or in maintenance"));
        }
        if status != 200 {
            return Err(refused(status, what).into());
        }
        let lost = |_| unavailable(what, "the connection broke");
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            if body.len() + piece.len() > MOST_BYTES {
                let text =
                    format!("{what}: the entry is too long: keep keys in entries of their own");
                return Err(SecretReadError::Unsupported(text).into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(answer::entry(body, what)?)
    }

    fn url(&self, path: &str, what: &str) -> Result<Url, SecretReadError> {
        let outside = || {
            SecretReadError::OutOfScope(format!(
                "{what} has an empty part or one made of dots: write the path as it is"
            ))
        };
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|p| matches!(*p, "" | "." | "..")) {
            return Err(outside());
        }
        let (mount, rest): (Vec<&str>, &[&str]) = match &self.config.mount {
            Some(mount) => (mount.trim_matches('/').split('/').collect(), &parts),
            None => (parts[..1].to_vec(), &parts[1..]),
        };
        if rest.is_empty() {
            return Err(SecretReadError::Unsupported(format!(
                "{what} names an engine and no entry in it: write vault:MOUNT/PATH#FIELD"
            )));
        }
        let mut url = self.config.address.clone();
        url.path_segments_mut()
            .map_err(|()| outside())?
            .pop_if_empty()
            .push("v1")
            .extend(mount)
            .push("data")
            .extend(rest);
        Ok(url)
    }

    /// What goes with every request, or why there can be none.
    fn headers(&self) -> Result<HeaderMap, String> {
        let token =
            (self.config.token)().map_err(|why| format!("the daemon's Vault token: {why}"))?;
        let mut token = HeaderValue::from_str(token.expose())
            .map_err(|_| "the daemon's Vault token cannot stand in a header")?;
        token.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-token", token);
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.config.namespace {
            let namespace = HeaderValue::from_str(namespace.trim_matches('/'))
                .map_err(|_| "vault.namespace cannot stand in a header")?;
            headers.insert("x-vault-namespace", namespace);
        }
        Ok(headers)
    }
}

fn is_local(address: &Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What a status other than 200 (and 503: sealed, in maintenance) means. Standing by, overloaded or broken may pass; the
/// rest needs a person.
fn refused(status: u16, what: &str) -> SecretReadError {
    match status {
        404 => SecretReadError::Missing(format!(
            "{what}: there is no such entry, or its last version was deleted: write the key there"
        )),
        403 => SecretReadError::Missing(format!(
            "{what}: Vault does not let the daemon's token read it: give the token a policy for this path, or renew it"
        )),
        400 | 405 => SecretReadError::Unsupported(format!(
            "{what}: Vault refuses the path (HTTP {status}): it must lead into a KV engine of version 2"
        )),
        300..400 => unavailable(what, "Vault answers with a redirect, which is not followed"),
        _ => unavailable(what, &format!("Vault answers with HTTP {status}")),
    }
}

fn unavailable(what: &str, why: &str) -> SecretReadError {
    SecretReadError::Unavailable(format!("{what}: {why}: it is tried again by itself"))
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
