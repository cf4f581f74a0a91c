//! workers.dev: requests to `{worker}.{subdomain}.workers.dev`, told apart by their `Host` header, over plain HTTP on a
//! local port.
//!
//! `{worker}.{subdomain}.workers.localhost` is the same Worker under a name that browsers resolve to this machine.
//! WebSockets pass through in both directions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::runner::{NotRunning, Reached};
use crate::shared::Shared;
use crate::tails::Answered;
use crate::workerd::PROTO_HEADER;

/// Domain of the routes, as on the live service.
pub(crate) const DOMAIN: &str = "workers.dev";
/// The same for browsers on this machine: every name below `localhost` is this machine.
pub(crate) const LOCAL_DOMAIN: &str = "workers.localhost";
/// How often a Worker that cannot be connected to is asked for again: it may just be starting anew.
const TRIES: u32 = 5;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(50);

/// Headers that Cloudflare sets itself, so that a client's own never arrive.
const OURS: [HeaderName; 6] = [
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("cf-ray"),
    HeaderName::from_static("cf-visitor"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static(PROTO_HEADER),
];

/// Everything goes to one handler.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

/// Whom a `Host` header means.
#[derive(Debug, PartialEq, Eq)]
enum Addressee {
    /// A script of an account's subdomain, and whether it came under the name of the live service.
    Script {
        worker: String,
        subdomain: String,
        as_live: bool,
    },
    /// Nobody: not a name of ours.
    Nobody,
}

impl Addressee {
    fn of(host: &str) -> Self {
        let name = without_port(host).to_ascii_lowercase();
        let (labels, as_live) = if let Some(labels) = below(&name, DOMAIN) {
            (labels, true)
        } else if let Some(labels) = below(&name, LOCAL_DOMAIN) {
            (labels, false)
        } else {
            return Self::Nobody;
        };
        match labels.split_once('.') {
            Some((worker, subdomain)) if !worker.is_empty() && !subdomain.contains('.') => {
                Self::Script {
                    worker: worker.to_owned(),
                    subdomain: subdomain.to_owned(),
                    as_live,
                }
            }
            Some(_) | None => Self::Nobody,
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    name.strip_suffix(domain)?.strip_suffix('.')
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let Addressee::Script {
        worker,
        subdomain,
        as_live,
    } = Addressee::of(&host)
    else {
        return plain(
            StatusCode::NOT_FOUND,
            "The front door of a local Cloudflare. Ask for {worker}.{subdomain}.workers.dev in the Host header, or browse {worker}.{subdomain}.workers.localhost on this port.\n",
        );
    };
    let enabled = shared.with_world(|w, _| {
        w.subdomain.as_deref() == Some(subdomain.as_str())
            && w.catalog().workers.get(&worker).is_some_and(|w| w.enabled)
    });
    if !enabled {
        return no_route();
    }
    let host = if as_live {
        without_port(&host)
    } else {
        host.as_str()
    };
    let scheme = if as_live { "https" } else { "http" };
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let (url, method) = (format!("{scheme}://{host}{path}"), request.method().clone());
    let (at, begun) = (shared.clock.now(), Instant::now());
    let answer = forward(&shared, &worker, host, as_live, request).await;
    if !matches!(answer, Err(NotRunning::Gone | NotRunning::NoRuntime(_))) {
        let answered = Answered {
            method: method.as_str(),
            url,
            status: answer.as_ref().ok().map(|a| a.status().as_u16()),
            at: at.timestamp_millis(),
            took: begun.elapsed(),
        };
        shared.traces.answered(&worker, &answered);
    }
    match answer {
        Ok(response) => response,
        Err(NotRunning::Gone) => no_route(),
        // What visitors of the live service read when a Worker threw or never got to answer.
        Err(NotRunning::Broken(why)) => {
            tracing::debug!(worker, why, "a Worker cannot answer");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "error code: 1101")
        }
        Err(why @ NotRunning::NoRuntime(_)) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
        }
    }
}

/// What the live service answers where no Worker is routed.
fn no_route() -> Response {
    plain(StatusCode::NOT_FOUND, "error code: 1042")
}

fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=UTF-8"),
    );
    headers.insert("server", HeaderValue::from_static("cloudflare"));
    response
}

/// A connection to a Worker that is running.
async fn connect(shared: &Shared, worker: &str) -> Result<(TcpStream, Reached), NotRunning> {
    let mut tries = 0;
    loop {
        let reached = shared.runner().reach(worker).await?;
        match TcpStream::connect(reached.address).await {
            Ok(stream) => return Ok((stream, reached)),
            Err(error) => {
                tries += 1;
                if tries >= TRIES {
                    return Err(NotRunning::Broken(error.to_string()));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn forward(
    shared: &Shared,
    worker: &str,
    host: &str,
    as_live: bool,
    mut request: Request<Body>,
) -> Result<Response, NotRunning> {
    let broken = |e: &dyn std::fmt::Display| NotRunning::Broken(e.to_string());
    let (stream, reached) = connect(shared, worker).await?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let in_use = Arc::clone(&reached.in_use);
    tokio::spawn(async move {
        // Lives as long as the answer streams.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a Worker broke");
        }
        drop(in_use);
    });
    let upgrading = is_upgrade(request.headers());
    let from_client = upgrading.then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request, host, as_live);
    let mut answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(from_client) = from_client
    {
        let from_worker = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            if let (Ok(client), Ok(worker)) = (from_client.await, from_worker.await) {
                let (mut client, mut worker) = (TokioIo::new(client), TokioIo::new(worker));
                // Either side may end it, orderly or not; both hear of it.
                let _ = copy_bidirectional(&mut client, &mut worker).await;
            }
            drop(reached);
        });
    }
    let mut response = answer.map(Body::new);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().remove(CONNECTION);
    }
    response
        .headers_mut()
        .insert("server", HeaderValue::from_static("cloudflare"));
    Ok(response)
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|v| v.trim().eq_ignore_ascii_case("upgrade"))
}

/// As Cloudflare hands a request to a Worker.
fn prepare(request: &mut Request<Body>, host: &str, as_live: bool) {
    // A request line may carry the whole address; the Worker gets it from the Host header.
    let target = request.uri().path_and_query().map_or("/", |p| p.as_str());
    if let Ok(uri) = target.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    for name in &OURS {
        headers.remove(name);
    }
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
    let proto = if as_live { "https" } else { "http" };
    for (name, value) in [
        ("cf-connecting-ip", "127.0.0.1"),
        ("cf-ray", "0000000000000000-SIM"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        (PROTO_HEADER, proto),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_workers() {
        let script = |worker: &str, as_live| Addressee::Script {
            worker: worker.to_owned(),
            subdomain: "dev".to_owned(),
            as_live,
        };
        for (host, expected) in [
            ("a.dev.workers.dev", script("a", true)),
            ("A.Dev.Workers.dev:8788", script("a", true)),
            ("a.dev.workers.localhost:1", script("a", false)),
            ("dev.workers.dev", Addressee::Nobody),
            ("x.a.dev.workers.dev", Addressee::Nobody),
            (".dev.workers.dev", Addressee::Nobody),
            ("127.0.0.1:8788", Addressee::Nobody),
            ("evilworkers.dev", Addressee::Nobody),
            ("", Addressee::Nobody),
        ] {
            assert_eq!(Addressee::of(host), expected, "{host}");
        }
    }
}
