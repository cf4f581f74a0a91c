//! What a Worker says of itself. It may be anybody's by now: nothing is kept that is longer than, or looks other than,
//! what a Worker of ours would say.

use std::collections::BTreeMap;

use serde::Deserialize;
use talon_core::TryId;
use talon_core::deliver::WorkerReport;

/// Longest answer that is read.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// Most secrets a Worker can hold.
const MOST_SECRETS: usize = 128;
/// Length of a SHA-256 in hex.
const DIGEST: usize = 64;

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "try")]
    try_id: Option<String>,
    secrets_rev: Option<String>,
    #[serde(default)]
    runtime: Runtime,
    fingerprints: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Runtime {
    bundle: Option<String>,
}

/// Reads a report; else says what is wrong with it, without repeating any of it.
pub(super) fn read(body: &[u8]) -> Result<WorkerReport, String> {
    let said: Said = serde_json::from_slice(body).map_err(|_| "it is no report".to_owned())?;
    let sound = said.fingerprints.len() <= MOST_SECRETS
        && said
            .fingerprints
            .iter()
            .all(|(name, fingerprint)| is_name(name) && is_hex(fingerprint, DIGEST));
    if !sound {
        return Err("its fingerprints are none".to_owned());
    }
    Ok(WorkerReport {
        try_id: said.try_id.as_deref().and_then(TryId::parse),
        runtime: said.runtime.bundle.filter(|b| is_hex(b, DIGEST)),
        secrets_rev: said.secrets_rev.filter(|r| is_hex(r, r.len().min(DIGEST))),
        fingerprints: said.fingerprints,
    })
}

fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_hex(text: &str, length: usize) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == length && text.bytes().all(digit)
}
