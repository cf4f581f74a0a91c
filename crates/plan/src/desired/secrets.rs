//! Which secrets the Worker should have, and where each value comes from. Fingerprints only, never values.

use sha2::{Digest, Sha256};
use talon_core::secret::names as secret_names;
use talon_core::snapshot::{SecretSource, SecretState};

use crate::input::{Input, SecretProblem};
use crate::step::{Supply, SupplySource};

/// Secrets that Talon can supply at any time without making anything new: keys by reference, model, keep-alive,
/// control token, revision. With their fingerprints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// To be on the Worker.
    pub known: Vec<Supply>,
    /// Write-through keys: on the Worker, cannot be supplied again.
    pub write_through: Vec<String>,
    /// On the Worker but not wanted any more.
    pub unwanted: Vec<String>,
    /// References that gave no value.
    pub missing: Vec<Missing>,
    /// Whether the model's provider has a key, or needs none.
    pub provider_has_key: bool,
}

/// A reference that gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name on the Worker.
    pub name: String,
    /// Why there is none.
    pub problem: SecretProblem,
    /// Whether the Worker has an older value, which is kept.
    pub kept: bool,
}

/// Whether a provider works without a key (the stand-in model for development).
pub fn needs_no_key(provider: &str) -> bool {
    provider == "dev"
}

/// Works out which secrets the Worker should have.
pub fn secrets(input: &Input<'_>) -> Secrets {
    let agent = &input.snapshot.agent;
    let mut out = Secrets::default();
    let mut wanted: Vec<String> = Vec::new();
    let mut revised: Vec<(String, Option<String>)> = Vec::new();
    for (provider, reference) in &agent.spec.api_key_refs {
        let name = provider.secret_name();
        wanted.push(name.clone());
        let record = input.snapshot.secret(&name);
        let kept = record.is_some_and(|s| s.state != SecretState::Pushing);
        let read = input.observed.references.get(&name);
        let fingerprint = match read {
            Some(Ok(fingerprint)) => Some(fingerprint.clone()),
            // What the Worker keeps is no change: a server of secrets that is down must not cost a call for each agent.
            Some(Err(_)) | None => record.filter(|_| kept).and_then(|r| r.fingerprint.clone()),
        };
        if matches!(read, Some(Ok(_))) || kept {
            revised.push((name.clone(), fingerprint));
        }
        match input.observed.references.get(&name) {
            Some(Ok(fingerprint)) => out.known.push(Supply {
                name,
                source: SupplySource::Reference {
                    provider: provider.to_string(),
                    reference: reference.clone(),
                },
                fingerprint: Some(fingerprint.clone()),
            }),
            Some(Err(problem)) => out.missing.push(Missing {
                name,
                problem: problem.clone(),
                kept,
            }),
            None => {}
        }
    }
    for (name, fingerprint) in &input.observed.derived {
        let source = match name.as_str() {
            secret_names::CONTROL_TOKEN => SupplySource::ControlToken,
            secret_names::MODEL => SupplySource::Text(agent.spec.model.clone()),
            _ => SupplySource::Text(agent.spec.keep_alive.to_string()),
        };
        revised.push((name.clone(), Some(fingerprint.clone())));
        out.known.push(Supply {
            name: name.clone(),
            source,
            fingerprint: Some(fingerprint.clone()),
        });
    }
    for record in &input.snapshot.secrets {
        match record.source {
            SecretSource::WriteThrough if !wanted.contains(&record.name) => {
                out.write_through.push(record.name.clone());
            }
            SecretSource::Reference if !wanted.contains(&record.name) => {
                out.unwanted.push(record.name.clone())
            }
            SecretSource::Reference | SecretSource::WriteThrough | SecretSource::Generated => {}
        }
    }
    let provider = agent.spec.model.split('/').next().unwrap_or_default();
    let key = format!("{}_API_KEY", provider.to_ascii_uppercase());
    out.provider_has_key =
        needs_no_key(provider) || wanted.contains(&key) || out.write_through.contains(&key);
    out.known
        .push(revision(&revised, agent.spec.secrets_version));
    out
}

/// `TALON_SECRETS_REV`: a digest of the other fingerprints and `secrets_version`, so that `/status` can tell which
/// push the Worker runs with.
fn revision(revised: &[(String, Option<String>)], version: i64) -> Supply {
    let mut h = Sha256::new();
    h.update(version.to_string());
    for (name, fingerprint) in revised {
        h.update(name.as_bytes());
        h.update([0]);
        h.update(fingerprint.as_deref().unwrap_or_default());
        h.update([0]);
    }
    let text = hex::encode(&h.finalize()[..6]);
    Supply {
        name: secret_names::SECRETS_REV.to_owned(),
        fingerprint: Some(text.clone()),
        source: SupplySource::Text(text),
    }
}

/// The three secrets that are made, not read: auth token and R2 credentials.
pub fn made_secrets() -> Vec<Supply> {
    [
        (secret_names::AUTH_TOKEN, SupplySource::AuthToken),
        (secret_names::R2_ACCESS_KEY_ID, SupplySource::R2AccessKeyId),
        (
            secret_names::R2_SECRET_ACCESS_KEY,
            SupplySource::R2SecretAccessKey,
        ),
    ]
    .into_iter()
    .map(|(name, source)| Supply {
        name: name.to_owned(),
        source,
        fingerprint: None,
    })
    .collect()
}
