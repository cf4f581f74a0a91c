//! The bodies that write an agent, as the document shows them. They are read against the manifest's own schema.

use serde_json::Value;
use utoipa::ToSchema;

use crate::agents::spec::Spec;

/// A new agent.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read against the manifest's own schema"
)]
#[schema(example = json!({"name": "research-pro", "spec": {
    "persona": "You are a careful research analyst.", "instructions": "Cite every claim.",
    "model": "anthropic/claude-sonnet-4-6", "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"}}}))]
pub struct CreateAgent {
    /// 3 to 30 lower-case letters, digits and single inner hyphens.
    #[schema(min_length = 3, max_length = 30, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: String,
    /// Whose it is; the token's owner if left out, else `default`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    #[schema(nullable = false)]
    owner: Option<String>,
    /// What it shall be.
    spec: Spec,
    /// Keys of model providers, by provider. They reach the agent's Worker and nothing else.
    #[schema(write_only, format = Password, value_type = Option<Object>, nullable = false)]
    api_keys: Option<Value>,
}

/// An agent as it shall be.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(example = json!({"spec": {
    "persona": "You are a careful research analyst.", "instructions": "Cite every claim.",
    "model": "anthropic/claude-sonnet-4-6", "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"}}}))]
pub struct ReplaceAgent {
    /// As in the path.
    #[schema(nullable = false)]
    name: Option<String>,
    /// As it is: never changes.
    #[schema(nullable = false)]
    owner: Option<String>,
    /// What it shall be.
    spec: Spec,
}

/// A merge patch (RFC 7396): null takes a field out, a list replaces the whole list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(example = json!({"spec": {"model": "openai/gpt-5", "display_name": null}}))]
pub struct PatchAgent {
    /// What shall change; nothing, if it is left out.
    #[schema(value_type = Option<Object>, nullable = false)]
    spec: Option<Value>,
}
