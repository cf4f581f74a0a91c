//! `talon tree`: what an agent consists of.

use serde_json::{Value, json};
use talon_core::Snapshot;
use talon_core::resource::{ResourceKind, ResourceRecord, ResourceState};

use super::{Colour, safe};
use crate::view;

struct Node {
    good: Option<bool>,
    text: String,
    children: Vec<Node>,
}

/// The tree, drawn.
pub fn render(s: &Snapshot, colour: Colour) -> String {
    let mut text = format!(
        "agent/{}  {}  {}\n",
        s.agent.name,
        s.agent.status.deployment_status,
        view::agreement(s).as_str()
    );
    draw(&nodes(s), "", colour, &mut text);
    text
}

fn draw(nodes: &[Node], indent: &str, colour: Colour, into: &mut String) {
    for (i, node) in nodes.iter().enumerate() {
        let last = i + 1 == nodes.len();
        let mark = match node.good {
            Some(true) => colour.good("✓"),
            Some(false) => colour.bad("✗"),
            None => colour.dim("·"),
        };
        into.push_str(&format!(
            "{indent}{} {mark} {}\n",
            if last { "└──" } else { "├──" },
            node.text
        ));
        let deeper = format!("{indent}{}", if last { "    " } else { "│   " });
        draw(&node.children, &deeper, colour, into);
    }
}

fn nodes(s: &Snapshot) -> Vec<Node> {
    let mut worker = resource(s, ResourceKind::Worker);
    worker.children.push(resource(s, ResourceKind::WorkerRoute));
    worker.children.push(Node {
        good: s.agent.status.identity_sha256.as_ref().map(|_| true),
        text: match &s.agent.status.identity_sha256 {
            Some(sha) => format!("IDENTITY.md  sha256 {}", view::short_hash(sha)),
            None => "IDENTITY.md  not compiled yet".to_owned(),
        },
        children: Vec::new(),
    });
    worker.children.extend(s.secrets.iter().map(|r| Node {
        good: Some(r.state != talon_core::snapshot::SecretState::Pushing),
        text: format!("secret {}  {}", safe(&r.name), r.state),
        children: Vec::new(),
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
        return Node {
            good: None,
            text: format!("{label}  not made yet"),
            children: Vec::new(),
        };
    };
    Node {
        good: good(record),
        text: format!("{label}  {}  {}", safe(&record.name), word(record)),
        children: Vec::new(),
    }
}

fn good(record: &ResourceRecord) -> Option<bool> {
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
            .map(|n| json!({ "text": n.text, "good": n.good, "children": of(&n.children) }))
            .collect()
    }
    json!({
        "name": s.agent.name,
        "deploymentStatus": s.agent.status.deployment_status,
        "sync": view::agreement(s).as_str(),
        "children": of(&nodes(s)),
    })
}
