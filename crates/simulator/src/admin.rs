//! The steering endpoints, below `/__admin`: faults, conditions, the call log, the state, and edits behind Talon's back.
//!
//! They need no token: the simulator is for one machine and listens on the loopback address by default.

use std::net::IpAddr;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use talon_core::spec::Jurisdiction;

use crate::config::Quota;
use crate::faults::FaultRule;
use crate::operation::operation_names;
use crate::reply::Reply;
use crate::rest::Request;
use crate::shared::Shared;
use crate::world::bucket::jurisdiction;
use crate::world::conditions::Conditions;
use crate::world::outside::WorkerEdit;

/// Body of `POST /__admin/objects`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filling {
    bucket: String,
    #[serde(default)]
    jurisdiction: Jurisdiction,
    #[serde(default)]
    count: usize,
    #[serde(default = "default_prefix")]
    prefix: String,
    #[serde(default)]
    pending_uploads: usize,
}

fn default_prefix() -> String {
    "object-".to_owned()
}

/// Body of `PUT /__admin/workers/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Foreign {
    tags: Option<Vec<String>>,
}

/// Body of `PUT /__admin/quota`; `null` switches it off.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuota {
    limit: u32,
    window_s: u64,
}

type Steered = Result<Value, (StatusCode, String)>;

/// Answers a request to the steering endpoints: plain JSON, `{"error": …}` on failure.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Reply {
    let steered = if is_of_a_web_page(request) {
        let message = "web pages may not steer: use curl".to_owned();
        Err((StatusCode::FORBIDDEN, message))
    } else {
        steer(shared, request)
    };
    match steered {
        Ok(value) => Reply::json(StatusCode::OK, &value),
        Err((status, message)) => Reply::json(status, &json!({"error": message})),
    }
}

/// Whether a page in a browser asks. Without a token, nothing else keeps any page that is open on this machine away:
/// browsers name the page's origin with every request that may change something, and a page that had its own name
/// resolved to the loopback address (DNS rebinding) still calls it by that name, which has a dot.
fn is_of_a_web_page(request: &Request) -> bool {
    let cross = request
        .header("sec-fetch-site")
        .is_some_and(|site| !matches!(site, "none" | "same-origin"));
    let host = request.header("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let rebound = name.contains('.') && !is_address && !name.ends_with(".localhost");
    request.header("origin").is_some() || cross || rebound
}

fn steer(shared: &Shared, request: &Request) -> Steered {
    let path: Vec<&str> = request
        .path
        .split('/')
        .filter(|s| !s.is_empty())
        .skip(1)
        .collect();
    let query = request.query_map();
    let (get, post, put, delete) = (
        request.method == Method::GET,
        request.method == Method::POST,
        request.method == Method::PUT,
        request.method == Method::DELETE,
    );
    match path.as_slice() {
        [] if get => Ok(json!({"endpoints": ENDPOINTS})),
        ["operations"] if get => Ok(json!(operation_names())),
        ["calls"] if get => {
            let since = query.get("since").and_then(|s| s.parse().ok()).unwrap_or(0);
            let mut calls = shared.calls();
            calls.retain(|c| {
                c.seq > since && query.get("operation").is_none_or(|o| *o == c.operation)
            });
            Ok(json!(calls))
        }
        ["calls"] if delete => {
            shared.clear_calls();
            Ok(json!({}))
        }
        ["state"] if get => Ok(json!(shared.with_world(|w, _| w.state()))),
        ["faults"] if get => Ok(json!(shared.with_faults(|f| f.report()))),
        ["faults"] if post => {
            let rules: Vec<FaultRule> = body(request)?;
            shared
                .with_faults(|f| f.add(rules))
                .map_err(|e| (StatusCode::BAD_REQUEST, e))?;
            Ok(json!(shared.with_faults(|f| f.report())))
        }
        ["faults"] if delete => {
            shared.with_faults(|f| f.clear());
            Ok(json!([]))
        }
        ["conditions"] if get => Ok(json!(shared.with_world(|w, _| w.conditions.clone()))),
        ["conditions"] if put => change_conditions(shared, body(request)?),
        ["quota"] if put => {
            let quota: Option<NewQuota> = body(request)?;
            shared.with_quota(|q| {
                q.set(quota.map(|q| Quota {
                    limit: q.limit,
                    window: std::time::Duration::from_secs(q.window_s),
                }))
            });
            Ok(json!({}))
        }
        ["objects"] if post => fill(shared, &body(request)?),
        ["workers", name] if put => {
            let foreign: Foreign = if request.body.is_empty() {
                Foreign::default()
            } else {
                body(request)?
            };
            shared
                .with_world(|w, now| w.put_foreign_worker(name, foreign.tags, now))
                .map_err(|e| (StatusCode::BAD_REQUEST, e.message))?;
            Ok(json!({}))
        }
        ["workers", name, "edit"] if post => {
            let edit: WorkerEdit = body(request)?;
            found(shared.with_world(|w, now| w.edit_worker(name, &edit, now)))
        }
        ["workers", name] if delete => {
            found(shared.with_world(|w, now| w.remove_worker(name, now)))
        }
        ["buckets", name] if delete => {
            let jurisdiction = jurisdiction(query.get("jurisdiction").map(String::as_str))
                .ok_or((StatusCode::BAD_REQUEST, "unknown jurisdiction".to_owned()))?;
            let key = (jurisdiction, (*name).to_owned());
            found(shared.with_world(|w, now| w.remove_bucket(&key, now)))
        }
        ["tokens", id] if delete => found(shared.with_world(|w, now| w.remove_token(id, now))),
        _ => Err((
            StatusCode::NOT_FOUND,
            "no such steering endpoint; GET /__admin lists them".to_owned(),
        )),
    }
}

const ENDPOINTS: &[&str] = &[
    "GET /__admin/operations",
    "GET /__admin/calls?since=&operation=",
    "DELETE /__admin/calls",
    "GET /__admin/state",
    "GET /__admin/faults",
    "POST /__admin/faults [{match, kind, probability, times, skip}] (adds)",
    "DELETE /__admin/faults",
    "GET /__admin/conditions",
    "PUT /__admin/conditions {…} (what is not named stays)",
    "PUT /__admin/quota {limit, window_s} | null",
    "POST /__admin/objects {bucket, jurisdiction, count, prefix, pending_uploads}",
    "PUT /__admin/workers/{name} {tags} (a foreign Worker)",
    "POST /__admin/workers/{name}/edit {tags, code, drop_secrets, drop_bindings, enabled, leave_undeployed}",
    "DELETE /__admin/workers/{name}",
    "DELETE /__admin/buckets/{name}?jurisdiction=",
    "DELETE /__admin/tokens/{id}",
];

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(&request.body)
        .map_err(|e| (StatusCode::BAD_REQUEST, format!("bad body: {e}")))
}

