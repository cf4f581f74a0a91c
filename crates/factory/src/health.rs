//! Whether the server lives, and whether it can work.

use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use talon_core::status::DeploymentStatus;
use talon_store::fleet::PageFilter;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Viewer;
use crate::http::{Answer, Kind, Problem, ProblemBody};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// Whether the server answers at all.
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses(
    (status = 200, description = "It does", content_type = "text/plain", body = String, example = "ok\n"),
))]
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the database answers.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "It does", content_type = "text/plain", body = String, example = "ok\n"),
    (status = 503, description = "It does not", content_type = "application/problem+json", body = ProblemBody),
))]
async fn readyz(State(app): State<App>) -> Answer<&'static str> {
    app.store().install().await?;
    Ok("ok\n")
}

/// What is counted, for Prometheus. Speaks of every owner's agents: for tokens without an owner.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("bearer" = ["viewer"])), responses(
    (status = 200, description = "Prometheus' text format", content_type = "text/plain", body = String),
    (status = 401, description = "No valid token", content_type = "application/problem+json", body = ProblemBody),
    (status = 403, description = "The token is for one owner only", content_type = "application/problem+json", body = ProblemBody),
))]
async fn metrics(State(app): State<App>, caller: Viewer) -> Answer<impl IntoResponse> {
    if caller.0.owner.is_some() {
        return Err(Problem::new(
            Kind::Forbidden,
            "metrics speak of every owner's agents: use a token without an owner",
        ));
    }
    let mut out = String::new();
    app.metrics().write(&mut out);
    out.push_str("# TYPE talon_agents gauge\n");
    for status in DeploymentStatus::ALL {
        let filter = PageFilter {
            status: Some(status),
            ..PageFilter::default()
        };
        let count = app.store().count(&filter).await?;
        out.push_str(&format!("talon_agents{{status=\"{status}\"}} {count}\n"));
    }
    if let Some(hub) = app.hub() {
        let stats = hub.stats();
        for (name, value) in [
            ("talon_hub_connections", stats.connections),
            ("talon_hub_registered", stats.registered),
            ("talon_hub_followers", stats.followers),
        ] {
            out.push_str(&format!("# TYPE {name} gauge\n{name} {value}\n"));
        }
    }
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        out,
    ))
}
