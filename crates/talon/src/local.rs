//! Everything on this machine: a database, a local Cloudflare and the daemon, in one process. Behind `dev` and `demo`.
//!
//! Needs no configuration and no account. Unless a folder or a database is named, all of it lives in one temporary
//! directory and dies with it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use talon_cloudflare::ClientConfig;
use talon_controller::ControllerConfig;
use talon_core::secret::SecretValue;
use talon_secrets::{ScopedReader, Scopes};
use talon_simulator::{DEV_API_TOKEN, SimConfig, SimHandle, Simulator};
use talon_store::{ListFilter, Store};
use talon_store_sqlite::DaemonLock;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::keys::SECRET_PREFIX;
use crate::daemon::{self, Wiring};
use crate::database::{self, Database};
use crate::exit::{Exit, Failure};
use crate::install_key;

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

/// A running set-up.
pub struct Local {
    /// The database.
    pub database: Database,
    /// The rows.
    pub store: Arc<dyn Store>,
    /// The local Cloudflare.
    pub cloud: SimHandle,
    stop: CancellationToken,
    daemon: JoinHandle<Result<(), Failure>>,
    lock: Option<DaemonLock>,
    /// Removed when this is dropped.
    folder: Option<TempDir>,
}

impl Local {
    /// Sets everything up and starts the daemon.
    pub async fn start(place: Place, mut config: ControllerConfig) -> Result<Self, Failure> {
        let mut folder = None;
        let (database, key_file) = match place {
            Place::Temporary => {
                let made = tempfile::Builder::new()
                    .prefix("talon-")
                    .permissions(Permissions::from_mode(0o700))
                    .tempdir()
                    .map_err(|e| Failure::io("no temporary directory", &e))?;
                let database = Database::Sqlite(made.path().join("talon.db"));
                folder = Some(made);
                let key_file = database.default_key_file();
                (database, key_file)
            }
            Place::Folder(path) => {
                std::fs::create_dir_all(&path)
                    .map_err(|e| Failure::io(&path.display().to_string(), &e))?;
                let database = Database::Sqlite(absolute(&path)?.join("talon.db"));
                let key_file = database.default_key_file();
                (database, key_file)
            }
            Place::Database(database, key_file) => (database, key_file),
        };
        database::migrate(&database, false).await?;
        let opened = database::open(&database).await?;
        let lock = opened.lock_daemon()?;
        let store = opened.store;
        let keyed = install_key::ensure(&*store, &key_file).await?;
        let cloud = Simulator::start(SimConfig::default())
            .await
            .map_err(|e| Failure::io("the local Cloudflare cannot listen", &e))?;
        refuse_real_agents(&*store, cloud.account_id()).await?;
        config.high_water_file = Some(daemon::high_water_file(&key_file));
        let stop = CancellationToken::new();
        let wiring = Wiring {
            store: store.clone(),
            cloudflare: client_config(&cloud)?,
            secrets: Arc::new(dev_secrets()),
            keyed,
            config,
        };
        let daemon = tokio::spawn(daemon::build(wiring, stop.clone())?);
        Ok(Self {
            database,
            store,
            cloud,
            stop,
            daemon,
            lock,
            folder,
        })
    }

    /// Whether everything is removed at the end.
    pub fn is_temporary(&self) -> bool {
        self.folder.is_some()
    }

    /// Ends when the daemon does, which it should not.
    pub async fn daemon_ended(&mut self) -> Failure {
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

    /// Stops the daemon in good order, then the rest; removes the temporary directory.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let ended = if self.daemon.is_finished() {
            Ok(())
        } else {
            match (&mut self.daemon).await {
                Ok(result) => result,
                Err(_) => Err(self.daemon_ended().await),
            }
        };
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
