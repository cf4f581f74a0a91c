//! The manifest: an agent as a YAML document.
//!
//! Guarantees: strict (an unknown or duplicate key, or a wrong type, is an error with path and line); every error of a
//! file is reported at once; no error repeats a value; size, nesting and the expansion of aliases are bounded before
//! they cost anything. What [`to_yaml`] writes, [`parse`] reads back unchanged.

mod bounds;
mod locate;
mod node;
mod shape;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{AgentName, Owner};
use crate::spec::AgentSpec;
use crate::text::{clip, for_terminal};
use crate::validate::{self, Violation};
use locate::Step;
use node::Node;

/// The most bytes a manifest file may have.
pub const MAX_BYTES: usize = 1024 * 1024;

/// One document: an agent as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Which agent.
    pub name: AgentName,
    /// Whose.
    pub owner: Owner,
    /// What it shall be.
    pub spec: AgentSpec,
}

/// Something that is wrong with a file. Never repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ManifestError {
    /// The file, as the caller named it.
    pub source_name: String,
    /// Which document in it, from 1.
    pub document: usize,
    /// JSON pointer into the document; empty for the document itself.
    pub pointer: String,
    /// Line in the file, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub detail: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", for_terminal(&clip(&self.source_name, 300)))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": document {}", self.document)?;
        if !self.pointer.is_empty() {
            write!(f, ": {}", for_terminal(&self.pointer))?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// The document as it stands in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "OpenClawAgent", rename = "OpenClawAgent")]
struct Document {
    /// `talon.dev/v1`.
    api_version: ApiVersion,
    /// `OpenClawAgent`.
    kind: Kind,
    /// Which agent.
    metadata: Metadata,
    /// What the agent shall be.
    spec: AgentSpec,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum ApiVersion {
    #[serde(rename = "talon.dev/v1")]
    V1,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Kind {
    OpenClawAgent,
}

/// Which agent.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    /// 3 to 30 lower-case letters, digits and single inner hyphens; unique among live agents.
    #[schemars(
        length(min = 3, max = 30),
        regex(pattern = r"^[a-z0-9]+(-[a-z0-9]+)*$")
    )]
    name: String,
    /// Who the agent belongs to; `default` if absent. Decides which secret references it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9._-]+$"))]
    owner: Option<String>,
}

/// Reads every document of a file. `source` is what errors call the file.
///
/// Checks form only; [`parse_valid`] checks the content as well.
pub fn parse(text: &str, source: &str) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    read(text, source, |_| Vec::new())
}

/// Reads every document of a file and validates it: what is wrong with form or content, with the lines.
pub fn parse_valid(text: &str, source: &str) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    read(text, source, |m| validate::validate(&m.name, &m.spec))
}

fn read(
    text: &str,
    source: &str,
    check: impl Fn(&Manifest) -> Vec<Violation>,
) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    let mut reader = Reader {
        text,
        source,
        document: 1,
        errors: Vec::new(),
    };
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut names: BTreeMap<AgentName, usize> = BTreeMap::new();
    if let Err(refusal) = bounds::check(text) {
        reader.add(String::new(), refusal.line, refusal.detail);
        return Err(reader.errors);
    }
    for (i, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        reader.document = i + 1;
        let node = match node::read(document, text.len()) {
            Ok(Node::Null) => continue,
            Ok(node) => node,
            Err(e) => {
                // Nothing behind a syntax error can be trusted.
                reader.syntax(&e);
                break;
            }
        };
        let Some(manifest) = reader.manifest(node) else {
            continue;
        };
        for v in check(&manifest) {
            reader.violation(v);
        }
        if let Some(first) = names.insert(manifest.name.clone(), i + 1) {
            reader.at(
                &[Step::key("metadata"), Step::key("name")],
                format!("document {first} names the same agent: keep one of them"),
            );
        }
        manifests.push(manifest);
    }
    if manifests.is_empty() && reader.errors.is_empty() {
        reader.add(
            String::new(),
            None,
            "holds no agent: write apiVersion, kind, metadata and spec".to_owned(),
        );
    }
    if reader.errors.is_empty() {
        Ok(manifests)
    } else {
        Err(reader.errors)
    }
}

