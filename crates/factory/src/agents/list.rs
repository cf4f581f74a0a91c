//! Lists of agents, page by page, and the way into watching.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talon_core::Owner;
use talon_core::status::DeploymentStatus as Status;
use talon_store::fleet::{PageFilter, PagePlace};
use utoipa::{IntoParams, ToSchema};

use super::conditional::Conditional;
use super::full::{FullAgentList, View, encode};
use super::read::Include;
use super::view::{AgentView, DeploymentStatus, Tagged};
use super::watch::{self, WatchEvent, WatchMessage};
use crate::App;
use crate::auth::{Caller, Viewer};
use crate::http::{Answer, Kind, Params, Problem, ProblemBody};

const DEFAULT_SIZE: i64 = 100;
const MAX_SIZE: i64 = 500;
const MAX_TEXT: usize = 200;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum Flag {
    /// On.
    #[serde(rename = "1")]
    On,
    /// Off.
    #[serde(rename = "0")]
    Off,
}

/// Which agents, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only this status.
    #[param(inline, value_type = Option<DeploymentStatus>)]
    status: Option<Status>,
    /// Only this owner.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$")]
    owner: Option<String>,
    /// Only agents whose name or display name holds this text.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
    /// With `deleted`, also the records of deleted agents.
    #[param(inline)]
    include: Option<Include>,
    /// How many on a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    page_size: Option<i64>,
    /// Where to go on: the `next_page_token` of the page before, of a list with the same filter.
    page_token: Option<String>,
    /// Follow changes: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`, as server-sent events or, with
    /// `Accept: application/jsonl`, as lines of JSON. Without a place to begin, every agent comes first as `ADDED`.
    #[param(inline)]
    watch: Option<Flag>,
    /// With `full`, everything that is known of each agent (`FullAgent`), on a page and in a watch.
    #[param(inline)]
    view: Option<View>,
    /// Watch what changed after this: the `resource_version` of a list, or the id of an event (`Last-Event-ID` says the same).
    #[param(minimum = 0)]
    resource_version: Option<i64>,
}

/// A page of agents, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentList {
    /// The agents.
    items: Vec<AgentView>,
    /// Where the next page begins; null on the last one.
    next_page_token: Option<String>,
    /// Watch from here to miss nothing that came after this page was read.
    resource_version: i64,
    /// How many agents fit, at about this time.
    total_estimate: i64,
}

/// A page of agents; with `view=full`, with everything that is known of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub enum Listed {
    /// As most programs need them.
    Normal(AgentList),
    /// With everything.
    Full(FullAgentList),
}

/// What a page token says. Bound to the filter it was made with.
#[derive(Serialize, Deserialize)]
struct Place {
    name: String,
    id: talon_core::AgentId,
    filter: String,
}

/// Agents, in the order of their names; or, with `watch=1`, what happens to them.
#[utoipa::path(get, path = "/api/v1/openclaw/agents", operation_id = "list_agents", tag = "agents",
    security(("bearer" = ["viewer"])),
    params(ListParams,
        ("If-None-Match" = Option<String>, Header, description = "Tags the client has: 304 if one is this page's"),
        ("Last-Event-ID" = Option<i64>, Header, description = "Watch what came after this event")),
    responses(
        (status = 200, description = "A page, or a stream of changes", content(
            (Listed = "application/json"),
            (WatchMessage = "text/event-stream"),
            (WatchEvent = "application/jsonl"),
        ), headers(("ETag" = String, description = "The page's tag"))),
        (status = 304, description = "The client has it already"),
        (status = 410, description = "What came after this is no longer kept: list again", content_type = "application/problem+json", body = ProblemBody),
))]
pub async fn list(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Params(params): Params<ListParams>,
    conditional: Conditional,
    headers: HeaderMap,
) -> Answer<Response> {
    let filter = filter(&caller, &params)?;
    let from = watch::begin(&headers, params.resource_version)?;
    let view = params.view.unwrap_or_default();
    if params.watch == Some(Flag::On) {
        return watch::watch(app, &caller, filter, from, view, &headers).await;
    }
    let size = params.page_size.unwrap_or(DEFAULT_SIZE);
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(malformed(format!("page_size must be 1 to {MAX_SIZE}")));
    }
    let bound = bound_to(&filter);
    let after = params
        .page_token
        .as_deref()
        .map(|token| place(token, &bound))
        .transpose()?;
    let store = app.store();
    // Before the page: what changes in between is told twice rather than never.
    let resource_version = store.last_change().await?;
    let mut found = store.page(&filter, after.as_ref(), size + 1).await?;
    let total_estimate = store.count(&filter).await?;
    let more = i64::try_from(found.len()).is_ok_and(|n| n > size);
    if more {
        found.pop();
    }
    let next_page_token = found.last().filter(|_| more).map(|last| {
        let place = Place {
            name: last.agent.name.to_string(),
            id: last.agent.id,
            filter: bound,
        };
        BASE64URL_NOPAD.encode(&serde_json::to_vec(&place).unwrap_or_default())
    });
    if view == View::Full {
        let list = FullAgentList {
            items: found.iter().map(encode).collect(),
            next_page_token,
            resource_version,
            total_estimate,
        };
        let no_cache = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        return Ok((no_cache, axum::Json(list)).into_response());
    }
    let list = AgentList {
        items: found.iter().map(AgentView::from).collect(),
        next_page_token,
        resource_version,
        total_estimate,
    };
    Ok(page(&list, &conditional))
}

fn page(list: &AgentList, conditional: &Conditional) -> Response {
    let tagged = Tagged::new(&format!("l{}", list.resource_version), list);
    let mut response = if conditional.has(&tagged.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], tagged.json).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&tagged.etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Kind::Malformed, detail)
}

fn filter(caller: &Caller, params: &ListParams) -> Answer<PageFilter> {
    let wanted = match params.owner.as_deref().map(Owner::parse) {
        None => None,
        Some(Some(owner)) => Some(owner),
        Some(None) => return Err(malformed("owner has not the shape of one")),
    };
    if let (Some(own), Some(wanted)) = (&caller.owner, &wanted)
        && own != wanted
    {
        return Err(Problem::new(
            Kind::Forbidden,
            "the token is for another owner's agents",
        ));
    }
    if let Some(text) = &params.q {
        let fits = (1..=MAX_TEXT).contains(&text.chars().count());
        if !fits || text.chars().any(char::is_control) {
            return Err(malformed(format!(
                "q must be 1 to {MAX_TEXT} characters of one line"
            )));
        }
    }
    Ok(PageFilter {
        status: params.status,
        owner: caller.owner.clone().or(wanted),
        text: params.q.clone(),
        include_archived: params.include == Some(Include::Deleted),
    })
}

/// Tells two filters apart.
fn bound_to(filter: &PageFilter) -> String {
    hex::encode(&Sha256::digest(format!("{filter:?}"))[..8])
}

fn place(token: &str, bound: &str) -> Answer<PagePlace> {
    let place: Option<Place> = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    match place {
        Some(place) if place.filter == bound && !place.name.contains('\0') => Ok(PagePlace {
            name: place.name,
            id: place.id,
        }),
        Some(_) => Err(malformed(
            "page_token belongs to a list with another filter: begin again without it",
        )),
        None => Err(malformed("page_token is none of ours")),
    }
}
