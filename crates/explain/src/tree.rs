//! What an agent consists of, as a tree.

use serde_json::{Value, json};
use talon_core::Snapshot;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::SecretState;

use crate::{safe, view};

/// A part of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Whether it is as it should be; `None`: not made yet, or not known.
    pub good: Option<bool>,
    /// What it is.
    pub label: String,
    /// Its name at Cloudflare or a hash of it, escaped; empty if it has none.
    pub name: String,
    /// How it stands, in words.
    pub word: String,
    /// What it consists of.
    pub children: Vec<Node>,
}

impl Node {
    fn new(good: Option<bool>, label: &str, name: String, word: String) -> Self {
        Self {
            good,
            label: label.to_owned(),
            name,
            word,
            children: Vec::new(),
        }
    }

    /// In one line.
    pub fn text(&self) -> String {
        [&self.label, &self.name, &self.word]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("  ")
    }
}

/// The parts of an agent.
pub fn nodes(s: &Snapshot) -> Vec<Node> {
    let mut worker = resource(s, ResourceKind::Worker);
    worker.children.push(resource(s, ResourceKind::WorkerRoute));
    worker.children.push(match &s.agent.status.identity_sha256 {
        Some(sha) => Node::new(
            Some(true),
            "IDENTITY.md",
            format!("sha256 {}", view::short_hash(sha)),
            String::new(),
        ),
        None => Node::new(
            None,
            "IDENTITY.md",
            String::new(),
            "not compiled yet".to_owned(),
        ),
    });
    worker.children.extend(s.secrets.iter().map(|r| {
        Node::new(
            Some(r.state != SecretState::Pushing),
            &format!("secret {}", safe(&r.name)),
            String::new(),
            r.state.to_string(),
        )
    }));
    let mut bucket = resource(s, ResourceKind::R2Bucket);
    if s.resource(ResourceKind::R2Objects).is_some() {
        bucket.children.push(resource(s, ResourceKind::R2Objects));
    }
    vec![
        worker,
        bucket,
        resource(s, ResourceKind::R2Token),
        resource(s, ResourceKind::AgentCard),
    ]
}

fn resource(s: &Snapshot, kind: ResourceKind) -> Node {
    let label = view::kind_label(kind);
    let Some(record) = s.resource(kind) else {
        return Node::new(None, label, String::new(), "not made yet".to_owned());
    };
    Node::new(good(record), label, safe(&record.name), word(record))
}

fn good(record: &ResourceRecord) -> Option<bool> {
    if let Some(result) = record.cleanup_result {
        return Some(result != CleanupResult::Failed);
    }
    if record.last_error.is_some() {
        return Some(false);
    }
    match record.state {
        ResourceState::Present => Some(true),
        ResourceState::Absent | ResourceState::Unknown | ResourceState::ValueUnplaced => None,
    }
}

fn word(record: &ResourceRecord) -> String {
    if let Some(result) = record.cleanup_result {
        return match &record.cleanup_error {
            Some(error) => format!("cleanup {result}: {}", safe(error)),
            None => format!("cleanup {result}"),
        };
    }
    match &record.last_error {
        Some(error) => format!("{}, try {}: {}", record.state, record.attempts, safe(error)),
        None => record.state.to_string(),
    }
}

/// The tree as a document.
pub fn document(s: &Snapshot) -> Value {
    fn of(nodes: &[Node]) -> Vec<Value> {
        nodes
            .iter()
            .map(|n| json!({ "text": n.text(), "good": n.good, "children": of(&n.children) }))
            .collect()
    }
    json!({
        "name": s.agent.name,
        "deploymentStatus": s.agent.status.deployment_status,
        "sync": view::agreement(s).as_str(),
        "children": of(&nodes(s)),
    })
}