/// The document of an agent. `apiKeyRefs` appear as the references they are.
pub fn to_yaml(name: &AgentName, owner: &Owner, spec: &AgentSpec) -> String {
    let document = Document {
        api_version: ApiVersion::V1,
        kind: Kind::OpenClawAgent,
        metadata: Metadata {
            name: name.to_string(),
            owner: (*owner != Owner::default()).then(|| owner.to_string()),
        },
        spec: spec.clone(),
    };
    // Cannot happen: writing to memory does not fail, and a spec holds texts, numbers, lists and maps of texts only.
    serde_yaml::to_string(&document).unwrap_or_else(|_| unreachable!("a manifest is always YAML"))
}

/// JSON Schema (draft 2020-12) of one document, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// Everything in which a JSON document differs from a JSON Schema of ours (as schemars makes it), with pointers; no value
/// is repeated. Limits on content are [`validate`]'s business.
pub fn differences(document: &serde_json::Value, schema: &serde_json::Value) -> Vec<Violation> {
    shape::check(&Node::from(document), schema)
        .into_iter()
        .map(|(path, detail)| Violation {
            pointer: locate::pointer(&path),
            detail,
        })
        .collect()
}

/// Collects the errors of one file.
struct Reader<'a> {
    text: &'a str,
    source: &'a str,
    document: usize,
    errors: Vec<ManifestError>,
}

impl Reader<'_> {
    fn add(&mut self, pointer: String, line: Option<usize>, detail: String) {
        self.errors.push(ManifestError {
            source_name: self.source.to_owned(),
            document: self.document,
            pointer,
            line,
            detail,
        });
    }

    fn at(&mut self, path: &[Step], detail: String) {
        let line = locate::line(self.text, self.document, path);
        self.add(locate::pointer(path), line, detail);
    }

    fn syntax(&mut self, e: &serde_yaml::Error) {
        let line = e.location().map(|l| l.line());
        let detail = node::explain(e, self.text, line);
        self.add(String::new(), line, detail);
    }

    fn violation(&mut self, v: Violation) {
        let path: Vec<Step> = v.pointer.split('/').skip(1).map(Step::parse).collect();
        let line = locate::line(self.text, self.document, &path);
        self.add(v.pointer, line, v.detail);
    }

    /// The document as a manifest, or `None` with errors added.
    fn manifest(&mut self, node: Node) -> Option<Manifest> {
        let before = self.errors.len();
        for (path, detail) in shape::check(&node, &schema()) {
            self.at(&path, detail);
        }
        if self.errors.len() > before {
            return None;
        }
        let document: Document = match serde_path_to_error::deserialize(node.into_json()) {
            Ok(d) => d,
            Err(e) => {
                // The shape was checked: this is a difference between the schema and the type, reported without text
                // that might quote a value.
                let pointer = format!("/{}", e.path().to_string().replace('.', "/"));
                let path: Vec<Step> = pointer.split('/').skip(1).map(Step::parse).collect();
                self.at(&path, "has a value of the wrong kind".to_owned());
                return None;
            }
        };
        let ApiVersion::V1 = document.api_version;
        let Kind::OpenClawAgent = document.kind;
        let name = AgentName::parse(&document.metadata.name);
        if let Err(e) = &name {
            self.at(&[Step::key("metadata"), Step::key("name")], e.to_string());
        }
        let owner = match document.metadata.owner {
            None => Some(Owner::default()),
            Some(o) => Owner::parse(&o),
        };
        if owner.is_none() {
            self.at(
                &[Step::key("metadata"), Step::key("owner")],
                "an owner has 1 to 64 lower-case letters, digits, '.', '_' and '-'".to_owned(),
            );
        }
        Some(Manifest {
            name: name.ok()?,
            owner: owner?,
            spec: document.spec,
        })
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
