//! Database URLs, and the store behind each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use talon_store::WholeStore;
use talon_store_postgres::{MigrateOptions, PostgresStore};
use talon_store_sqlite::{DaemonLock, SqliteStore};
use url::Url;

use crate::exit::{Exit, Failure};

/// Where the rows live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A server. The text holds the password.
    Postgres(String),
}

impl Database {
    /// Reads a URL: `sqlite://path`, `sqlite:path`, `postgres://…`, `postgresql://…`.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        if let Some(rest) = url.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if !path.is_empty() && !path.contains('?') && path != ":memory:" {
                return Ok(Self::Sqlite(path.into()));
            }
        }
        if (url.starts_with("postgres://") || url.starts_with("postgresql://"))
            && Url::parse(url).is_ok()
        {
            return Ok(Self::Postgres(url.to_owned()));
        }
        Err(Failure::usage(
            "the database URL cannot be read",
            "write sqlite://talon.db or postgres://user@host/database; talon config show says where it comes from",
        ))
    }

    /// Which database it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Fit to be shown: without the password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(url) => masked(url),
        }
    }

    /// Where the install key is kept if nothing else is said.
    pub fn default_key_file(&self) -> PathBuf {
        match self {
            Self::Sqlite(path) => sibling(path, ".key"),
            Self::Postgres(_) => PathBuf::from("talon.key"),
        }
    }
}

/// The path with something added to its name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A database URL without its password.
pub fn masked(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    match Url::parse(url) {
        Ok(mut parsed) => {
            if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
                return "(not shown)".to_owned();
            }
            if parsed.query_pairs().any(|(k, _)| k == "password") {
                parsed.set_query(None);
            }
            parsed.to_string()
        }
        Err(_) => "(not a URL, not shown)".to_owned(),
    }
}

/// An open database.
pub struct Opened {
    /// The rows.
    pub store: Arc<dyn WholeStore>,
    /// The file behind them, if they are in one.
    pub file: Option<SqliteStore>,
}

impl Opened {
    /// Takes the right to be the one daemon of a SQLite file; a server serves many and needs no lock.
    pub fn lock_daemon(&self) -> Result<Option<DaemonLock>, Failure> {
        self.file
            .as_ref()
            .map(SqliteStore::lock_daemon)
            .transpose()
            .map_err(|error| {
                Failure::new(
                    Exit::Unavailable,
                    error.to_string(),
                    "stop the other one first; several daemons share a PostgreSQL database",
                )
            })
    }
}

/// Opens an existing database of the right schema.
pub async fn open(database: &Database) -> Result<Opened, Failure> {
    match database {
        Database::Sqlite(path) => {
            if !path.exists() {
                return Err(Failure::new(
                    Exit::Unavailable,
                    format!("there is no database at {}", path.display()),
                    "talon migrate creates it; or name another with --database-url (talon dev prints the one it uses)",
                ));
            }
            let file = SqliteStore::open(&database.shown()).await?;
            Ok(Opened {
                store: Arc::new(file.clone()),
                file: Some(file),
            })
        }
        Database::Postgres(url) => Ok(Opened {
            store: Arc::new(PostgresStore::open(url).await?),
            file: None,
        }),
    }
}

/// What migrating did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// What was applied now, in words; `None`: nothing.
    pub applied: Option<String>,
    /// What could not be done, and what to do about it.
    pub warnings: Vec<String>,
}

/// Creates the database where that is possible, and brings its schema up to date.
pub async fn migrate(database: &Database, hardening: bool) -> Result<Migrated, Failure> {
    match database {
        Database::Sqlite(_) => {
            let url = database.shown();
            let new = SqliteStore::is_new(&url).await?;
            SqliteStore::migrate(&url).await?;
            Ok(Migrated {
                applied: new.then(|| "created".to_owned()),
                warnings: Vec::new(),
            })
        }
        Database::Postgres(url) => {
            let report = PostgresStore::migrate(url, MigrateOptions { hardening }).await?;
            Ok(Migrated {
                applied: (!report.applied.is_empty())
                    .then(|| format!("applied {}", report.applied.join(", "))),
                warnings: report.warnings,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, path) in [
            ("sqlite://talon.db", "talon.db"),
            ("sqlite:talon.db", "talon.db"),
            ("sqlite:///var/lib/talon.db", "/var/lib/talon.db"),
        ] {
            assert_eq!(Database::parse(url), Ok(Database::Sqlite(path.into())));
        }
        let url = "postgres://talon@db.example/talon";
        assert_eq!(Database::parse(url), Ok(Database::Postgres(url.into())));
        for bad in [
            "",
            "talon.db",
            "sqlite:",
            "sqlite://",
            "mysql://x/y",
            "sqlite::memory:",
        ] {
            assert!(Database::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for url in [
            "postgres://talon:canary@db.example/talon",
            "postgres://talon@db.example/talon?password=canary",
            "postgres://talon:canary@[bad/talon",
        ] {
            assert!(!masked(url).contains("canary"), "{url}");
        }
    }

    #[test]
    fn the_key_lies_beside_the_file() {
        let database = Database::Sqlite("/data/talon.db".into());
        assert_eq!(
            database.default_key_file(),
            PathBuf::from("/data/talon.db.key")
        );
    }
}
