//! API tokens over HTTP: made, listed, revoked. A token is shown once, when it is made.

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use talon_store::access::{ApiToken, NewAudit, NewToken};
use utoipa::ToSchema;

use super::asked::{Asked, MAX_DAYS};
use super::token::new_token;
use crate::App;
use crate::agents::actor;
use crate::auth::{Admin, Caller, Role};
use crate::http::{Answer, Json, Kind, Problem, ProblemBody};

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"label": "ci", "role": "operator", "owner": "default", "expires_in_days": 90}))]
pub struct CreateToken {
    /// What it is for: one line of 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    label: String,
    /// What it allows. Each role may do what the ones before it may.
    #[schema(value_type = TokenRole)]
    role: Role,
    /// Whose agents it sees and changes; everybody's if left out (only a token without an owner may make one).
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    owner: Option<String>,
    /// After so many days it stops working; never, if left out.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u64>,
    /// The same in seconds, in place of days.
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in_seconds: Option<u64>,
}

/// What a token allows, the least first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
pub enum TokenRole {
    /// Reads.
    Viewer,
    /// Creates, changes and deletes agents, and gives them tasks.
    Operator,
    /// Sets the keys of agents.
    SecretWriter,
    /// Makes tokens, and holds everything.
    Admin,
}

/// A token; not what is sent as one. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// Id by which it is listed and revoked.
    id: String,
    /// What it is for.
    label: String,
    /// What it allows.
    #[schema(value_type = TokenRole)]
    role: Role,
    /// Whose agents it sees and changes; null: everybody's.
    owner: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it stops working.
    expires_at: Option<DateTime<Utc>>,
    /// When it was last used; noted once a minute.
    last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    revoked_at: Option<DateTime<Utc>>,
}

/// A token that was made just now.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    /// What is sent as `Authorization: Bearer`. Shown this once.
    token: String,
    /// What is known of it.
    #[serde(flatten)]
    view: TokenView,
}

/// Tokens, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// The tokens.
    items: Vec<TokenView>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            label: token.label,
            role: token.role,
            owner: token.owner.map(|owner| owner.0),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

/// The tokens of the caller's owner; for a token without an owner, all there are.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "access",
    security(("bearer" = ["admin"])), responses((status = 200, description = "The tokens", body = TokenList)))]
pub async fn list(State(app): State<App>, Admin(caller): Admin) -> Answer<JsonAnswer<TokenList>> {
    let tokens = app.store().tokens(caller.owner.as_ref()).await?;
    let items = tokens.into_iter().map(TokenView::from).collect();
    Ok(JsonAnswer(TokenList { items }))
}

/// Makes a token. A token with an owner makes tokens of that owner only.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token", tag = "access",
    security(("bearer" = ["admin"])), request_body = CreateToken, responses(
    (status = 201, description = "The token, this once", body = MadeToken),
    (status = 422, description = "It can never be made as written", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn create(State(app): State<App>, Admin(caller): Admin, body: Json) -> Answer<Response> {
    let wanted = wanted(&caller, body.typed()?)?;
    let token = new_token(app.random());
    let new = NewToken {
        sha256: token.sha256_hex(),
        ..wanted
    };
    let made = app.store().create_token(&new).await?;
    note(&app, &caller, "token_create", &made.id).await?;
    let answer = MadeToken {
        token: shown_once(&token),
        view: made.into(),
    };
    let no_store = HeaderValue::from_static("no-store");
    let headers = [(header::CACHE_CONTROL, no_store)];
    Ok((StatusCode::CREATED, headers, JsonAnswer(answer)).into_response())
}

/// The one moment at which a token is not a secret: whoever made it must be told.
#[allow(clippy::disallowed_methods)]
pub fn shown_once(token: &talon_core::secret::SecretValue) -> String {
    token.expose().to_owned()
}

fn wanted(caller: &Caller, body: CreateToken) -> Answer<NewToken> {
    let mut asked = Asked::by(caller);
    asked.label(&body.label);
    let owner = asked.owner(body.owner.as_deref());
    let days = body.expires_in_days;
    if days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
        asked.wrong("/expires_in_days", format!("must be 1 to {MAX_DAYS}"));
    }
    let seconds = body.expires_in_seconds;
    asked.seconds(seconds);
    if days.is_some() && seconds.is_some() {
        let detail = "expires_in_days says it already: leave one of them out";
        asked.wrong("/expires_in_seconds", detail);
    }
    asked.done("token")?;
    Ok(NewToken {
        label: body.label,
        role: body.role,
        owner,
        sha256: String::new(),
        expires_in: seconds
            .or(days.map(|days| days * 86_400))
            .map(Duration::from_secs),
    })
}

/// Revokes a token: it is not accepted from now on.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "access",
    security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The token's id")), responses(
    (status = 204, description = "It is revoked"),
    (status = 404, description = "No such token, or revoked before", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn revoke(
    State(app): State<App>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let own = app.store().tokens(caller.owner.as_ref()).await?;
    let known = own.iter().any(|token| token.id == id);
    if !known || !app.store().revoke_token(&id).await? {
        return Err(Problem::new(
            Kind::NotFound,
            "there is no token of this id that is not revoked",
        ));
    }
    note(&app, &caller, "token_revoke", &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn note(app: &App, caller: &Caller, action: &str, id: &str) -> Answer<()> {
    let entry = NewAudit {
        action: action.to_owned(),
        object: id.to_owned(),
        fields: Vec::new(),
    };
    Ok(app.store().audit(&actor(caller), &entry).await?)
}
