//! An agent with everything that is known of it: what `?view=full` shows, and what a client makes a snapshot of again.
//!
//! Guarantees: whoever reads it decides about the agent as one who reads the database does, so that a command says the
//! same either way. It holds no value of a secret, no hash of a token, and of a fingerprint its last four digits only.
//! Words that this program does not know, of a newer one, are left out of the lists in which they stand.

mod schema;

pub use schema::FullAgent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use talon_core::Snapshot;
use utoipa::ToSchema;

use super::spec::{self, Spec};

/// How much of an agent is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// What most programs need.
    #[default]
    Normal,
    /// Everything that is known, as the command line shows it.
    Full,
}

/// A snapshot as the API writes it.
pub fn encode(snapshot: &Snapshot) -> Value {
    let mut value = serde_json::to_value(snapshot).unwrap_or_default();
    let agent = &mut value["agent"];
    agent["spec"] = Spec::from(&snapshot.agent.spec).into_json();
    agent["violations"] = json!(snapshot.agent.violations);
    without(&mut agent["status"], "auth_token_hash");
    without(&mut value["presence"], "token_sha256");
    without(&mut value, "auth_tokens");
    for secret in value["secrets"].as_array_mut().into_iter().flatten() {
        if let Some(fingerprint) = secret["fingerprint"].as_str() {
            secret["fingerprint"] = super::view::tail(fingerprint).into();
        }
    }
    value
}

fn without(value: &mut Value, key: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(key);
    }
}

/// The snapshot that was written; `None` if it is none that this program can read.
pub fn decode(mut value: Value) -> Option<Snapshot> {
    let agent = value.get_mut("agent")?;
    agent["spec"] = serde_json::to_value(spec::from_json(agent["spec"].take())?).ok()?;
    agent["status"]
        .as_object_mut()?
        .insert("auth_token_hash".to_owned(), Value::Null);
    if let Some(presence) = value["presence"].as_object_mut() {
        presence.insert("token_sha256".to_owned(), "".into());
    }
    value["auth_tokens"] = json!([]);
    let mut snapshot = value.clone();
    for list in ["resources", "secrets", "conditions"] {
        snapshot[list] = json!([]);
    }
    let mut snapshot: Snapshot = serde_json::from_value(snapshot).ok()?;
    snapshot.resources = known(value["resources"].take());
    snapshot.secrets = known(value["secrets"].take());
    snapshot.conditions = known(value["conditions"].take());
    Some(snapshot)
}

fn known<T: DeserializeOwned>(list: Value) -> Vec<T> {
    let items = match list {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect()
}

/// A page of agents with everything that is known of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullAgentList {
    /// The agents.
    #[schema(value_type = Vec<FullAgent>)]
    pub items: Vec<Value>,
    /// Where the next page begins; null on the last one.
    pub next_page_token: Option<String>,
    /// Watch from here to miss nothing that came after this page was read.
    pub resource_version: i64,
    /// How many agents fit, at about this time.
    pub total_estimate: i64,
}

#[cfg(test)]
mod tests;
