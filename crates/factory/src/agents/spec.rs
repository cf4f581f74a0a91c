//! An agent's spec as the API writes it: the manifest's own schema with snake_case keys. One source, so that a field is
//! never known to one and unknown to the other.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value, json};
use talon_core::AgentSpec;
use talon_core::manifest::differences;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::FieldError;

/// The schema of a spec, with its parts under `$defs`.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(AgentSpec).to_value();
    rename_properties(&mut schema);
    schema
});

/// A spec in snake_case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Spec(Value);

impl From<&AgentSpec> for Spec {
    fn from(spec: &AgentSpec) -> Self {
        let mut value = serde_json::to_value(spec).unwrap_or_default();
        rename(&mut value, &SCHEMA, snake);
        Self(value)
    }
}

impl Spec {
    /// As JSON.
    pub fn into_json(self) -> Value {
        self.0
    }
}

/// The spec that was written; `None` if it is none that this program can read.
pub fn from_json(mut value: Value) -> Option<AgentSpec> {
    rename(&mut value, &SCHEMA, camel);
    serde_json::from_value(value).ok()
}

impl PartialSchema for Spec {
    fn schema() -> RefOr<Schema> {
        // The document puts the real one in its place.
        ObjectBuilder::new().into()
    }
}

impl ToSchema for Spec {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AgentSpec")
    }
}

/// The schemas of a spec and its parts, for the document: by name.
pub fn components() -> Map<String, Value> {
    let mut schema = SCHEMA.clone();
    let parts = schema["$defs"].take();
    let mut all = Map::new();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$defs");
        object.remove("$schema");
        object.remove("title");
        let description = "Everything a writer may say about an agent.";
        object.insert("description".to_owned(), description.into());
    }
    all.insert("AgentSpec".to_owned(), schema);
    for (name, part) in parts.as_object().into_iter().flatten() {
        all.insert(name.clone(), part.clone());
    }
    for schema in all.values_mut() {
        point_at_components(schema);
    }
    all
}

fn point_at_components(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(to)) = object.get_mut("$ref") {
                *to = to.replace("#/$defs/", "#/components/schemas/");
            }
            object.values_mut().for_each(point_at_components);
        }
        Value::Array(list) => list.iter_mut().for_each(point_at_components),
        _ => {}
    }
}

/// What the body of a write must look like: `name`, `owner`, `spec`, `api_keys`.
static BODY: LazyLock<Value> = LazyLock::new(|| {
    let mut spec = SCHEMA.clone();
    let parts = spec["$defs"].take();
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "owner": {"type": "string"},
            "spec": spec,
            "api_keys": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["spec"],
        "$defs": parts,
    })
});

/// What unknown keys of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Errors.
    Refused,
    /// Left out, with a warning for each.
    Dropped,
}

/// The spec of a body whose shape is as it must be; else everything that is not. With [`Unknown::Dropped`], also a warning
/// for each key that was left out.
pub fn read(
    body: &mut Value,
    unknown: Unknown,
) -> Result<(AgentSpec, Vec<String>), Vec<FieldError>> {
    let mut warnings = Vec::new();
    if unknown == Unknown::Dropped {
        drop_unknown(body, &BODY, &BODY, "", &mut warnings);
    }
    let errors: Vec<_> = differences(body, &BODY)
        .into_iter()
        .map(|v| FieldError {
            code: if v.detail.starts_with("unknown key") {
                "unknown_field"
            } else {
                "wrong_shape"
            }
            .to_owned(),
            pointer: shown(&v.pointer),
            detail: v.detail,
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut spec = body["spec"].clone();
    rename(&mut spec, &SCHEMA, camel);
    match serde_path_to_error::deserialize(spec) {
        Ok(spec) => Ok((spec, warnings)),
        // The shape was checked: this is a difference between schema and type, told without the value.
        Err(e) => Err(vec![FieldError {
            pointer: shown(&format!("/spec/{}", e.path().to_string().replace('.', "/"))),
            code: "wrong_shape".to_owned(),
            detail: "has a value of the wrong kind".to_owned(),
        }]),
    }
}

/// A pointer of the manifest's as the API's; without a provider's name that may be a pasted key.
pub fn shown(pointer: &str) -> String {
    if pointer.starts_with("/api_keys/") {
        return "/api_keys".to_owned();
    }
    let segments = pointer.split('/').map(snake);
    segments.collect::<Vec<_>>().join("/")
}

fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn camel(key: &str) -> String {
    let mut words = key.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn rename_properties(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        let old = std::mem::take(properties);
        properties.extend(old.into_iter().map(|(key, value)| (snake(&key), value)));
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        for key in required {
            *key = key.as_str().map(snake).into();
        }
    }
    object.values_mut().for_each(rename_properties);
    for list in object.values_mut().filter_map(Value::as_array_mut) {
        list.iter_mut().for_each(rename_properties);
    }
}

/// Renames the keys of a value's objects that the schema knows by name (in snake_case); keys of maps stay.
fn rename(value: &mut Value, schema: &Value, to: fn(&str) -> String) {
    let schema = resolve(schema, &SCHEMA);
    match value {
        Value::Array(list) => {
            for item in list {
                rename(item, &schema["items"], to);
            }
        }
        Value::Object(object) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            let old = std::mem::take(object);
            for (key, mut inner) in old {
                if let Some(known) = properties.get(&snake(&key)) {
                    rename(&mut inner, known, to);
                }
                object.insert(to(&key), inner);
            }
        }
        _ => {}
    }
}

/// The schema itself, behind `$ref` and behind an alternative of null.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    if let Some(Value::String(to)) = schema.get("$ref") {
        return to
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
            .unwrap_or(schema);
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let other = choices.iter().find(|c| c["type"] != "null");
        return other.map_or(schema, |other| resolve(other, root));
    }
    schema
}

