//! Whose token it is.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::tokens::TokenRole;
use crate::auth::{Role, Viewer};

/// Who asks, as this server knows them.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhoAmI {
    /// `operator`, or `token:` and the id of the token.
    name: String,
    /// What they may do.
    #[schema(value_type = TokenRole)]
    role: Role,
    /// Whose agents they see and change; null: everybody's.
    owner: Option<String>,
}

/// Who asks, and what they may do.
#[utoipa::path(get, path = "/api/v1/whoami", operation_id = "who_am_i", tag = "access",
    security(("bearer" = ["viewer"])), responses((status = 200, description = "Who asks", body = WhoAmI)))]
pub async fn whoami(Viewer(caller): Viewer) -> Json<WhoAmI> {
    Json(WhoAmI {
        name: caller.name.to_string(),
        role: caller.role,
        owner: caller.owner.map(|owner| owner.0),
    })
}
