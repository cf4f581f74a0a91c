//! The published schemas of what commands print with `-o json`: one file, a document for each command under `$defs`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// As it is written, without what the manifest's schema says.
const WRITTEN: &str = include_str!("../schemas/output.json");

/// Every schema, under `$defs`: those of commands by the names of [`names`], and the parts they are made of.
pub fn all() -> Value {
    let mut schema: Value = serde_json::from_str(WRITTEN).unwrap_or_default();
    let manifest = talon_core::manifest::schema();
    let mut parts = Map::new();
    for (name, part) in manifest["$defs"].as_object().into_iter().flatten() {
        parts.insert(name.clone(), part.clone());
    }
    parts.insert("Manifest".to_owned(), without_parts(manifest));
    if let Some(all) = schema["$defs"].as_object_mut() {
        all.extend(parts);
    }
    schema
}

fn without_parts(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.remove("$defs");
        object.remove("$schema");
        object.remove("$id");
    }
    schema
}

/// The commands that have one, by name.
pub fn names() -> Vec<String> {
    let all = all();
    let of_commands = |name: &&String| name.starts_with(|c: char| c.is_ascii_lowercase());
    let names = all["$defs"]
        .as_object()
        .map(|all| all.keys().filter(of_commands).cloned().collect());
    names.unwrap_or_default()
}

/// The schema of one, with the parts that it is made of.
pub fn of(name: &str) -> Option<Value> {
    let all = all();
    if !names().iter().any(|known| known == name) {
        return None;
    }
    let mut needed = BTreeMap::new();
    gather(&all["$defs"], name, &mut needed);
    Some(json!({
        "$schema": all["$schema"],
        "$ref": format!("#/$defs/{name}"),
        "$defs": needed,
    }))
}

fn gather(all: &Value, name: &str, needed: &mut BTreeMap<String, Value>) {
    if needed.contains_key(name) {
        return;
    }
    needed.insert(name.to_owned(), all[name].clone());
    let mut others = Vec::new();
    references(&all[name], &mut others);
    for other in others {
        gather(all, &other, needed);
    }
}

fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            let to = object.get("$ref").and_then(Value::as_str);
            into.extend(
                to.and_then(|to| to.strip_prefix("#/$defs/"))
                    .map(str::to_owned),
            );
            object.values().for_each(|inner| references(inner, into));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let all = all();
        let mut found = Vec::new();
        references(&all, &mut found);
        assert!(!found.is_empty());
        for name in found {
            assert!(all["$defs"].get(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_schema_of_one_command_stands_for_itself() {
        for name in names() {
            let one = of(&name).expect("a schema");
            let mut found = Vec::new();
            references(&one, &mut found);
            assert!(found.iter().all(|name| one["$defs"].get(name).is_some()));
        }
        assert!(of("nonsense").is_none());
        assert!(of("Agent").is_none(), "a part is no command");
    }
}