fn drop_unknown(
    value: &mut Value,
    schema: &Value,
    root: &Value,
    at: &str,
    warnings: &mut Vec<String>,
) {
    let schema = resolve(schema, root);
    match value {
        Value::Array(list) => {
            for (i, item) in list.iter_mut().enumerate() {
                drop_unknown(item, &schema["items"], root, &format!("{at}/{i}"), warnings);
            }
        }
        Value::Object(object) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            let before = object.len();
            object.retain(|key, _| properties.contains_key(key));
            let gone = before - object.len();
            if gone > 0 {
                let place = if at.is_empty() { "the body" } else { at };
                // Not by name: a key may be a secret in the wrong place.
                warnings.push(format!("{gone} unknown field(s) in {place} were left out"));
            }
            for (key, inner) in object.iter_mut() {
                drop_unknown(
                    inner,
                    &properties[key],
                    root,
                    &format!("{at}/{key}"),
                    warnings,
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> AgentSpec {
        serde_json::from_value(json!({
            "displayName": "N", "persona": "p", "instructions": "i", "model": "a/b", "keepAlive": true,
            "apiKeyRefs": {"my_provider": "env:TALON_SECRET_A"}, "secretsVersion": 2,
            "skills": [{"id": "x", "name": "X", "description": "d", "pricingModel": "per_request", "priceUsd": 0.5}],
            "theme": {"primaryColor": "#000000", "backgroundColor": "#ffffff"},
            "r2": {"locationHint": "weur", "storageClass": "InfrequentAccess"}, "deletionProtected": true,
        }))
        .expect("a spec")
    }

    #[test]
    fn a_spec_comes_back_as_it_was() {
        let spec = full();
        let shown = Spec::from(&spec).into_json();
        assert_eq!(shown["display_name"], "N");
        assert_eq!(shown["skills"][0]["price_usd"], 0.5);
        assert_eq!(shown["theme"]["primary_color"], "#000000");
        assert_eq!(shown["api_key_refs"]["my_provider"], "env:TALON_SECRET_A");
        let mut body = json!({"name": "x", "spec": shown});
        assert_eq!(read(&mut body, Unknown::Refused), Ok((spec, vec![])));
    }

    #[test]
    fn everything_that_is_not_as_it_must_be_is_said_at_once_and_no_value_with_it() {
        let mut body = json!({"status": {}, "api_keys": {"sk-canary": 1}, "spec": {
            "persona": 7, "displayName": "canary", "model": "a/b", "skills": [{"id": "x", "nmae": "canary"}],
            "api_key_refs": {"sk-canary-1234567890123": ["canary"]}, "visibility": "canary",
        }});
        let errors = read(&mut body, Unknown::Refused).expect_err("refused");
        let pointers: Vec<_> = errors
            .iter()
            .map(|e| (e.pointer.as_str(), e.code.as_str()))
            .collect();
        for expected in [
            ("/status", "unknown_field"),
            ("/api_keys", "wrong_shape"),
            ("/spec/persona", "wrong_shape"),
            ("/spec", "wrong_shape"),
            ("/spec/skills/0", "wrong_shape"),
            ("/spec/skills/0/nmae", "unknown_field"),
            ("/spec/api_key_refs", "wrong_shape"),
            ("/spec/visibility", "wrong_shape"),
        ] {
            assert!(pointers.contains(&expected), "{expected:?} of {pointers:?}");
        }
        assert!(!format!("{errors:?}").contains("canary"), "{errors:?}");
    }

    #[test]
    fn unknown_keys_can_be_left_out_with_a_warning() {
        let mut shown = Spec::from(&full()).into_json();
        shown["canary"] = json!(1);
        shown["skills"][0]["canary"] = json!(1);
        let mut body = json!({"spec": shown, "canary": 1});
        let (spec, warnings) = read(&mut body, Unknown::Dropped).expect("read");
        assert_eq!(spec, full());
        assert_eq!(
            warnings,
            [
                "1 unknown field(s) in the body were left out",
                "1 unknown field(s) in /spec were left out",
                "1 unknown field(s) in /spec/skills/0 were left out"
            ]
        );
    }
}
