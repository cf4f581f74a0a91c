//! The OpenAPI document: as it is checked in, its examples valid, and its roles what the server does.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, read};

/// `TALON_WRITE_OPENAPI=1 cargo test -p talon-factory` writes the document anew.
#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = serde_json::to_string_pretty(talon_factory::document()).expect("JSON") + "\n";
    if std::env::var_os("TALON_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &text).expect("written");
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == text,
        "openapi.json is not up to date: TALON_WRITE_OPENAPI=1 cargo test -p talon-factory writes it"
    );
}

fn operations() -> Vec<(String, String, Value)> {
    let document = talon_factory::document();
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    all.collect()
}

#[test]
fn every_reference_leads_somewhere_and_every_example_is_valid() {
    let document = talon_factory::document();
    let mut references = Vec::new();
    collect(document, &mut references);
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut examples = 0;
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        let Some(example) = schema.get("example") else {
            continue;
        };
        examples += 1;
        let whole = json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": document["components"],
        });
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let errors: Vec<_> = validator
            .iter_errors(example)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    assert!(examples >= 5);
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            references.extend(
                object
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            object.values().for_each(|v| collect(v, references));
        }
        Value::Array(list) => list.iter().for_each(|v| collect(v, references)),
        _ => {}
    }
}

#[test]
fn every_operation_says_who_may_and_what_can_go_wrong() {
    for (path, method, operation) in operations() {
        let security = operation["security"].as_array().expect("security");
        assert_eq!(security.len(), 1, "{method} {path}");
        assert!(
            operation["operationId"].is_string() && operation["tags"].is_array(),
            "{method} {path}"
        );
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            if status.starts_with('4') || status.starts_with('5') {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(
                    schema, "#/components/schemas/ProblemBody",
                    "{method} {path} {status}"
                );
            }
        }
    }
}

/// What a request of an operation is made of, as good as it can be known without its meaning.
fn body(operation_id: &str) -> Option<(&'static str, Value)> {
    let spec = json!({"persona": "p", "instructions": "i", "model": "a/b"});
    let json_type = "application/json";
    Some(match operation_id {
        "create_agent" => (json_type, json!({"name": "made-here", "spec": spec})),
        "replace_agent" | "plan_agent" => (json_type, json!({"spec": spec})),
        "patch_agent" => (
            "application/merge-patch+json",
            json!({"spec": {"keep_alive": true}}),
        ),
        "set_hold" => (json_type, json!({"reason": "test"})),
        "give_task" => (json_type, json!({"agent": "nobody", "text": "t"})),
        "create_key" => (json_type, json!({"label": "x"})),
        "create_token" => (json_type, json!({"label": "x", "role": "viewer"})),
        "deployment_callback" => (json_type, json!({})),
        "set_secret" => (json_type, json!({"value": "made-up"})),
        _ => return None,
    })
}

#[tokio::test]
async fn every_role_may_do_exactly_what_the_document_says_for_every_owner() {
    let world = World::new().await;
    let roles = ["viewer", "operator", "secret-writer", "admin"];
    let rank = |role: &str| roles.iter().position(|r| *r == role);
    let mut callers: Vec<(Option<usize>, Option<&str>, Option<String>)> = vec![(None, None, None)];
    for role in roles {
        for owner in [None, Some("ann"), Some("bob")] {
            let wanted = json!({"label": role, "role": role, "owner": owner});
            let (status, made) = world.post("/api/v1/tokens", &wanted).await;
            assert_eq!(status, StatusCode::CREATED, "{made}");
            callers.push((rank(role), owner, made["token"].as_str().map(str::to_owned)));
        }
    }
    // These concern everybody, so that no token with an owner may.
    let for_everybody = ["metrics", "set_hold", "release_hold", "list_audit"];
    let mut checked = 0;
    for (path, method, operation) in operations() {
        let id = operation["operationId"].as_str().expect("an id");
        let needed = operation["security"][0]["bearer"][0]
            .as_str()
            .and_then(rank);
        for (role, owner, token) in &callers {
            // Of ann, so that a token of bob does not find it.
            let agent = json!({"name": "ann-agent", "owner": "ann", "spec": {"persona": "p", "instructions": "i", "model": "a/b"}});
            world.post("/api/v1/openclaw/agents", &agent).await;
            let real = path
                .replace("{name}", "ann-agent")
                .replace("{key}", "ANTHROPIC_API_KEY")
                .replace("{id}", "nothing");
            let real = if id == "search_agents" {
                format!("{real}?q=x")
            } else {
                real
            };
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let mut request = world.bare(verb, &real).header("if-match", "*");
            if let Some((media, body)) = body(id) {
                request = request.header("content-type", media).body(body.to_string());
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let (status, answer) = read(request).await;
            let said = format!("{method} {path} by {role:?} of {owner:?}: {status} {answer}");
            assert!(
                operation["responses"].get(status.as_str()).is_some(),
                "undocumented: {said}"
            );
            let everybody = for_everybody.contains(&id) && owner.is_some();
            match (needed, role) {
                // No token opens it, but a signature.
                (None, _) if id == "deployment_callback" => {
                    assert_eq!(status, StatusCode::UNAUTHORIZED, "{said}");
                }
                (None, _) => assert_eq!(status, StatusCode::OK, "{said}"),
                (Some(_), None) => assert_eq!(status, StatusCode::UNAUTHORIZED, "{said}"),
                (Some(needed), Some(role)) if *role < needed || everybody => {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{said}");
                }
                (Some(_), Some(_)) => {
                    assert!(
                        status != StatusCode::FORBIDDEN && status != StatusCode::UNAUTHORIZED,
                        "{said}"
                    );
                    let of_an_agent = path.contains("/openclaw/agents/{name}");
                    if of_an_agent {
                        // The agent is there, and has no such key to take away.
                        let keyless = answer["detail"] == "the agent has no key of this name";
                        assert_eq!(
                            *owner == Some("bob"),
                            status == StatusCode::NOT_FOUND && !keyless,
                            "{said}"
                        );
                    }
                }
            }
            checked += 1;
        }
    }
    assert_eq!(checked, operations().len() * callers.len());
}
