//! Serves connections: bounded in number and in patience, and ended in good order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::FactoryConfig;
use crate::http::limit_bodies;
use crate::proxies::{self, Network};
use crate::stall::Impatient;

/// How long to wait after accepting failed: what it lacks (file descriptors) is not back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// Nobody has made a token, and the address can be reached from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} can be reached from other machines, and there is no API token yet")]
pub struct PublicAddress(SocketAddr);

/// Refuses an address that other machines can reach unless somebody has made tokens.
pub fn check_address(address: SocketAddr, has_tokens: bool) -> Result<(), PublicAddress> {
    if address.ip().is_loopback() || has_tokens {
        Ok(())
    } else {
        Err(PublicAddress(address))
    }
}

/// Serves until `stop`; then takes no more connections, lets requests under way end (streams end by themselves, since
/// [`FactoryParts::stopping`](crate::FactoryParts) should be the same token), and returns when all are gone or patience is
/// at its end. Every request carries its [`ClientAddress`](talon_core::guesses::ClientAddress) as an extension.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &FactoryConfig,
    stop: CancellationToken,
) {
    let trusted: Arc<[Network]> = config.trusted_proxies.clone().into();
    let router = router.layer(middleware::from_fn_with_state(trusted, locate));
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(config.max_connections));
    let patience = (config.header_timeout, config.stall_timeout);
    // Around everything that is served here: the Hub's own addresses and the pages read bodies too.
    let router = router.layer(middleware::from_fn_with_state(
        config.request_timeout,
        limit_bodies,
    ));
    loop {
        // Without a free place, connections wait in the system's queue.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone().layer(Extension(Peer(peer)));
                let connection = connection(stream, router, patience, stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::debug!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(config.shutdown_patience, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time");
    }
}

/// Notes where a request came from.
async fn locate(
    State(trusted): State<Arc<[Network]>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(Peer(peer)) = request.extensions().get() {
        let client = proxies::client(peer.ip(), request.headers(), &trusted);
        request.extensions_mut().insert(client);
    }
    next.run(request).await
}

async fn connection(
    stream: TcpStream,
    router: Router,
    (header_timeout, stall_timeout): (Duration, Duration),
    stop: CancellationToken,
) {
    // Events are small: waiting to fill packets only costs time.
    let _ = stream.set_nodelay(true);
    let stream = Impatient::new(stream, stall_timeout);
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_needs_a_token() {
        let address = |text: &str| text.parse().expect("an address");
        for local in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80"] {
            assert!(check_address(address(local), false).is_ok(), "{local}");
        }
        for public in ["0.0.0.0:80", "[::]:80", "192.168.0.1:80"] {
            assert!(check_address(address(public), false).is_err(), "{public}");
            assert!(check_address(address(public), true).is_ok(), "{public}");
        }
    }
}
