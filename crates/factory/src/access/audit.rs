//! Who changed what.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use talon_store::access::Audit;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Admin;
use crate::http::{Answer, Kind, Params, Problem};

/// How much of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// The latest so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// Something that somebody changed; never a value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub struct AuditView {
    /// When.
    at: DateTime<Utc>,
    /// Who: `operator`, `token:` and an id, or a user of the database (`sql` where it knows none).
    actor: String,
    /// From where, if it came over HTTP.
    source: Option<String>,
    /// `insert`, `update`, `delete` of an agent, or another word.
    action: String,
    /// The agent, or what else it was.
    object: String,
    /// Names of the changed fields.
    fields: Vec<String>,
}

/// What was changed, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLog {
    /// The entries.
    items: Vec<AuditView>,
}

impl From<Audit> for AuditView {
    fn from(entry: Audit) -> Self {
        Self {
            at: entry.at,
            actor: entry.actor,
            source: entry.source,
            action: entry.action,
            object: entry.object,
            fields: entry.fields,
        }
    }
}

/// Who changed what, newest first, whatever way it came in. For tokens without an owner.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "access",
    security(("bearer" = ["admin"])), params(AuditParams),
    responses((status = 200, description = "The log", body = AuditLog)))]
pub async fn list(
    State(app): State<App>,
    Admin(caller): Admin,
    Params(params): Params<AuditParams>,
) -> Answer<Json<AuditLog>> {
    if caller.owner.is_some() {
        return Err(Problem::new(
            Kind::Forbidden,
            "the log speaks of every owner's agents: use a token without an owner",
        ));
    }
    let limit = params.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(Problem::new(Kind::Malformed, "limit must be 1 to 1000"));
    }
    let log = app.store().audit_log(limit).await?;
    let items = log.into_iter().map(AuditView::from).collect();
    Ok(Json(AuditLog { items }))
}
