//! The install key: 32 random bytes in a file, the root of the tokens between controller and Workers.
//!
//! Made only together with a new database; the database keeps a check value, so that a process with another key
//! refuses to start and says which file it read.

use std::path::{Path, PathBuf};

use talon_controller::clock::OsRandom;
use talon_core::InstallId;
use talon_core::clock::Random;
use talon_secrets::{InstallKey, InstallKeyError};
use talon_store::{Install, Store};

use crate::config::Config;
use crate::database::Database;
use crate::exit::{Exit, Failure};

/// The key with the install it belongs to.
pub struct Keyed {
    /// The install.
    pub install: Install,
    /// Its key.
    pub key: InstallKey,
    /// Whether the key was made just now.
    pub generated: bool,
}

/// Where the key is: as configured, else where the database has it by default.
pub fn path(config: &Config, database: &Database) -> PathBuf {
    config
        .settings
        .install_key_file
        .clone()
        .unwrap_or_else(|| database.default_key_file())
}

/// The key of an initialised database; for a new database, makes and stores one.
pub async fn ensure(store: &dyn Store, file: &Path) -> Result<Keyed, Failure> {
    if let Some(install) = store.install().await? {
        let key = read_matching(&install, file)?;
        return Ok(Keyed {
            install,
            key,
            generated: false,
        });
    }
    // A file that is there already belongs to this place; the new database takes it as its own.
    let (key, generated) = if file.exists() {
        (read(file)?, false)
    } else {
        (create(file)?, true)
    };
    let mut bytes = [0u8; 10];
    OsRandom.fill(&mut bytes);
    let install = store
        .init_install(&InstallId::from_random(bytes), &key.check())
        .await?;
    // Somebody else may have initialised the database a moment ago, with another key.
    matches(&install, &key, file)?;
    Ok(Keyed {
        install,
        key,
        generated,
    })
}

/// Whether the key in the file is the database's; returns the install's id.
pub async fn check(store: &dyn Store, file: &Path) -> Result<InstallId, Failure> {
    match store.install().await? {
        Some(install) => read_matching(&install, file).map(|_| install.id),
        None => Err(Failure::new(
            Exit::Failure,
            "the database was never initialised",
            "talon migrate does it",
        )),
    }
}

/// The key in the file, if it is the database's.
pub async fn matching(store: &dyn Store, file: &Path) -> Result<InstallKey, Failure> {
    check(store, file).await?;
    read(file)
}

fn read_matching(install: &Install, file: &Path) -> Result<InstallKey, Failure> {
    let key = read(file)?;
    matches(install, &key, file)?;
    Ok(key)
}

fn matches(install: &Install, key: &InstallKey, file: &Path) -> Result<(), Failure> {
    if key.check() == install.key_check {
        return Ok(());
    }
    Err(Failure::new(
        Exit::NotAllowed,
        format!(
            "the install key in {} is not the one of this database",
            file.display()
        ),
        "point installKeyFile (TALON_INSTALL_KEY_FILE) at the key that was made together with the database",
    ))
}

fn read(file: &Path) -> Result<InstallKey, Failure> {
    InstallKey::load(file).map_err(|e| unusable(file, &e))
}

fn create(file: &Path) -> Result<InstallKey, Failure> {
    let mut bytes = [0u8; 32];
    OsRandom.fill(&mut bytes);
    let key = InstallKey::create(file, bytes).map_err(|e| unusable(file, &e));
    bytes.fill(0);
    key
}

fn unusable(file: &Path, error: &InstallKeyError) -> Failure {
    Failure::new(
        Exit::NotAllowed,
        format!("no install key from {}: {error}", file.display()),
        "bring back the key that was made together with the database, or point installKeyFile (TALON_INSTALL_KEY_FILE) at it",
    )
}
