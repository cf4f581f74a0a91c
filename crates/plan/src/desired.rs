//! What an agent should consist of, worked out from its row: names, code hash, variables, secrets, card.

mod secrets;

use sha2::{Digest, Sha256};
use talon_core::card::AgentCard;
use talon_core::cloud::{BindingInfo, BucketRef, NewBucket, NewToken, WorkerSettings};
use talon_core::name;
use talon_core::{card, identity};

use crate::input::Input;

pub use talon_core::bundle::OBJECT_BINDING;

pub use secrets::{Missing, Secrets, made_secrets, needs_no_key, secrets};

/// Binding of the bucket in `env`.
pub const BUCKET_BINDING: &str = "AGENT_BUCKET";
/// Variable that names the runtime, so that `/status` can tell it.
pub const RUNTIME_VARIABLE: &str = "TALON_RUNTIME";
/// What stands in place of a code hash on a Worker that only holds keys.
pub const STUB_CODE: &str = "stub";
/// Variable that names the upload's try.
pub const TRY_VARIABLE: &str = "TALON_TRY";

/// The deterministic names of an agent's things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Worker script.
    pub worker: String,
    /// R2 bucket.
    pub bucket: String,
    /// R2 token.
    pub token: String,
}

impl Names {
    /// Always derived, never read back from the row: whoever can write the file behind SQLite could otherwise name
    /// another's Worker or bucket there and have it emptied. The columns are for people. Should the rules of naming ever
    /// change, the names that the old rules give must go on being tried here.
    pub fn of(input: &Input<'_>) -> Self {
        let agent = &input.snapshot.agent;
        let install = &input.world.install;
        let worker = name::worker_name(install, agent.id, &agent.name);
        Self {
            token: name::token_name(install, agent.id),
            bucket: name::bucket_name(install, &worker),
            worker,
        }
    }

    /// The bucket with its jurisdiction.
    pub fn bucket_ref(&self, input: &Input<'_>) -> BucketRef {
        BucketRef {
            name: self.bucket.clone(),
            jurisdiction: input.snapshot.agent.spec.r2.jurisdiction,
        }
    }

    /// The bucket as it is to be made.
    pub fn new_bucket(&self, input: &Input<'_>) -> NewBucket {
        let r2 = input.snapshot.agent.spec.r2;
        NewBucket {
            name: self.bucket.clone(),
            jurisdiction: r2.jurisdiction,
            location_hint: r2.location_hint,
            storage_class: r2.storage_class,
        }
    }

    /// The token as it is to be made.
    pub fn new_token(&self, input: &Input<'_>) -> NewToken {
        NewToken {
            name: self.token.clone(),
            bucket: self.bucket.clone(),
            jurisdiction: input.snapshot.agent.spec.r2.jurisdiction,
        }
    }
}

/// What an upload bakes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The text module.
    pub identity_md: String,
    /// Its SHA-256, hex.
    pub identity_sha256: String,
    /// Plain variables, without the try.
    pub plain: Vec<(String, String)>,
    /// 16 hex digits over bundle, identity, variables, bindings and compatibility.
    pub hash: String,
}

/// What the upload should bake in. IDENTITY.md is compiled until the latch, and taken from the row after it.
pub fn code(input: &Input<'_>, names: &Names) -> Code {
    let agent = &input.snapshot.agent;
    let (identity_md, identity_sha256) =
        match (&agent.status.identity_md, agent.status.first_deployed_at) {
            (Some(frozen), Some(_)) => (
                frozen.clone(),
                agent
                    .status
                    .identity_sha256
                    .clone()
                    .unwrap_or_else(|| sha256(frozen)),
            ),
            (None, _) | (_, None) => {
                let compiled = identity::compile(&agent.name, &agent.spec);
                (compiled.markdown, compiled.sha256)
            }
        };
    let bundle = &input.world.bundle;
    let plain = vec![
        ("AGENT_NAME".to_owned(), agent.name.to_string()),
        ("SOCIETY_AI_HUB_URL".to_owned(), input.world.hub_url.clone()),
        (
            "R2_ENDPOINT".to_owned(),
            input.world.r2_endpoint(agent.spec.r2.jurisdiction),
        ),
        ("R2_BUCKET".to_owned(), names.bucket.clone()),
        (RUNTIME_VARIABLE.to_owned(), bundle.sha256.clone()),
    ];
    let mut h = Sha256::new();
    let mut part = |s: &str| {
        h.update((s.len() as u64).to_be_bytes());
        h.update(s);
    };
    for s in [
        &bundle.sha256,
        &identity_sha256,
        &bundle.compatibility_date,
        &bundle.durable_object_class,
    ] {
        part(s);
    }
    for s in &bundle.compatibility_flags {
        part(s);
    }
    part(agent.spec.r2.jurisdiction.as_str());
    for (k, v) in &plain {
        part(k);
        part(v);
    }
    let hash = hex::encode(&h.finalize()[..8]);
    Code {
        identity_md,
        identity_sha256,
        plain,
        hash,
    }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The card as it should be registered. Without a hash (no auth token yet) its credentials are empty and the executor
/// fills them in.
pub fn agent_card(input: &Input<'_>, auth_token_hash: Option<&str>) -> AgentCard {
    let agent = &input.snapshot.agent;
    card::build(
        &agent.name,
        &agent.owner,
        &agent.spec,
        agent.generation,
        auth_token_hash.unwrap_or_default(),
    )
}

/// Whether a Worker's settings are what our last upload asked for. Names of secrets count, their values cannot.
pub fn settings_match(
    input: &Input<'_>,
    names: &Names,
    code: &Code,
    settings: &WorkerSettings,
) -> bool {
    let bundle = &input.world.bundle;
    let mut want: Vec<BindingInfo> = code
        .plain
        .iter()
        .map(|(k, v)| BindingInfo {
            name: k.clone(),
            kind: "plain_text".to_owned(),
            value: Some(v.clone()),
        })
        .collect();
    want.push(binding(
        BUCKET_BINDING,
        "r2_bucket",
        Some(names.bucket.clone()),
    ));
    want.push(binding(
        OBJECT_BINDING,
        "durable_object_namespace",
        Some(bundle.durable_object_class.clone()),
    ));
    want.extend(
        input
            .snapshot
            .secrets
            .iter()
            .map(|s| binding(&s.name, "secret_text", None)),
    );
    want.sort();
    let mut have: Vec<BindingInfo> = settings
        .bindings
        .iter()
        .filter(|b| b.name != TRY_VARIABLE)
        .cloned()
        .collect();
    have.sort();
    let date = settings
        .compatibility_date
        .as_deref()
        .is_none_or(|d| d == bundle.compatibility_date);
    want == have && date && settings.compatibility_flags == bundle.compatibility_flags
}

fn binding(name: &str, kind: &str, value: Option<String>) -> BindingInfo {
    BindingInfo {
        name: name.to_owned(),
        kind: kind.to_owned(),
        value,
    }
}