fn found(found: bool) -> Steered {
    if found {
        Ok(json!({}))
    } else {
        Err((StatusCode::NOT_FOUND, "nothing of that name".to_owned()))
    }
}

fn change_conditions(shared: &Shared, patch: Value) -> Steered {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let Value::Object(mut patch) = patch else {
        return Err(bad("not an object".to_owned()));
    };
    // What a caller read and sends back may be part of it; it is not for writing.
    patch.remove("fired");
    shared.with_world(|w, _| {
        let Value::Object(mut merged) = json!(w.conditions) else {
            return Err(bad("conditions are an object".to_owned()));
        };
        merged.remove("fired");
        merged.extend(patch);
        let mut new: Conditions =
            serde_json::from_value(Value::Object(merged)).map_err(|e| bad(e.to_string()))?;
        new.fired = w.conditions.fired;
        w.conditions = new;
        Ok(json!(w.conditions))
    })
}

fn fill(shared: &Shared, filling: &Filling) -> Steered {
    let key = (filling.jurisdiction, filling.bucket.clone());
    let done = shared.with_world(|w, now| {
        w.fill_bucket(&key, &filling.prefix, filling.count, now)
            && w.start_uploads(&key, filling.pending_uploads, now)
    });
    found(done)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn people_and_programs_steer_and_web_pages_do_not() {
        for (name, value, page) in [
            ("host", "127.0.0.1:8787", false),
            ("host", "[::1]:8787", false),
            ("host", "localhost:8787", false),
            ("host", "simulator:8787", false),
            ("host", "rebound.example:8787", true),
            ("origin", "https://evil.example", true),
            ("origin", "null", true),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "none", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let request = Request {
                method: Method::POST,
                path: "/__admin/faults".to_owned(),
                query: None,
                headers,
                body: Bytes::new(),
            };
            assert_eq!(is_of_a_web_page(&request), page, "{name}: {value}");
        }
    }
}
