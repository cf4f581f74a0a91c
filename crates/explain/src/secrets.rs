//! The secrets of an agent's Worker, as people may see them: never a value.

use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::snapshot::{SecretRecord, SecretSource};

use crate::{safe, view};

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretLine {
    /// Its name on the Worker.
    pub name: String,
    /// The provider whose key it is, if it is one.
    pub provider: Option<String>,
    /// Whether it was ever pushed.
    pub set: bool,
    /// The end of its fingerprint, where there is one to compare with.
    pub fingerprint: String,
    /// Where its value comes from.
    pub source: String,
    /// What is known of it.
    pub state: String,
    /// When it was pushed.
    pub pushed_at: Option<DateTime<Utc>>,
}

/// Every secret that was pushed, then those that the row references and that were not.
pub fn lines(s: &Snapshot) -> Vec<SecretLine> {
    let pushed = s.secrets.iter().map(|r| SecretLine {
        name: safe(&r.name),
        provider: r.provider.as_deref().map(safe),
        set: true,
        fingerprint: match (&r.fingerprint, r.provider.is_some()) {
            (Some(print), true) => view::fingerprint(print),
            _ => "(hash only)".to_owned(),
        },
        source: source(r),
        state: r.state.to_string(),
        pushed_at: r.pushed_at,
    });
    let referenced = s
        .agent
        .spec
        .api_key_refs
        .iter()
        .map(|(provider, reference)| (provider, provider.secret_name(), reference))
        .filter(|(_, name, _)| s.secret(name).is_none())
        .map(|(provider, name, reference)| SecretLine {
            name: safe(&name),
            provider: Some(safe(&provider.0)),
            set: false,
            fingerprint: String::new(),
            // What does not parse may be a pasted key: never repeated.
            source: match reference.parse() {
                Some(_) => safe(&reference.0),
                None => "(not a reference)".to_owned(),
            },
            state: "not pushed".to_owned(),
            pushed_at: None,
        });
    pushed.chain(referenced).collect()
}

fn source(record: &SecretRecord) -> String {
    match (record.source, &record.reference) {
        (SecretSource::Reference, Some(reference)) => safe(reference),
        (SecretSource::Reference, None) => "reference".to_owned(),
        (SecretSource::WriteThrough, _) => "over HTTP, not kept".to_owned(),
        (SecretSource::Generated, _) => "generated".to_owned(),
    }
}
