//! The OpenAPI document, made of the handlers themselves.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Talon",
        description = "Agents as resources: what you write is what the controller works towards.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "health", description = "Whether the server lives and works"),
        (name = "access", description = "Tokens and the audit log"),
        (name = "agents", description = "Agents as resources"),
        (name = "router", description = "The Agent Router: search, cards, tasks"),
    ),
)]
struct Base;

static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default() + "\n");

/// The document (OpenAPI 3.1).
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// `GET /openapi.json`.
pub async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

fn build() -> Value {
    let (_, api) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(crate::quick_routes())
        .merge(crate::long_routes())
        .split_for_parts();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "webhook": {"type": "apiKey", "in": "header", "name": "webhook-signature"},
    });
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(crate::agents::components());
        // Strict, as the manifest's schema is whose reader takes them.
        for strict in ["CreateAgent", "ReplaceAgent"] {
            schemas[strict]["additionalProperties"] = false.into();
        }
        // An empty page is one of either kind.
        for either in ["Listed", "OneAgent"] {
            if let Some(schema) = schemas[either].as_object_mut()
                && let Some(kinds) = schema.remove("oneOf")
            {
                schema.insert("anyOf".to_owned(), kinds);
            }
        }
        let key = json!({"type": "string", "format": "password", "writeOnly": true});
        let keys = &mut schemas["CreateAgent"]["properties"]["api_keys"];
        keys["additionalProperties"] = key;
        keys["writeOnly"] = true.into();
    }
    for operation in operations(&mut document) {
        refusals(operation);
        headers(operation);
    }
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut();
    paths
        .into_iter()
        .flat_map(|paths| paths.values_mut())
        .filter_map(Value::as_object_mut)
        .flat_map(|methods| methods.values_mut())
}

/// A header is there or not; it is never null.
fn headers(operation: &mut Value) {
    let parameters = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if let Some(Value::Array(types)) = parameter.pointer_mut("/schema/type") {
            types.retain(|t| t != "null");
            if let [only] = types.as_slice() {
                parameter["schema"]["type"] = only.clone();
            }
        }
    }
}

/// What every operation of its kind may be refused with.
fn refusals(operation: &mut Value) {
    let secured = operation["security"]
        .as_array()
        .is_some_and(|list| list.iter().any(|s| s.get("bearer").is_some()));
    let has_body = operation.get("requestBody").is_some();
    let mut add = |status: &str, description: &str| {
        let responses = &mut operation["responses"];
        if responses.get(status).is_none() {
            responses[status] = json!({
                "description": description,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
            });
        }
    };
    add("400", "The request cannot be read");
    if secured {
        add("401", "No valid token");
        add("403", "The role of the token does not allow it");
        add("429", "Too many requests");
        add("503", "The database cannot be reached");
    }
    if has_body {
        add("413", "The body is too large");
        add("415", "The body has another media type");
    }
}
