//! Finding agents by what is needed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use talon_core::search::{AgentSearch, FoundAgent, SearchError};
use talon_router::MAX_QUERY;
use utoipa::{IntoParams, ToSchema};

use super::view::Found;
use crate::App;
use crate::auth::{Caller, Viewer};
use crate::http::{Answer, Kind, Params, Problem, ProblemBody};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 50;
/// How long the Router has.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to search for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParams {
    /// What is needed, in plain words: 1 to 2000 bytes.
    #[param(
        min_length = 1,
        max_length = 2000,
        example = "sum up scientific papers"
    )]
    q: String,
    /// How many agents at most.
    #[param(minimum = 1, maximum = 50, default = 10)]
    limit: Option<u32>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchResult {
    /// The agents, best first.
    items: Vec<Found>,
}

/// Agents that fit what is needed, best first: public ones and the caller's own.
#[utoipa::path(get, path = "/api/v1/router/search", operation_id = "search_agents", tag = "router",
    security(("bearer" = ["viewer"])), params(SearchParams), responses(
    (status = 200, description = "What was found", body = SearchResult),
    (status = 400, description = "The query cannot be read", content_type = "application/problem+json", body = ProblemBody),
    (status = 501, description = "This server has no search", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn search(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Params(params): Params<SearchParams>,
) -> Answer<Json<SearchResult>> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Kind::Malformed,
            format!("limit must be 1 to {MAX_LIMIT}"),
        ));
    }
    let found = find(&app, &caller, &params.q, limit).await?;
    let items = found.into_iter().map(Found::from).collect();
    Ok(Json(SearchResult { items }))
}

/// Searches as the caller.
pub async fn find(app: &App, caller: &Caller, query: &str, limit: u32) -> Answer<Vec<FoundAgent>> {
    if query.trim().is_empty() || query.len() > MAX_QUERY {
        return Err(Problem::new(
            Kind::Malformed,
            format!("a search has 1 to {MAX_QUERY} bytes of text"),
        ));
    }
    let router = router(app)?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let asker = caller.asker();
    let search = router.search(&asker, query, limit);
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found.map_err(problem),
        Err(_) => Err(unavailable()),
    }
}

/// The search of this server.
pub fn router(app: &App) -> Answer<&dyn AgentSearch> {
    app.search().map(|search| &**search).ok_or_else(not_here)
}

fn not_here() -> Problem {
    Problem::new(Kind::NotImplemented, "this server has no search")
}

/// What a failed search is over HTTP. The Router's own words may name the query: they are not passed on.
pub fn problem(error: SearchError) -> Problem {
    match error {
        SearchError::Invalid(_) => {
            Problem::new(Kind::Malformed, "the search cannot be answered as it is")
        }
        SearchError::NotHere => not_here(),
        SearchError::Unavailable(why) => {
            tracing::warn!(error = %why, "a search was not possible");
            unavailable()
        }
    }
}

fn unavailable() -> Problem {
    Problem::new(Kind::Unavailable, "the search is temporarily unavailable")
        .retry_after(Duration::from_secs(2))
}
