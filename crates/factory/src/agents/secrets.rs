//! Keys of agents: written through to the Worker, listed by name, never read back.
//!
//! A key's value is in no response, no problem, no log line and no audit entry; what is said of a failed write is whether
//! the value is stored, as far as anybody can tell.

use std::sync::Arc;

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talon_core::secret::{Provider, SecretValue};
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter};
use talon_core::{Agent, AgentId, AgentName};
use talon_store::access::NewAudit;
use utoipa::ToSchema;

use super::look::{actor, must_find};
use super::view::SecretView;
use crate::App;
use crate::auth::{Caller, SecretWriter as Writer, Viewer};
use crate::http::{Answer, FieldError, Json, Kind, Problem, ProblemBody};

/// The secrets of an agent's Worker; names and fingerprints.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretList {
    items: Vec<SecretView>,
}

/// A key for an agent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "the bare key"}))]
pub struct PutSecret {
    /// The bare key: one line of text. It reaches the agent's Worker and nothing else.
    #[schema(write_only, format = Password, min_length = 1, max_length = 65536)]
    value: String,
}

/// What is known of each secret of the agent's Worker. There is no way to read a value.
#[utoipa::path(get, path = "/api/v1/openclaw/agents/{name}/secrets", operation_id = "list_secrets", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 200, description = "The secrets, by name", body = SecretList),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn list(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
) -> Answer<Response> {
    let found = must_find(&app, &caller, &name, false).await?;
    let items = found.secrets.iter().map(SecretView::from).collect();
    Ok(unstored(JsonAnswer(SecretList { items })))
}

