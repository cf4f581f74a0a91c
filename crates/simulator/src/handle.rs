//! Starting a simulator, and everything a test can do with a running one.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::calllog::CallRecord;
use crate::config::{Quota, SimConfig};
use crate::connection::{DropSwitch, SimListener};
use crate::faults::{FaultRule, RuleReport};
use crate::front_door::{self, LOCAL_DOMAIN};
use crate::inspect::{BucketView, StateView, TokenView, WorkerView};
use crate::r2_binding::{self, Door};
use crate::runner::{Deployed, Host};
use crate::server::{App, router};
use crate::shared::Shared;
use crate::world::conditions::Conditions;
use crate::world::outside::WorkerEdit;

/// How long open calls may take to end when the simulator stops.
const GRACE: Duration = Duration::from_secs(2);

/// Starts simulators.
#[derive(Debug, Clone, Copy)]
pub struct Simulator;

impl Simulator {
    /// Listens and serves in the background until the handle is shut down or dropped.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(config: SimConfig) -> io::Result<SimHandle> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(&config));
        let (stop, stopping) = watch::channel(false);
        let mut beside = Vec::new();
        if shared.runner().runs_code() {
            let (r2, listener) = Door::open().await?;
            let app = r2_binding::router(Arc::clone(&shared), r2.clone());
            beside.push(tokio::spawn(serve_beside(listener, app, stopping.clone())));
            let traces = shared.traces.clone();
            shared.runner().attached(Host { r2, traces });
        }
        let mut front_door = None;
        if let Some(wanted) = config.front_door {
            let listener = TcpListener::bind(wanted).await?;
            front_door = Some(listener.local_addr()?);
            let app = front_door::router(Arc::clone(&shared));
            beside.push(tokio::spawn(serve_beside(listener, app, stopping.clone())));
        }
        let app = router(App {
            shared: Arc::clone(&shared),
            stopping: stopping.clone(),
        });
        let mut stopped = stopping;
        let server = axum::serve(
            SimListener(listener),
            app.into_make_service_with_connect_info::<DropSwitch>(),
        )
        .with_graceful_shutdown(async move {
            // An error means that the handle is gone, which ends the simulator as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        });
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::warn!(%error, "the local Cloudflare stopped serving");
            }
        });
        Ok(SimHandle {
            address,
            front_door,
            account_id: config.account_id,
            shared,
            stop,
            task: Some(task),
            beside,
        })
    }
}

