//! Compares a document with the JSON Schema of a manifest, and says everything that differs, in words for people.
//!
//! Knows as much of JSON Schema as schemars makes of our types: `$ref`, `anyOf`/`oneOf`, `enum`, `const`, `type`,
//! `properties`, `required`, `additionalProperties`, `items`. Limits on content are validation's business.

use serde_json::Value;

use super::locate::Step;
use super::node::Node;
use crate::secret::looks_like_key;

type Found = Vec<(Vec<Step>, String)>;

/// Every difference: where, and what to do.
pub(super) fn check(node: &Node, schema: &Value) -> Found {
    let mut walk = Walk {
        root: schema,
        path: Vec::new(),
        found: Vec::new(),
    };
    walk.check(node, schema);
    walk.found
}

struct Walk<'s> {
    root: &'s Value,
    path: Vec<Step>,
    found: Found,
}

impl<'s> Walk<'s> {
    fn add(&mut self, detail: impl Into<String>) {
        self.found.push((self.path.clone(), detail.into()));
    }

    fn within(&mut self, step: Step, f: impl FnOnce(&mut Self)) {
        self.path.push(step);
        f(self);
        self.path.pop();
    }

    fn resolve(&self, schema: &'s Value) -> &'s Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| r.strip_prefix('#'))
            .and_then(|pointer| self.root.pointer(pointer))
            .unwrap_or(schema)
    }

    fn check(&mut self, node: &Node, schema: &'s Value) {
        let schema = self.resolve(schema);
        let words = self.words(schema);
        if !words.is_empty() {
            if !matches!(node, Node::Text(t) if words.contains(&t.as_str())) {
                self.add(format!("must be {}", words.join(" or ")));
            }
            return;
        }
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            let other = choices.iter().find(|c| !accepts_null(c));
            match (node, other) {
                (Node::Null, _) if choices.iter().any(accepts_null) => {}
                (_, Some(other)) => self.check(node, other),
                (_, None) => {}
            }
            return;
        }
        let wants = |word: &str| match &schema["type"] {
            Value::String(t) => t == word,
            Value::Array(list) => list.iter().any(|t| t == word),
            _ => false,
        };
        match node {
            Node::Null if wants("null") => {}
            Node::Bool(_) if wants("boolean") => {}
            Node::Integer(i) if wants("integer") && i64::try_from(*i).is_ok() => {}
            Node::Integer(_) if wants("number") => {}
            Node::Float(f) if wants("number") && f.is_finite() => {}
            Node::Text(_) if wants("string") => {}
            Node::List(items) if wants("array") => self.list(items, schema),
            Node::Map(entries) if wants("object") => self.map(entries, schema),
            Node::Null => self.add(format!(
                "is empty: it must be {}; write one, or leave the key out if it is optional",
                kind(schema)
            )),
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) if wants("string") => {
                self.add("must be text: put it in quotes");
            }
            Node::Bool(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Map(_) => self.add(format!("must be {}", kind(schema))),
        }
    }

    /// The words an enumeration allows; none if it is no enumeration.
    fn words(&self, schema: &'s Value) -> Vec<&'s str> {
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return vec![word];
        }
        if let Some(words) = list("enum") {
            return words.iter().filter_map(Value::as_str).collect();
        }
        list("oneOf")
            .map(|choices| choices.iter().flat_map(|c| self.words(c)).collect())
            .unwrap_or_default()
    }

    fn list(&mut self, items: &[Node], schema: &'s Value) {
        let Some(item_schema) = schema.get("items") else {
            return;
        };
        for (i, item) in items.iter().enumerate() {
            self.within(Step::Index(i), |w| w.check(item, item_schema));
        }
    }

    fn map(&mut self, entries: &[(String, Node)], schema: &'s Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        for (i, (key, value)) in entries.iter().enumerate() {
            let number = entries[..i].iter().filter(|(k, _)| k == key).count();
            let known = properties.and_then(|p| p.get(key));
            if number > 0 {
                // A key that is not one of ours may be a pasted secret; the path leads to the mapping then.
                let name = if known.is_some() {
                    key.as_str()
                } else {
                    "one key"
                };
                let detail = format!("{name} stands here twice: keep one of them");
                self.find_at(key, number, known.is_some(), detail);
                continue;
            }
            match (known, others) {
                (Some(s), _) | (None, Some(s)) => {
                    self.within(Step::Key(key.clone(), 0), |w| w.check(value, s));
                }
                (None, None) => {
                    let keys: Vec<&str> = properties
                        .map(|p| p.keys().map(String::as_str).collect())
                        .unwrap_or_default();
                    self.find_at(key, 0, true, unknown_key(key, &keys));
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|(k, _)| k == key) {
                self.add(format!("{key} is missing: add it"));
            }
        }
    }

    fn find_at(&mut self, key: &str, number: usize, ours: bool, detail: String) {
        if ours && may_be_shown(key) {
            self.within(Step::Key(key.to_owned(), number), |w| w.add(detail));
        } else {
            self.add(detail);
        }
    }
}

fn accepts_null(schema: &Value) -> bool {
    schema["type"] == "null"
}

fn kind(schema: &Value) -> &'static str {
    let word = match &schema["type"] {
        Value::String(t) => t.as_str(),
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null")
            .unwrap_or_default(),
        _ => "",
    };
    match word {
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "array" => "a list",
        "object" => "a mapping (key: value)",
        _ => "something else",
    }
}

/// Whether a key that is none of ours may be repeated: it may be a secret in the wrong place.
fn may_be_shown(key: &str) -> bool {
    key.len() <= 30
        && !looks_like_key(key)
        && !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || b"_-".contains(&b))
}

fn unknown_key(key: &str, keys: &[&str]) -> String {
    let name = if may_be_shown(key) {
        format!("unknown key {key}")
    } else {
        "unknown key (not repeated here, in case it is a secret)".to_owned()
    };
    let fold = |s: &str| s.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = fold(&key.chars().take(40).collect::<String>());
    let nearest = keys
        .iter()
        .map(|k| (distance(&wanted, &fold(k)), *k))
        .min()
        .filter(|(d, k)| *d <= 2.min(k.len() / 3));
    match nearest {
        Some((_, k)) => format!("{name}: did you mean {k}?"),
        None => format!("{name}: take it out (known here: {})", keys.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
