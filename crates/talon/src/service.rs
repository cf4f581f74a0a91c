//! What `talon run`, `dev` and `demo` run: the daemon, and over HTTP the Hub that its agents connect to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::ClientConfig;
use talon_controller::ControllerConfig;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_core::clock::{Clock, Random};
use talon_core::deliver::Deliver;
use talon_core::guesses::Guesses;
use talon_core::registry::Registry;
use talon_core::search::AgentSearch;
use talon_core::turns::Turns;
use talon_dashboard::{Dashboard, DashboardParts};
use talon_factory::{FactoryConfig, FactoryParts, Network, OperatorToken};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_router::{EmbeddedRegistry, NamesOnly, RemoteRegistry, Router, StaticModel};
use talon_secrets::SecretReader;
use talon_store::WholeStore;
use talon_worker::Bundle;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::cloudflare;
use crate::config::settings::{DashboardSettings, HttpSettings, HubSettings};
use crate::daemon::{self, Wiring};
use crate::exit::{Exit, Failure};
use crate::gauge::Gauge;
use crate::install_key::Keyed;

/// How long agents have to take leave of the Hub.
const HUB_PATIENCE: Duration = Duration::from_secs(5);
/// How long open requests have to end. The Hub's connections are not among them: they left HTTP when they became
/// WebSockets, and the Hub waits for them itself.
const SERVER_PATIENCE: Duration = Duration::from_secs(7);

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
    /// What one caller may ask for.
    pub http: HttpSettings,
    /// The pages for browsers.
    pub dashboard: DashboardSettings,
    /// A Router elsewhere that Agent Cards are registered with; `None`: the one in this process.
    pub remote_router: Option<RemoteRegistry>,
    /// Settings of the daemon; the Hub's address is filled in here.
    pub config: ControllerConfig,
    /// Where HTTP is served.
    pub listener: TcpListener,
    /// Whose word is taken for where a request came from.
    pub trusted_proxies: Vec<Network>,
}

/// A running service.
pub struct Service {
    address: SocketAddr,
    hub_url: String,
    hub: Option<Hub>,
    search: Arc<dyn AgentSearch>,
    dashboard: Dashboard,
    operator_sha256: String,
    stop: CancellationToken,
    daemon: JoinHandle<Result<(), Failure>>,
    server: JoinHandle<()>,
}