/// Serves a second port until the simulator stops. Connections that are open then end with the Workers behind them.
async fn serve_beside(listener: TcpListener, app: Router, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        served = axum::serve(listener, app).into_future() => if let Err(error) = served {
            tracing::warn!(%error, "a port of the local Cloudflare stopped serving");
        },
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// A running simulator.
pub struct SimHandle {
    address: SocketAddr,
    front_door: Option<SocketAddr>,
    account_id: String,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    beside: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimHandle")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl SimHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base of the REST API: `http://127.0.0.1:PORT/client/v4`.
    pub fn api_base(&self) -> Url {
        self.url("client/v4")
    }

    /// The S3 endpoint, path style, for every jurisdiction.
    pub fn s3_endpoint(&self) -> Url {
        self.url("")
    }

    /// Base of the steering endpoints: `http://127.0.0.1:PORT/__admin`.
    pub fn admin(&self) -> Url {
        self.url("__admin")
    }

    /// Where workers.dev is served, if it is.
    ///
    /// A client reaches `https://{worker}.{subdomain}.workers.dev/path` by connecting here over *plain HTTP*, asking for
    /// `/path` with that name in the `Host` header. The Worker sees the `https` address.
    pub fn front_door(&self) -> Option<SocketAddr> {
        self.front_door
    }

    /// An address for browsers on this machine that leads to a Worker by way of the front door.
    pub fn browsable_url(&self, worker: &str) -> Option<Url> {
        let port = self.front_door?.port();
        let subdomain = self.shared.with_world(|w, _| w.subdomain.clone())?;
        Url::parse(&format!(
            "http://{worker}.{subdomain}.{LOCAL_DOMAIN}:{port}/"
        ))
        .ok()
    }

    fn url(&self, path: &str) -> Url {
        // Cannot happen: an address with its port is a host, and behind the slash stands nothing that a URL refuses.
        Url::parse(&format!("http://{}/{path}", self.address))
            .unwrap_or_else(|_| unreachable!("a socket address makes a URL"))
    }

    /// The account.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The logged calls, oldest first.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.shared.calls()
    }

    /// Forgets the logged calls.
    pub fn clear_calls(&self) {
        self.shared.clear_calls();
    }

    /// Fault rules and standing conditions.
    pub fn faults(&self) -> Faults<'_> {
        Faults(&self.shared)
    }

    /// Another quota from now on; `None` counts nothing.
    pub fn set_quota(&self, quota: Option<Quota>) {
        self.shared.with_quota(|q| q.set(quota));
    }

    /// Everything that is there now, whatever stale lists say.
    pub fn state(&self) -> StateView {
        self.shared.with_world(|w, _| w.state())
    }

    /// The Workers, by name.
    pub fn workers(&self) -> Vec<WorkerView> {
        self.state().workers
    }

    /// One Worker.
    pub fn worker(&self, name: &str) -> Option<WorkerView> {
        self.workers().into_iter().find(|w| w.name == name)
    }

    /// The buckets, by jurisdiction and name.
    pub fn buckets(&self) -> Vec<BucketView> {
        self.state().buckets
    }

    /// The account's tokens in the order of creation, the controller's own among them.
    pub fn tokens(&self) -> Vec<TokenView> {
        self.state().tokens
    }

    /// What is live of a Worker: code and bindings with their secrets.
    pub fn deployed(&self, worker: &str) -> Option<Deployed> {
        self.shared
            .with_world(|w, _| w.catalog().workers.get(worker).and_then(|w| w.deployed()))
    }

    /// The text of a module of the live version.
    pub fn module_text(&self, worker: &str, module: &str) -> Option<String> {
        let deployed = self.deployed(worker)?;
        let found = deployed.modules.iter().find(|m| m.name == module)?;
        String::from_utf8(found.body.to_vec()).ok()
    }

    /// For tests only: the value of a live Worker's secret, to prove that credentials match.
    pub fn secret_value(&self, worker: &str, name: &str) -> Option<SecretValue> {
        let deployed = self.deployed(worker)?;
        let found = deployed.bindings.iter().find(|b| b.name == name)?;
        found.secret.as_ref().map(|s| s.duplicate())
    }

    /// For tests only: a token's present value, to prove that credentials match.
    pub fn token_value(&self, id: &str) -> Option<SecretValue> {
        self.shared
            .with_world(|w, _| w.catalog().token(id).map(|t| t.value.duplicate()))
    }

    /// Behind Talon's back: a Worker of somebody else's. An error says why the name or the tags are not possible.
    pub fn put_foreign_worker(&self, name: &str, tags: Option<Vec<String>>) -> Result<(), String> {
        self.shared
            .with_world(|w, now| w.put_foreign_worker(name, tags, now))
            .map_err(|e| e.message)
    }

    /// Behind Talon's back: edits a Worker. Returns whether it was there, as the next ones do.
    pub fn edit_worker(&self, name: &str, edit: &WorkerEdit) -> bool {
        self.shared
            .with_world(|w, now| w.edit_worker(name, edit, now))
    }

    /// Behind Talon's back: removes a Worker.
    pub fn remove_worker(&self, name: &str) -> bool {
        self.shared.with_world(|w, now| w.remove_worker(name, now))
    }

    /// Behind Talon's back: removes a bucket with what is in it.
    pub fn remove_bucket(&self, jurisdiction: Jurisdiction, name: &str) -> bool {
        let key = (jurisdiction, name.to_owned());
        self.shared.with_world(|w, now| w.remove_bucket(&key, now))
    }

    /// Behind Talon's back: removes a token.
    pub fn remove_token(&self, id: &str) -> bool {
        self.shared.with_world(|w, now| w.remove_token(id, now))
    }

    /// Puts `count` small objects into a bucket, as a running agent would.
    pub fn fill_bucket(&self, jurisdiction: Jurisdiction, name: &str, count: usize) -> bool {
        let key = (jurisdiction, name.to_owned());
        self.shared
            .with_world(|w, now| w.fill_bucket(&key, "object-", count, now))
    }

    /// The objects of a bucket with their bodies, by key.
    pub fn objects(&self, jurisdiction: Jurisdiction, name: &str) -> Vec<(String, Bytes)> {
        let key = (jurisdiction, name.to_owned());
        self.shared.with_world(|w, _| {
            let store = w.objects.get(&key);
            store
                .iter()
                .flat_map(|store| &store.objects)
                .map(|(key, object)| (key.clone(), object.body.clone()))
                .collect()
        })
    }

    /// Leaves `count` multipart uploads unfinished in a bucket.
    pub fn start_uploads(&self, jurisdiction: Jurisdiction, name: &str, count: usize) -> bool {
        let key = (jurisdiction, name.to_owned());
        self.shared
            .with_world(|w, now| w.start_uploads(&key, count, now))
    }

    /// Stops: open calls that hang are dropped, calls that would land later never do, and nothing runs any more.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.shared.runner().shutdown().await;
        for task in self.beside.drain(..) {
            let _ = task.await;
        }
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(GRACE, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

/// Fault rules and conditions of a running simulator.
#[derive(Clone, Copy)]
pub struct Faults<'a>(&'a Shared);

impl Faults<'_> {
    /// Adds rules after those there are. An error says which rule is bad; none is added then.
    pub fn add(&self, rules: Vec<FaultRule>) -> Result<(), String> {
        self.0.with_faults(|f| f.add(rules))
    }

    /// Drops all rules.
    pub fn clear(&self) {
        self.0.with_faults(|f| f.clear());
    }

    /// The rules with how often each matched and hit.
    pub fn report(&self) -> Vec<RuleReport> {
        self.0.with_faults(|f| f.report())
    }

    /// How often any rule in force has hit.
    pub fn fired(&self) -> u64 {
        self.report().iter().map(|r| r.fired).sum()
    }

    /// The standing conditions with how often each showed.
    pub fn conditions(&self) -> Conditions {
        self.0.with_world(|w, _| w.conditions.clone())
    }

    /// Changes the standing conditions.
    pub fn set_conditions(&self, change: impl FnOnce(&mut Conditions)) {
        self.0.with_world(|w, _| change(&mut w.conditions));
    }
}
