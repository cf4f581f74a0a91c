//! What `talon run`, `dev` and `demo` run: the daemon, and over HTTP the Hub that its agents connect to.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use talon_cloudflare::ClientConfig;
use talon_controller::ControllerConfig;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_secrets::SecretReader;
use talon_store::WholeStore;
use talon_worker::Bundle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cloudflare;
use crate::config::settings::HubSettings;
use crate::daemon::{self, Wiring};
use crate::exit::{Exit, Failure};
use crate::install_key::Keyed;

/// How long agents have to take leave of the Hub.
const HUB_PATIENCE: Duration = Duration::from_secs(5);
/// How long open requests have to end after that.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);

/// What the service is made of.
pub struct Ingredients {
    /// Where the rows are.
    pub store: Arc<dyn WholeStore>,
    /// How to reach Cloudflare.
    pub cloudflare: ClientConfig,
    /// Where a local Cloudflare serves workers.dev; `None`: the real one.
    pub front_door: Option<SocketAddr>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretReader>,
    /// The install and its key.
    pub keyed: Keyed,
    /// What is deployed.
    pub bundle: Bundle,
    /// The Hub.
    pub hub: HubSettings,
    /// Under which name the Hub keeps who is connected; see [`HubConfig::name`].
    pub hub_name: String,
    /// Settings of the daemon; the Hub's address is filled in here.
    pub config: ControllerConfig,
    /// Where HTTP is served.
    pub listener: TcpListener,
}

/// A running service.
pub struct Service {
    address: SocketAddr,
    hub_url: String,
    hub: Option<Hub>,
    stop: CancellationToken,
    daemon: JoinHandle<Result<(), Failure>>,
    server: JoinHandle<()>,
}

/// Listens where HTTP is to be served.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failure,
            format!("cannot listen on {address}: {error}"),
            "choose another address with listen (TALON_LISTEN); 127.0.0.1:0 takes any free port",
        )
    })
}

impl Service {
    /// Starts everything.
    pub async fn start(parts: Ingredients) -> Result<Self, Failure> {
        let address = parts
            .listener
            .local_addr()
            .map_err(|e| Failure::io("the address that is listened on", &e))?;
        let hub_url = parts.hub.address(address);
        let mut config = parts.config;
        config.hub_url.clone_from(&hub_url);
        let signing_key = SigningKey::new(parts.keyed.key.hub_signing_key());
        let door = cloudflare::door(&parts.cloudflare, parts.front_door)?;
        let daemon = daemon::build(Wiring {
            store: parts.store.clone(),
            cloudflare: parts.cloudflare,
            secrets: parts.secrets,
            bundle: parts.bundle,
            install: parts.keyed.install.id,
            key: Arc::new(parts.keyed.key),
            door: door.clone(),
            config,
        })?;
        let hub = if parts.hub.embedded {
            let made = HubParts {
                store: parts.store,
                key: signing_key,
                search: None,
                waker: door.map(|door| daemon.waker(door)),
                clock: Arc::new(SystemClock::default()),
                random: Arc::new(OsRandom),
            };
            let config = HubConfig {
                name: parts.hub_name,
                ..HubConfig::default()
            };
            Some(Hub::start(made, config).await?)
        } else {
            None
        };
        let stop = CancellationToken::new();
        let routes = hub.as_ref().map_or_else(Router::new, Hub::routes);
        let stopping = stop.clone();
        let served = axum::serve(parts.listener, routes)
            .with_graceful_shutdown(stopping.cancelled_owned())
            .into_future();
        let server = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        let told = stop.clone();
        let daemon = tokio::spawn(async move {
            daemon.run(told).await.map_err(|error| {
                Failure::new(
                    Exit::Failure,
                    format!("the daemon ended: {error}"),
                    "talon doctor looks at what it depends on; then start it again",
                )
            })
        });
        Ok(Self {
            address,
            hub_url,
            hub,
            stop,
            daemon,
            server,
        })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What Workers are told of the Hub's address.
    pub fn hub_url(&self) -> &str {
        &self.hub_url
    }

    /// Ends when the daemon does, which it should not.
    pub async fn ended(&mut self) -> Failure {
        match (&mut self.daemon).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => Failure::new(
                Exit::Failure,
                "the daemon ended by itself",
                "start it again",
            ),
            Err(error) => Failure::new(
                Exit::Failure,
                format!("the daemon died: {error}"),
                "this is a defect of talon; the log above says more",
            ),
        }
    }

    /// Stops in good order: passes under way end and leases are given back, agents are told to come back later, requests
    /// end. All of it at once, within ten seconds by the defaults.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let network = async {
            if let Some(hub) = &self.hub {
                hub.shutdown(HUB_PATIENCE).await;
            }
            if tokio::time::timeout(SERVER_PATIENCE, &mut self.server)
                .await
                .is_err()
            {
                self.server.abort();
            }
        };
        let daemon = async {
            // One that ended by itself has told why already.
            if self.daemon.is_finished() {
                return Ok(());
            }
            match (&mut self.daemon).await {
                Ok(result) => result,
                Err(error) => Err(Failure::new(
                    Exit::Failure,
                    format!("the daemon died: {error}"),
                    "this is a defect of talon; the log above says more",
                )),
            }
        };
        tokio::join!(network, daemon).1
    }
}
