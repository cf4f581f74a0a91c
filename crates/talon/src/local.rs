//! Everything on this machine: a database, a local Cloudflare that runs Workers, the daemon and the Hub, in one process. Behind `dev` and `demo`.
//!
//! Needs no configuration and no account. Unless a folder or a database is named, all of it lives in one temporary
//! directory and dies with it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use talon_cloudflare::ClientConfig;
use talon_controller::ControllerConfig;
use talon_controller::clock::OsRandom;
use talon_core::clock::Random;
use talon_core::secret::SecretValue;
use talon_secrets::{ScopedReader, Scopes};
use talon_simulator::{DEV_API_TOKEN, SimConfig, SimHandle, Simulator};
use talon_store::{ListFilter, Store, WholeStore};
use talon_store_sqlite::DaemonLock;
use tempfile::TempDir;

use crate::config::keys::SECRET_PREFIX;
use crate::config::settings::{DashboardSettings, HttpSettings, HubSettings};
use crate::daemon;
use crate::database::{self, Database};
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::output::Output;
use crate::runtime::Wanted;
use crate::service::{self, Ingredients, Service};
use crate::workers::Workers;

/// The example manifests, so that they are there wherever the binary is.
pub const EXAMPLES: [(&str, &str); 2] = [
    (
        "deploy/examples/research-pro.yaml",
        include_str!("../../../deploy/examples/research-pro.yaml"),
    ),
    (
        "deploy/examples/news-digest.yaml",
        include_str!("../../../deploy/examples/news-digest.yaml"),
    ),
];

/// Made-up keys for the references of the examples. They work nowhere.
const DEV_KEYS: [(&str, &str); 2] = [
    (
        "TALON_SECRET_ANTHROPIC",
        "made-up-anthropic-key-for-local-use",
    ),
    ("TALON_SECRET_OPENAI", "made-up-openai-key-for-local-use"),
];

/// Where to live.
#[derive(Debug, Clone)]
pub enum Place {
    /// A temporary directory.
    Temporary,
    /// A folder that stays.
    Folder(PathBuf),
    /// A database of your own; the rest in a temporary directory.
    Database(Database, PathBuf),
}

/// How to set up.
pub struct Plan {
    /// Where to live.
    pub place: Place,
    /// Settings of the daemon.
    pub config: ControllerConfig,
    /// The Hub.
    pub hub: HubSettings,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// What is deployed.
    pub wanted: Wanted,
}

/// A running set-up.
pub struct Local {
    /// The database.
    pub database: Database,
    /// The rows.
    pub store: Arc<dyn WholeStore>,
    /// The local Cloudflare.
    pub cloud: SimHandle,
    /// The daemon and the Hub.
    pub service: Service,
    /// Whether Workers run, so that agents answer; if not, why.
    pub runs: Result<(), String>,
    lock: Option<DaemonLock>,
    /// Removed when this is dropped.
    folder: Option<TempDir>,
}

impl Local {
    /// Sets everything up and starts the daemon. Builds and fetches what is not there yet, which may take a minute.
    pub async fn start(plan: Plan, output: &Output) -> Result<Self, Failure> {
        let kept = match &plan.place {
            Place::Folder(path) => Some(path.join("workers")),
            Place::Temporary | Place::Database(..) => None,
        };
        let (database, key_file, folder) = settle(plan.place)?;
        database::migrate(&database, false).await?;
        let opened = database::open(&database).await?;
        let lock = opened.lock_daemon()?;
        let store = opened.store;
        let keyed = install_key::ensure(&*store, &key_file).await?;
        let listener = service::listen(plan.listen, &*store).await?;
        // In a folder that stays, so that what a killed process leaves there is removed by the next one.
        let state = folder.as_ref().map(|f| f.path().to_owned()).or(kept);
        let workers = Workers::prepare(plan.wanted, state, output).await?;
        let cloud = Simulator::start(SimConfig {
            runner: workers.runner,
            front_door: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            seed: fresh_seed(),
            ..SimConfig::default()
        })
        .await
        .map_err(|e| Failure::io("the local Cloudflare cannot listen", &e))?;
        refuse_real_agents(&*store, cloud.account_id()).await?;
        let mut config = plan.config;
        // The local Cloudflare has just begun, empty: what the database knows to be there went with the one before.
        config.account_starts_empty = true;
        config.high_water_file = Some(daemon::high_water_file(&key_file));
        let service = Service::start(Ingredients {
            store: Arc::clone(&store),
            cloudflare: client_config(&cloud)?,
            front_door: cloud.front_door(),
            secrets: Arc::new(dev_secrets()),
            keyed,
            bundle: workers.bundle,
            hub: plan.hub,
            http: HttpSettings::default(),
            dashboard: DashboardSettings::default(),
            remote_router: None,
            config,
            listener,
            trusted_proxies: Vec::new(),
        })
        .await?;
        Ok(Self {
            database,
            store,
            cloud,
            service,
            runs: workers.runs,
            lock,
            folder,
        })
    }

