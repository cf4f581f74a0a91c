//! The REST API: who calls, whether they may, and which handler answers.

pub(crate) mod account;
pub(crate) mod objects;
pub(crate) mod r2;
pub(crate) mod tails;
pub(crate) mod tokens;
pub(crate) mod versions;
pub(crate) mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method};
use serde_json::Value;

use crate::multipart::{self, Part};
use crate::operation::{NoRoute, Op, Route, percent_decode};
use crate::reply::{ApiError, Handled, Reply};
use crate::runner::Deployed;
use crate::world::World;
use crate::world::metadata::Submission;
use crate::world::permission;
use crate::world::token::Token;

/// A request as it came, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Still percent-encoded.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The query, decoded; a later value replaces an earlier one.
    pub(crate) fn query_map(&self) -> BTreeMap<String, String> {
        self.query
            .as_deref()
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|pair| {
                let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
                let decode = |s: &str| percent_decode(&s.replace('+', " "));
                (decode(k), decode(v))
            })
            .collect()
    }

    /// The bearer token, if there is a well-formed one.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?
            .strip_prefix("Bearer ")
            .map(str::trim)
            .filter(|t| !t.is_empty())
    }
}

/// What a handler gets.
pub(crate) struct Cx<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) now: DateTime<Utc>,
    pub(crate) request: &'a Request,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) params: &'a [String],
    pub(crate) token: Arc<Token>,
}

impl Cx<'_> {
    /// A path parameter.
    pub(crate) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// The JSON body, whatever its content type says.
    pub(crate) fn json(&self) -> Handled<Value> {
        serde_json::from_slice(&self.request.body)
            .map_err(|_| ApiError::bad_body("The request body is not valid JSON."))
    }

    /// Whether a query parameter is `true`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|v| v == "true")
    }

    /// `per_page` and the like, within bounds.
    pub(crate) fn number(&self, name: &str, default: usize, max: usize) -> usize {
        self.query
            .get(name)
            .and_then(|v| v.parse().ok())
            .filter(|n| *n >= 1)
            .unwrap_or(default)
            .min(max)
    }

    /// The parts of a multipart body; 10001 for any other content type.
    pub(crate) fn form(&self) -> Handled<Vec<Part>> {
        let boundary = multipart::boundary(self.request.header("content-type").unwrap_or_default())
            .ok_or_else(|| {
                ApiError::new(
                    400,
                    10001,
                    "Content-Type must be 'multipart/form-data' for this request.",
                )
            })?;
        multipart::parse(&self.request.body, &boundary)
            .ok_or_else(|| ApiError::bad_body("The multipart body could not be parsed."))
    }
}

/// Answers a request to `/client/v4/…`.
pub(crate) fn answer(
    world: &mut World,
    request: &Request,
    route: &Result<Route, NoRoute>,
    now: DateTime<Utc>,
) -> Reply {
    handle(world, request, route, now).unwrap_or_else(Reply::from)
}

fn handle(
    world: &mut World,
    request: &Request,
    route: &Result<Route, NoRoute>,
    now: DateTime<Utc>,
) -> Handled {
    let route = match route {
        Ok(route) => route,
        Err(NoRoute::WrongMethod) => {
            return Err(ApiError::new(
                405,
                10405,
                "Method not allowed for this authentication scheme",
            ));
        }
        Err(NoRoute::Unknown) => return Err(could_not_route(&request.path)),
    };
    let token = admitted(world, request, route, now)?;
    dispatch(
        route.op,
        Cx {
            world,
            now,
            request,
            query: request.query_map(),
            params: &route.params,
            token,
        },
    )
}

/// The code that an upload would run, if everything else about it is acceptable. Changes nothing.
pub(crate) fn candidate(
    world: &mut World,
    request: &Request,
    route: &Route,
    now: DateTime<Utc>,
) -> Option<(String, Deployed)> {
    let live = match route.op {
        Op::WorkerUpload => true,
        Op::VersionCreate => false,
        _ => return None,
    };
    let token = admitted(world, request, route, now).ok()?;
    let cx = Cx {
        world,
        now,
        request,
        query: request.query_map(),
        params: &route.params,
        token,
    };
    let submission = Submission::from_parts(cx.form().ok()?, now).ok()?;
    let (name, terms) = (cx.param(0).to_owned(), workers::terms(&cx));
    let deployed = cx
        .world
        .candidate(&name, submission, terms, live, now)
        .ok()?;
    Some((name, deployed))
}

/// Whether the caller may do this at all.
fn admitted(
    world: &World,
    request: &Request,
    route: &Route,
    now: DateTime<Utc>,
) -> Handled<Arc<Token>> {
    let token = authenticate(world, request, route.op, now)?;
    if route
        .account
        .as_ref()
        .is_some_and(|a| *a != world.account_id)
    {
        return Err(could_not_route(&request.path));
    }
    let endpoint = route.op.endpoint();
    if !permission::allows(&token, &world.account_id, endpoint.area, endpoint.class) {
        return Err(ApiError::forbidden());
    }
    Ok(token)
}