/// Puts a key on the agent's Worker, in one call to Cloudflare. `value_stored` of a problem says whether it got there:
/// `false`, or `"unknown"` where the answer was lost; doing the same again is safe.
#[utoipa::path(put, path = "/api/v1/openclaw/agents/{name}/secrets/{key}", operation_id = "set_secret", tag = "agents",
    security(("bearer" = ["secret-writer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"),
        ("key" = String, Path, description = "The name of a provider's key", example = "ANTHROPIC_API_KEY")),
    request_body = PutSecret, responses(
    (status = 204, description = "It is on the Worker"),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "The state of the agent forbids it, or somebody works on it", content_type = "application/problem+json", body = ProblemBody),
    (status = 422, description = "It cannot be a key, or not be called so", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server takes no keys", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn set(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((name, key)): Path<(String, String)>,
    body: Json,
) -> Answer<Response> {
    let PutSecret { value } = body.typed()?;
    let value = SecretValue::new(value);
    let (writer, agent, key) = target(&app, &caller, &name, &key).await?;
    let _place = app.write_keys(&caller, Some(agent.id))?;
    note(&app, &caller, "set_secret", &agent.name, &[&key]).await?;
    let stored = writer.set_keys(agent.id, vec![(key, value)]).await;
    stored.map_err(|error| problem(error, "/value"))?;
    Ok(unstored(StatusCode::NO_CONTENT))
}

/// Takes a key that was put there over HTTP from the agent's Worker.
#[utoipa::path(delete, path = "/api/v1/openclaw/agents/{name}/secrets/{key}", operation_id = "unset_secret", tag = "agents",
    security(("bearer" = ["secret-writer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro"),
        ("key" = String, Path, description = "The name of a provider's key", example = "ANTHROPIC_API_KEY")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "No such agent, or it has no such key", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "It comes by a reference, or somebody works on the agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 422, description = "That is not the name of a key", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server takes no keys", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn unset(
    State(app): State<App>,
    Writer(caller): Writer,
    Path((name, key)): Path<(String, String)>,
) -> Answer<Response> {
    let (writer, agent, key) = target(&app, &caller, &name, &key).await?;
    let _place = app.write_keys(&caller, Some(agent.id))?;
    note(&app, &caller, "unset_secret", &agent.name, &[&key]).await?;
    let gone = writer.unset_key(agent.id, &key).await;
    if gone.map_err(|error| problem(error, ""))? {
        Ok(unstored(StatusCode::NO_CONTENT))
    } else {
        let text = "the agent has no key of this name";
        Err(Problem::new(Kind::NotFound, text))
    }
}

/// Gives the agent another token for the Hub. The Hub accepts the old one until the new one is there.
#[utoipa::path(post, path = "/api/v1/openclaw/agents/{name}/rotate-auth", operation_id = "rotate_auth", tag = "agents",
    security(("bearer" = ["secret-writer"])),
    params(("name" = String, Path, description = "The agent's name", example = "research-pro")), responses(
    (status = 204, description = "It has another token"),
    (status = 404, description = "No such agent", content_type = "application/problem+json", body = ProblemBody),
    (status = 409, description = "It is not deployed, or somebody works on it", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server takes no keys", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn rotate_auth(
    State(app): State<App>,
    Writer(caller): Writer,
    Path(name): Path<String>,
) -> Answer<Response> {
    let found = must_find(&app, &caller, &name, false).await?;
    let writer = writer(&app)?;
    let agent = found.agent;
    let _place = app.write_keys(&caller, Some(agent.id))?;
    note(&app, &caller, "rotate_auth", &agent.name, &[]).await?;
    let rotated = writer.rotate_auth(agent.id).await;
    rotated.map_err(|error| problem(error, ""))?;
    Ok(unstored(StatusCode::NO_CONTENT))
}

fn writer(app: &App) -> Answer<Arc<dyn SecretWriter>> {
    app.secrets().cloned().ok_or_else(|| {
        Problem::new(
            Kind::NotImplemented,
            "this server takes no keys: refer to them in spec.api_key_refs",
        )
    })
}

async fn target(
    app: &App,
    caller: &Caller,
    name: &str,
    key: &str,
) -> Answer<(Arc<dyn SecretWriter>, Agent, KeyName)> {
    let found = must_find(app, caller, name, false).await?;
    let writer = writer(app)?;
    let key = KeyName::parse(key).ok_or_else(|| {
        Problem::new(
            Kind::Invalid,
            "the last part of the path is the name of a provider's key, such as ANTHROPIC_API_KEY",
        )
    })?;
    Ok((writer, found.agent, key))
}

/// Who asked for what, once it may be and before it is done: a key on a Worker of which the log says nothing must not be.
async fn note(
    app: &App,
    caller: &Caller,
    action: &str,
    agent: &AgentName,
    keys: &[&KeyName],
) -> Answer<()> {
    let entry = NewAudit {
        action: action.to_owned(),
        object: agent.to_string(),
        fields: keys.iter().map(ToString::to_string).collect(),
    };
    Ok(app.store().audit(&actor(caller), &entry).await?)
}

/// Neither browsers nor proxies keep it.
fn unstored(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

/// What became of it, as a problem. `pointer`: where the value stood in the body.
fn problem(error: SecretWriteError, pointer: &str) -> Problem {
    let (stored, wait) = (error.value_stored(), error.retry_after());
    let text = error.to_string();
    let problem = match error {
        SecretWriteError::NotFound => return super::look::missing(),
        SecretWriteError::Invalid(_) => {
            let wrong = FieldError {
                pointer: pointer.to_owned(),
                code: "invalid".to_owned(),
                detail: text,
            };
            Problem::new(Kind::Invalid, "that cannot be a key").with_errors(vec![wrong])
        }
        SecretWriteError::Conflict(_) | SecretWriteError::Busy { .. } => {
            Problem::new(Kind::Conflict, text)
        }
        SecretWriteError::Failed { .. } if wait.is_none() => Problem::new(Kind::Conflict, text),
        SecretWriteError::Failed { .. } | SecretWriteError::Unknown(_) => {
            Problem::new(Kind::Unavailable, text)
        }
    };
    let problem = problem.value_stored(stored);
    match wait {
        Some(wait) => problem.retry_after(wait),
        None => problem,
    }
}

/// The keys of a body's `api_keys`, by provider; everything that is wrong at once.
pub fn handed_in(keys: Option<Value>) -> Result<Vec<(KeyName, SecretValue)>, Vec<FieldError>> {
    let mut taken = Vec::new();
    let mut errors = Vec::new();
    let mut wrong = |detail: String| {
        // The name of a provider may be a key in the wrong place: it is not pointed at.
        errors.push(FieldError {
            pointer: "/api_keys".to_owned(),
            code: "invalid".to_owned(),
            detail,
        });
    };
    for (provider, value) in keys.into_iter().flat_map(|keys| match keys {
        Value::Object(keys) => keys,
        _ => serde_json::Map::new(),
    }) {
        let name = KeyName::of(&Provider(provider));
        let value = match value {
            Value::String(value) => Some(SecretValue::new(value)),
            _ => None,
        };
        match (name, value) {
            (Some(name), Some(value)) => match value.unusable() {
                None => taken.push((name, value)),
                Some(why) => wrong(format!("the value of {name} {why}: hand in the bare key")),
            },
            (None, _) => wrong("a name is not a provider's, as before the / of a model".to_owned()),
            (Some(name), None) => wrong(format!("the value of {name} is not text")),
        }
    }
    if errors.is_empty() {
        Ok(taken)
    } else {
        Err(errors)
    }
}

/// Hands in the keys of an agent that was just made.
pub async fn hand_in(
    app: &App,
    caller: &Caller,
    (id, agent): (AgentId, &AgentName),
    keys: Vec<(KeyName, SecretValue)>,
) -> Answer<()> {
    let writer = writer(app)?;
    let names: Vec<&KeyName> = keys.iter().map(|(name, _)| name).collect();
    note(app, caller, "set_secret", agent, &names).await?;
    let stored = writer.set_keys(id, keys).await;
    stored.map(drop).map_err(|error| {
        problem(error, "/api_keys")
            .about("the agent is made; hand its keys in by PUT to its secrets/KEY, since its name is taken from now on")
            .never_again()
    })
}

/// Whether keys can be handed in here at all.
pub fn takes_keys(app: &App, caller: &Caller) -> Answer<()> {
    writer(app)?;
    if caller.role < crate::auth::Role::SecretWriter {
        return Err(Problem::new(
            Kind::Forbidden,
            "the role of this token does not allow keys: leave api_keys out, or use a token of the role secret-writer",
        ));
    }
    Ok(())
}
