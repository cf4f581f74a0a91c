//! `agent.search`: an agent looks for others.

use std::future::Future;
use std::time::Duration;

use serde_json::json;
use talon_core::search::{Asker, SearchError};

use crate::directory::Link;
use crate::fields::Fields;
use crate::frame::code;
use crate::session::SideJob;

const DEFAULT_LIMIT: u64 = 10;
const MAX_LIMIT: u64 = 50;
/// Longest query, in bytes.
const MAX_QUERY: usize = 2_000;
/// Longest wait for the Router.
const PATIENCE: Duration = Duration::from_secs(10);

/// In whose name an agent searches and delegates.
pub fn asker(link: &Link) -> Asker {
    Asker {
        agent: Some(link.name.clone()),
        owner: link.owner.clone(),
    }
}

/// Answers `{query, limit}` with `{items: […]}`.
pub fn run(job: SideJob, params: &Fields<'_>) -> impl Future<Output = ()> + Send + use<> {
    let query = params.text("query").unwrap_or_default();
    let limit = params
        .count("limit")
        .unwrap_or(DEFAULT_LIMIT)
        .clamp(1, MAX_LIMIT);
    async move {
        if query.trim().is_empty() || query.len() > MAX_QUERY {
            return job
                .error(code::INVALID_PARAMS, "query: 1 to 2000 bytes of text")
                .await;
        }
        let Some(router) = job.shared.search.clone() else {
            return job.error(code::INTERNAL, "this Hub has no search").await;
        };
        let asker = asker(&job.link);
        let limit = usize::try_from(limit).unwrap_or(1);
        let search = router.search(&asker, &query, limit);
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(Ok(items)) => job.result(json!({ "items": items })).await,
            Ok(Err(SearchError::Invalid(why))) => job.error(code::INVALID_PARAMS, &why).await,
            Ok(Err(SearchError::NotHere)) => {
                job.error(code::INTERNAL, "this Hub has no search").await;
            }
            Ok(Err(SearchError::Unavailable(_))) | Err(_) => {
                job.error(code::INTERNAL, "the search is temporarily unavailable")
                    .await;
            }
        }
    }
}