/// Listens where HTTP is to be served; where other machines can reach it only once somebody has made an API token.
pub async fn listen(address: SocketAddr, store: &dyn WholeStore) -> Result<TcpListener, Failure> {
    // One that has expired will do: a daemon that was set up with care starts again whenever it must.
    let tokens = store.tokens(None).await?;
    let has_tokens = tokens.iter().any(|token| token.revoked_at.is_none());
    talon_factory::check_address(address, has_tokens).map_err(|error| {
        Failure::new(
            Exit::NotAllowed,
            error.to_string(),
            "make one with talon token create, or listen on 127.0.0.1 (TALON_LISTEN)",
        )
    })?;
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
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let random: Arc<dyn Random> = Arc::new(OsRandom);
        let signing_key = SigningKey::new(parts.keyed.key.hub_signing_key());
        let operator_token = parts.keyed.key.operator_token();
        let operator = OperatorToken::of(&operator_token);
        let session_key = parts.keyed.key.session_key();
        let key = Arc::new(parts.keyed.key);
        let call_ceiling = config.budget_calls;
        let budget = Arc::new(daemon::budget(
            &config,
            parts.store.clone(),
            parts.cloudflare.account_id.clone(),
        ));
        let model = StaticModel::built_in();
        let router = Arc::new(Router::new(parts.store.clone(), Some(model.clone())));
        // A Router elsewhere answers searches itself; the one here would know nothing of what is registered there.
        let is_elsewhere = parts.remote_router.is_some();
        let search: Arc<dyn AgentSearch> = if is_elsewhere {
            Arc::new(NamesOnly(router.clone()))
        } else {
            router.clone()
        };
        let registry: Arc<dyn Registry> = match parts.remote_router {
            None => Arc::new(
                EmbeddedRegistry::new(parts.store.clone()).with_vectors(parts.store.clone(), model),
            ),
            Some(remote) => Arc::new(remote),
        };
        if !is_elsewhere {
            tokio::spawn(prepare(router));
        }
        let door = cloudflare::door(&parts.cloudflare, parts.front_door)?;
        let made = daemon::build(Wiring {
            store: parts.store.clone(),
            cloudflare: parts.cloudflare,
            registry,
            secrets: parts.secrets,
            bundle: parts.bundle,
            install: parts.keyed.install.id,
            key: key.clone(),
            door: door.clone(),
            budget: budget.clone(),
            config,
        })?;
        let (daemon, client) = (made.daemon, made.cloudflare);
        let hub = if parts.hub.embedded {
            let made = HubParts {
                store: parts.store.clone(),
                key: signing_key,
                search: Some(search.clone()),
                waker: door.map(|door| daemon.waker(door)),
                clock: clock.clone(),
                random: random.clone(),
            };
            // There is one Hub in an installation, whose name is always the same: whatever an earlier one held, on whatever
            // host, is known to be gone.
            Some(Hub::start(made, HubConfig::default()).await?)
        } else {
            None
        };
        let stop = CancellationToken::new();
        let config = FactoryConfig {
            shutdown_patience: SERVER_PATIENCE,
            trusted_proxies: parts.trusted_proxies,
            long_answers: parts.http.long_answers,
            ..FactoryConfig::default()
        };
        let gauge = Arc::new(Gauge::new(budget, daemon.times()));
        tokio::spawn(gauge.clone().watch_token(client.clone(), stop.clone()));
        let operator_sha256 = operator_token.sha256_hex();
        let turns = Arc::new(Turns::new(config.allowance(), clock.clone()));
        // One for both: who follows a Worker here and who follows it there share its tail.
        let logs = daemon.logs(Some(client));
        let guesses = Arc::new(Guesses::new(config.guesses, clock.clone()));
        let dashboard = DashboardParts {
            store: parts.store.clone(),
            operator_sha256: operator_sha256.clone(),
            secrets: Some(daemon.secret_writer()),
            session_key,
            // Who reaches the Hub by TLS reaches this server by TLS, unless it is said otherwise.
            https: parts
                .dashboard
                .https
                .unwrap_or_else(|| hub_url.starts_with("wss:")),
            gauge: Some(gauge),
            logs: Some(logs.clone()),
            guesses: guesses.clone(),
            call_ceiling,
            new_token: Some(Box::new(|| talon_factory::new_token(&OsRandom))),
            stopping: stop.clone(),
        };
        if dashboard.https && config.trusted_proxies.is_empty() {
            tracing::warn!(
                "browsers come by https, and so by a proxy, whose word for where they are is not taken: wrong tokens of one \
                 lock out all; name the proxy in trustedProxies (TALON_TRUSTED_PROXIES)"
            );
        }
        let dashboard = Dashboard::counting(dashboard, turns.clone());
        let factory = FactoryParts {
            store: parts.store,
            deliver: hub.clone().map(|hub| Arc::new(hub) as Arc<dyn Deliver>),
            hub: hub.clone(),
            search: Some(search.clone()),
            secrets: Some(daemon.secret_writer()),
            logs: Some(logs),
            callbacks: Some(key),
            clock,
            random,
            operator,
            stopping: stop.clone(),
        };
        let routes = talon_factory::routes_counting(factory, config.clone(), turns, guesses);
        let routes = routes.merge(dashboard.routes());
        let stopping = stop.clone();
        let server = tokio::spawn(async move {
            talon_factory::serve(parts.listener, routes, &config, stopping).await;
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
            search,
            dashboard,
            operator_sha256,
            stop,
            daemon,
            server,
        })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser signs in, once, as the operator. On this machine as `localhost`: cookies know hosts and no ports, and
    /// local Workers, which anybody may have written, are served as `127.0.0.1`.
    pub fn sign_in_address(&self) -> String {
        let path = self.dashboard.one_time_path(&self.operator_sha256);
        let (ip, port) = (self.address.ip(), self.address.port());
        if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            format!("http://localhost:{port}{path}")
        } else {
            format!("http://{}{path}", self.address)
        }
    }

    /// Takes tasks, if the Hub is in this process.
    pub fn deliver(&self) -> Option<&dyn Deliver> {
        self.hub.as_ref().map(|hub| hub as &dyn Deliver)
    }

    /// Finds agents.
    pub fn search(&self) -> &dyn AgentSearch {
        &*self.search
    }

    /// What Workers are told of the Hub's address.
    pub fn hub_url(&self) -> &str {
        &self.hub_url
    }

    /// Ends when the daemon or the HTTP server does, which neither should.
    pub async fn ended(&mut self) -> Failure {
        let daemon = tokio::select! {
            ended = &mut self.daemon => ended,
            ended = &mut self.server => return server_ended(ended),
        };
        match daemon {
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
        let hub = async {
            if let Some(hub) = &self.hub {
                hub.shutdown(HUB_PATIENCE).await;
            }
        };
        let server = async {
            // One that ended by itself has told why already.
            if self.server.is_finished() {
                return;
            }
            // It waits for its connections as long as it has patience, and no longer.
            if let Err(error) = (&mut self.server).await {
                tracing::error!(%error, "the HTTP server died");
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
        tokio::join!(hub, server, daemon).2
    }
}

fn server_ended(ended: Result<(), JoinError>) -> Failure {
    match ended {
        Ok(()) => Failure::new(
            Exit::Failure,
            "the HTTP server ended by itself",
            "start it again",
        ),
        Err(error) => Failure::new(
            Exit::Failure,
            format!("the HTTP server died: {error}"),
            "this is a defect of talon; the log above says more",
        ),
    }
}

/// Reads every card before the first search asks for it.
async fn prepare(router: Arc<Router>) {
    if let Err(error) = router.prepare().await {
        tracing::warn!(%error, "the Router is not ready; it tries again at the first search");
    }
}