fn could_not_route(path: &str) -> ApiError {
    let shown = path.strip_prefix("/client/v4").unwrap_or(path);
    let mut e = ApiError::new(
        404,
        7003,
        format!("Could not route to {shown}, perhaps your object identifier is invalid?"),
    );
    e.also.push((7000, "No route for that URI".to_owned()));
    e
}

fn authenticate(
    world: &World,
    request: &Request,
    op: Op,
    now: DateTime<Utc>,
) -> Handled<Arc<Token>> {
    let verifying = matches!(op, Op::TokenVerify | Op::UserTokenVerify);
    let Some(header) = request.header("authorization") else {
        return Err(if verifying {
            ApiError::new(401, 1001, "Missing authorization header")
        } else {
            ApiError::new(
                400,
                9106,
                "Missing X-Auth-Key, X-Auth-Email or Authorization headers",
            )
        });
    };
    let malformed = || {
        let mut e = ApiError::new(400, 6003, "Invalid request headers");
        e.also
            .push((6111, "Invalid format for Authorization header".to_owned()));
        e
    };
    let value = request
        .bearer()
        .filter(|v| v.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(malformed)?;
    if header.len() > 512 {
        return Err(malformed());
    }
    world.token_by_value(value, now).ok_or_else(|| {
        if verifying {
            ApiError::new(401, 1000, "Invalid API Token")
        } else {
            ApiError::new(403, 9109, "Invalid access token")
        }
    })
}

fn dispatch(op: Op, cx: Cx<'_>) -> Handled {
    match op {
        Op::GraphQl => r2::metrics(&cx),
        Op::UserGet => account::user(&cx),
        Op::UserTokenVerify => account::verify_user_token(&cx),
        Op::MembershipsList => account::memberships(&cx),
        Op::AccountsList => account::list(&cx),
        Op::AccountGet => account::get(&cx),
        Op::TokenVerify => tokens::verify(&cx),
        Op::PermissionGroups => tokens::permission_groups(&cx),
        Op::TokenList => tokens::list(cx),
        Op::TokenCreate => tokens::create(cx),
        Op::TokenGet => tokens::get(cx),
        Op::TokenDelete => tokens::delete(cx),
        Op::TokenRoll => tokens::roll(cx),
        Op::SubdomainGet => account::subdomain(&cx),
        Op::SubdomainPut => account::register_subdomain(cx),
        Op::WorkerList => workers::list(cx),
        Op::WorkerUpload => workers::upload(cx),
        Op::WorkerContent => workers::content(cx),
        Op::WorkerDelete => workers::delete(cx),
        Op::SettingsGet => workers::settings(cx),
        Op::SettingsPatch => workers::patch_settings(cx),
        Op::ScriptSettingsGet => workers::script_settings(cx),
        Op::ScriptSettingsPatch => workers::patch_script_settings(cx),
        Op::SecretList => workers::secrets(cx),
        Op::SecretPut => workers::put_secret(cx),
        Op::SecretGet => workers::get_secret(cx),
        Op::SecretDelete => workers::delete_secret(cx),
        Op::SecretBulk => workers::bulk_secrets(cx),
        Op::RouteGet => workers::route(cx),
        Op::RoutePost => workers::set_route(cx),
        Op::RouteDelete => workers::delete_route(cx),
        Op::SchedulesGet => versions::schedules(cx),
        Op::SchedulesPut => versions::put_schedules(cx),
        Op::TailCreate => tails::create(cx),
        Op::TailGet => tails::latest(cx),
        Op::TailDelete => tails::delete(cx),
        Op::VersionList => versions::list(cx),
        Op::VersionCreate => versions::create(cx),
        Op::VersionGet => versions::get(cx),
        Op::DeploymentList => versions::deployments(cx),
        Op::DeploymentCreate => versions::deploy(cx),
        Op::ServiceGet => versions::service(cx),
        Op::ServiceDelete => versions::delete_service(cx),
        Op::BetaWorkerGet => versions::beta(cx),
        Op::DurableObjectNamespaces => versions::namespaces(&cx),
        Op::ContainerList | Op::KvList => account::nothing(),
        Op::BucketCreate => r2::create(cx),
        Op::BucketList => r2::list(cx),
        Op::BucketGet => r2::get(cx),
        Op::BucketDelete => r2::delete(cx),
        Op::ObjectList => objects::list(&cx),
        Op::ObjectBulkDelete => objects::bulk_delete(cx),
        Op::ObjectGet => objects::get(&cx),
        Op::ObjectPut => objects::put(cx),
        Op::ObjectDelete => objects::delete(cx),
    }
}
