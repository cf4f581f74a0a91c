//! One OpenAPI file: finding operations, checking values against its schemas.

use std::path::Path;

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::{Edition, Request};

/// One file.
pub(super) struct Document {
    pub(super) edition: Edition,
    paths: Map<String, Value>,
    components: Value,
}

/// One operation, found by a path.
pub(super) struct Operation {
    /// `/accounts/{account_id}/…`.
    pub(super) template: String,
    /// What the path has in the template's places.
    places: Vec<(String, String)>,
    value: Value,
}

impl Document {
    pub(super) fn load(path: &Path, edition: Edition) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
        let mut root: Value = serde_json::from_slice(&text).map_err(|e| format!("{name}: {e}"))?;
        if edition == Edition::Y2024 {
            null_as_type(&mut root);
        }
        let mut take = |key: &str| root.get_mut(key).map(Value::take);
        match (take("paths"), take("components")) {
            (Some(Value::Object(paths)), Some(components)) => Ok(Self {
                edition,
                paths,
                components,
            }),
            _ => Err(format!("{name}: no paths or no components")),
        }
    }

    /// The operation with the most literal template.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<Operation> {
        let method = method.to_ascii_lowercase();
        self.paths
            .iter()
            .filter_map(|(template, item)| {
                let places = places(template, path)?;
                let value = item.get(&method)?.clone();
                Some(Operation {
                    template: template.clone(),
                    places,
                    value,
                })
            })
            .min_by_key(|op| op.places.len())
    }

    pub(super) fn request_body(&self, op: &Operation) -> Option<Value> {
        op.value.get("requestBody").map(|b| self.resolve(b).clone())
    }

    pub(super) fn answer_schema(&self, op: &Operation, http: u16) -> Option<Value> {
        let responses = op.value.get("responses")?;
        let response = [
            http.to_string(),
            format!("{}XX", http / 100),
            "default".to_owned(),
        ]
        .iter()
        .find_map(|k| responses.get(k))?;
        self.resolve(response)
            .pointer("/content/application~1json/schema")
            .cloned()
    }

    /// Path, query and headers.
    pub(super) fn check_parameters(&self, op: &Operation, request: &Request<'_>) -> Vec<String> {
        let declared: Vec<&Value> = op
            .value
            .get("parameters")
            .and_then(Value::as_array)
            .map(|all| all.iter().map(|p| self.resolve(p)).collect())
            .unwrap_or_default();
        let mut found = Vec::new();
        for (place, sent) in [
            ("path", op.places.as_slice()),
            ("query", request.query),
            ("header", request.headers),
        ] {
            let here: Vec<&Value> = declared
                .iter()
                .copied()
                .filter(|p| p["in"] == place)
                .collect();
            for parameter in &here {
                let name = parameter["name"].as_str().unwrap_or_default();
                match sent.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                    Some((_, text)) => {
                        let value = typed(&parameter["schema"], text);
                        found.extend(self.check_value(
                            &parameter["schema"],
                            &value,
                            &format!("{place} {name}"),
                        ));
                    }
                    None if parameter["required"] == json!(true) => {
                        found.push(format!("{place} {name}: required, but not sent"));
                    }
                    None => {}
                }
            }
            // Ordinary headers are no part of the contract; Cloudflare's own are.
            let counts = |n: &str| place == "query" || (place == "header" && n.starts_with("cf-"));
            for (name, _) in sent.iter().filter(|(n, _)| counts(n)) {
                if !here.iter().any(|p| p["name"] == name.as_str()) {
                    found.push(format!("{place} {name}: not declared"));
                }
            }
        }
        found
    }

    /// Everything about the value that the schema does not allow.
    pub(super) fn check_value(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let root = json!({ "components": self.components, "allOf": [schema] });
        let draft = match self.edition {
            Edition::Y2026 => Draft::Draft202012,
            Edition::Y2024 => Draft::Draft4,
        };
        let validator = jsonschema::options()
            .with_draft(draft)
            .should_validate_formats(false)
            .build(&root);
        match validator {
            Ok(validator) => validator
                .iter_errors(value)
                .map(|e| {
                    let text: String = e.to_string().chars().take(400).collect();
                    format!("{at}{}: {text}", e.instance_path)
                })
                .collect(),
            Err(e) => vec![format!("{at}: the schema itself is wrong: {e}")],
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| self.components.pointer(r.strip_prefix("#/components")?))
            .unwrap_or(value)
    }
}

/// What the path has where the template has `{names}`; `None` if it does not fit.
fn places(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut wanted = template.split('/');
    let mut given = path.split('/');
    let mut out = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(out),
            (Some(w), Some(g)) => match w.strip_prefix('{').and_then(|w| w.strip_suffix('}')) {
                Some(name) if !g.is_empty() => out.push((name.to_owned(), g.to_owned())),
                _ if w == g => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Text of a query or header as the schema's type.
fn typed(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("number" | "integer") => text
            .parse::<i64>()
            .map_or_else(|_| json!(text), |n| json!(n)),
        Some("boolean") => match text {
            "true" => json!(true),
            "false" => json!(false),
            other => json!(other),
        },
        _ => json!(text),
    }
}

/// OpenAPI 3.0 says `nullable`, which JSON Schema does not know.
fn null_as_type(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(null_as_type),
        Value::Object(object) => {
            object.values_mut().for_each(null_as_type);
            if object.remove("nullable") == Some(json!(true)) {
                let schema = Value::Object(std::mem::take(object));
                object.insert("anyOf".to_owned(), json!([schema, { "type": "null" }]));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
