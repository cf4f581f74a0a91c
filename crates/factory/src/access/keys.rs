//! API keys over HTTP: with one, somebody lets agents that they run themselves into the Hub. A key is shown once, when it
//! is made.

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use talon_core::Owner;
use talon_core::presence::ApiKey;
use utoipa::ToSchema;

use super::asked::Asked;
use super::token::new_api_key;
use super::tokens::{note, shown_once};
use crate::App;
use crate::auth::{Admin, Caller};
use crate::http::{Answer, Json, Kind, Problem, ProblemBody};

/// An API key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"label": "laptop", "owner": "default", "expires_in_seconds": 7776000}))]
pub struct CreateKey {
    /// What it is for: one line of 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    label: String,
    /// Whose agents it lets in; the owner of the token that asks if left out, else `default`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    owner: Option<String>,
    /// After so many seconds it lets nobody in any more; never, if left out.
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in_seconds: Option<u64>,
}

/// An API key; not what is sent as one. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    /// Id by which it is listed and revoked.
    id: String,
    /// Whose agents it lets in.
    owner: String,
    /// What it is for.
    label: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it stops working.
    expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    revoked_at: Option<DateTime<Utc>>,
}

/// An API key that was made just now.
#[derive(Serialize, ToSchema)]
pub struct MadeKey {
    /// The key itself. Shown this once.
    key: String,
    /// What is known of it.
    #[serde(flatten)]
    view: KeyView,
}

/// API keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    items: Vec<KeyView>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            owner: key.owner,
            label: key.label,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

fn own(caller: &Caller) -> Option<&str> {
    caller.owner.as_ref().map(|owner| owner.0.as_str())
}

/// The API keys of the caller's owner; for a token without an owner, all there are.
#[utoipa::path(get, path = "/api/v1/keys", operation_id = "list_keys", tag = "access",
    security(("bearer" = ["admin"])), responses((status = 200, description = "The keys", body = KeyList)))]
pub async fn list(State(app): State<App>, Admin(caller): Admin) -> Answer<JsonAnswer<KeyList>> {
    let keys = app.store().api_keys(own(&caller)).await?;
    let items = keys.into_iter().map(KeyView::from).collect();
    Ok(JsonAnswer(KeyList { items }))
}

/// Makes an API key. A token with an owner makes keys of that owner only.
#[utoipa::path(post, path = "/api/v1/keys", operation_id = "create_key", tag = "access",
    security(("bearer" = ["admin"])), request_body = CreateKey, responses(
    (status = 201, description = "The key, this once", body = MadeKey),
    (status = 422, description = "It can never be made as written", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn create(State(app): State<App>, Admin(caller): Admin, body: Json) -> Answer<Response> {
    let asked: CreateKey = body.typed()?;
    let owner = checked(&caller, &asked)?;
    let key = new_api_key(app.random());
    let expires_in = asked.expires_in_seconds.map(Duration::from_secs);
    let made = app
        .store()
        .create_api_key(&owner.0, &asked.label, &key.sha256_hex(), expires_in)
        .await?;
    note(&app, &caller, "key_create", &made.id).await?;
    let answer = MadeKey {
        key: shown_once(&key),
        view: made.into(),
    };
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, JsonAnswer(answer)).into_response())
}

/// Whose key it will be; everything that is wrong at once.
fn checked(caller: &Caller, body: &CreateKey) -> Answer<Owner> {
    let mut asked = Asked::by(caller);
    asked.label(&body.label);
    let owner = asked.owner(body.owner.as_deref()).unwrap_or_default();
    asked.seconds(body.expires_in_seconds);
    asked.done("key")?;
    Ok(owner)
}

/// Revokes an API key: it lets nobody in from now on, and connections of its agents end within two minutes.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", operation_id = "revoke_key", tag = "access",
    security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The key's id")), responses(
    (status = 204, description = "It is revoked"),
    (status = 404, description = "No such key, or revoked before", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn revoke(
    State(app): State<App>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let known = app.store().api_keys(own(&caller)).await?;
    if !known.iter().any(|key| key.id == id) || !app.store().revoke_api_key(&id).await? {
        return Err(Problem::new(
            Kind::NotFound,
            "there is no key of this id that is not revoked",
        ));
    }
    note(&app, &caller, "key_revoke", &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