    /// Whether all of it dies with this.
    pub fn is_temporary(&self) -> bool {
        self.folder.is_some()
    }

    /// Stops everything in good order; removes the temporary directory.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        let ended = self.service.stop().await;
        self.cloud.shutdown().await;
        drop(self.lock.take());
        drop(self.store);
        if let Some(folder) = self.folder.take() {
            folder
                .close()
                .map_err(|e| Failure::io("the temporary directory cannot be removed", &e))?;
        }
        ended
    }
}

/// Database, key file, and the temporary directory if there is one.
fn settle(place: Place) -> Result<(Database, PathBuf, Option<TempDir>), Failure> {
    let (database, folder) = match place {
        Place::Database(database, key_file) => return Ok((database, key_file, None)),
        Place::Temporary => {
            let made = tempfile::Builder::new()
                .prefix("talon-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()
                .map_err(|e| Failure::io("no temporary directory", &e))?;
            (Database::Sqlite(made.path().join("talon.db")), Some(made))
        }
        Place::Folder(path) => {
            std::fs::create_dir_all(&path)
                .map_err(|e| Failure::io(&path.display().to_string(), &e))?;
            (Database::Sqlite(absolute(&path)?.join("talon.db")), None)
        }
    };
    let key_file = database.default_key_file();
    Ok((database, key_file, folder))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize()
        .map_err(|e| Failure::io(&path.display().to_string(), &e))
}

/// A client of the local Cloudflare.
fn client_config(cloud: &SimHandle) -> Result<ClientConfig, Failure> {
    let token = SecretValue::new(DEV_API_TOKEN.to_owned());
    let mut config = ClientConfig::new(cloud.account_id(), token)
        .map_err(|e| Failure::new(Exit::Failure, e.to_string(), "this is a defect of talon"))?;
    config.api_base = cloud.api_base();
    config.s3_endpoint = Some(cloud.s3_endpoint());
    Ok(config)
}

/// A seed for a local Cloudflare. Ids of one that ran before stand in the database and belong to its agents: the next one
/// must not give them out again.
pub fn fresh_seed() -> u64 {
    let mut bytes = [0u8; 8];
    OsRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// References see the variables of this process that agents may use, and made-up keys for the examples.
fn dev_secrets() -> ScopedReader {
    let mut environment: BTreeMap<String, SecretValue> = DEV_KEYS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), SecretValue::new((*value).to_owned())))
        .collect();
    for (name, value) in std::env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
            && name.starts_with(SECRET_PREFIX)
            && !value.is_empty()
        {
            environment.insert(name, SecretValue::new(value));
        }
    }
    ScopedReader::with_environment(Scopes::default(), environment)
}

/// A local Cloudflare knows nothing of agents that live elsewhere: the daemon would deploy them all again, here.
async fn refuse_real_agents(store: &dyn Store, account: &str) -> Result<(), Failure> {
    let elsewhere = store
        .list(&ListFilter::default())
        .await?
        .into_iter()
        .find(|s| {
            s.agent
                .status
                .cloudflare_account
                .as_deref()
                .is_some_and(|a| a != account)
        });
    match elsewhere {
        None => Ok(()),
        Some(s) => Err(Failure::rejected(
            format!(
                "this database has agents on a real Cloudflare account (agent/{} is one); talon dev works on a local one",
                s.agent.name
            ),
            "use talon run for this database, or name another: talon dev --database-url sqlite://dev.db",
        )),
    }
}
