//! Finding the agent that a request speaks of. Another owner's agent is not there.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use talon_core::{AgentName, Snapshot};
use talon_store::fleet::Actor;

use super::view::Tagged;
use crate::App;
use crate::auth::Caller;
use crate::http::{Answer, Kind, Problem};

/// The live agent of this name (or the one archived last, if wanted), if the caller may see it.
pub async fn find(
    app: &App,
    caller: &Caller,
    name: &str,
    archived: bool,
) -> Answer<Option<Snapshot>> {
    // Not every text can be asked for: a database may refuse a NUL.
    if AgentName::parse(name).is_err() {
        return Ok(None);
    }
    let found = app.store().get(name, archived).await?;
    Ok(found.filter(|s| caller.sees(&s.agent.owner)))
}

/// As [`find`]; 404 if there is none.
pub async fn must_find(app: &App, caller: &Caller, name: &str, archived: bool) -> Answer<Snapshot> {
    find(app, caller, name, archived).await?.ok_or_else(missing)
}

/// There is none.
pub fn missing() -> Problem {
    Problem::new(Kind::NotFound, "there is no agent of this name")
}

/// In whose name the caller writes.
pub fn actor(caller: &Caller) -> Actor {
    Actor {
        name: caller.name.to_string(),
        source: caller.source.to_string(),
    }
}

/// An agent as a response, with its tag.
pub fn response(status: StatusCode, snapshot: &Snapshot) -> Response {
    let tagged = Tagged::agent(snapshot);
    let mut response = (status, tagged.json).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&tagged.etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}
