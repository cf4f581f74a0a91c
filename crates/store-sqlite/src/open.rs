//! Opening a database file, making its schema, and telling what is there.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};
use talon_store::{StoreError, StoreResult};

use crate::error::translate;
use crate::gather::Gather;
use crate::lock::DaemonLock;
use crate::watch::Watch;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a statement waits for another process's write to end.
const BUSY: Duration = Duration::from_secs(10);

/// Tries at a schema that another process may be making at the same moment.
const MIGRATE_TRIES: u32 = 5;

/// The store on one SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer, and waiting here is fair.
    writer: SqlitePool,
    /// Refuse to write.
    pub(crate) readers: SqlitePool,
    pub(crate) watch: Arc<Watch>,
    /// Small writes that may share a commit.
    pub(crate) gather: Arc<Gather>,
    path: Arc<Path>,
}

impl SqliteStore {
    /// Opens an existing database: `sqlite://talon.db`, `sqlite:///var/lib/talon/talon.db` or a plain path. `Corrupt` if
    /// its schema is not exactly this program's; `Unavailable` if there is no such file.
    pub async fn open(url_or_path: &str) -> StoreResult<Self> {
        let path = parse_url(url_or_path)?;
        if !path.exists() {
            return Err(StoreError::Unavailable(format!(
                "there is no database file {} (`talon migrate` makes one)",
                path.display()
            )));
        }
        let mut probe = connect(&path).await?;
        check_schema(&mut probe).await?;
        let options = options(&path);
        // A connection to a file does not die while it waits, so none is tried before each use.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .map_err(translate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(translate)?;
        let watch = Watch::new(probe).await?;
        Ok(Self {
            gather: Gather::new(writer.clone()),
            writer,
            readers,
            watch: Arc::new(watch),
            path: Arc::from(path),
        })
    }

    /// Makes the file (readable by its owner only) if there is none and brings its schema up to this program's.
    /// Safe to repeat, and to run twice at once. `Corrupt` if the database is newer than this program.
    pub async fn migrate(url_or_path: &str) -> StoreResult<()> {
        let path = parse_url(url_or_path)?;
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        if let Err(e) = made
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(StoreError::Unavailable(format!(
                "cannot make the database file {}: {e}",
                path.display()
            )));
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options(&path))
            .await
            .map_err(translate)?;
        let mut tries = 0;
        let result = loop {
            tries += 1;
            match MIGRATOR.run(&pool).await {
                Ok(()) => break Ok(()),
                // Another process may have been faster with a step; then the next look finds it done.
                Err(_) if tries < MIGRATE_TRIES => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(e) => {
                    break Err(StoreError::Corrupt(format!(
                        "the schema cannot be brought up to date: {e}"
                    )));
                }
            }
        };
        pool.close().await;
        result
    }

    /// Whether there is no Talon database yet: no file, or one without a schema.
    pub async fn is_new(url_or_path: &str) -> StoreResult<bool> {
        let path = parse_url(url_or_path)?;
        if !path.exists() {
            return Ok(true);
        }
        let mut connection = connect(&path).await?;
        let new = versions(&mut connection).await?.is_empty();
        connection.close().await.map_err(translate)?;
        Ok(new)
    }

    /// Takes the right to be the one daemon of this file; `Unavailable`, naming the process, if another has it.
    pub fn lock_daemon(&self) -> StoreResult<DaemonLock> {
        DaemonLock::take(&self.path)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ids that were given out and have no row any more, with the name they had if it was in use: somebody removed the
    /// row behind the triggers' back. Reported, never guessed.
    pub async fn lost_rows(&self) -> StoreResult<Vec<(String, Option<String>)>> {
        sqlx::query_as("SELECT id, name FROM lost_rows ORDER BY id")
            .fetch_all(&self.readers)
            .await
            .map_err(translate)
    }

    /// Closes every connection; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.watch.close().await;
        self.writer.close().await;
    }

    /// A transaction that sees one state of the database.
    pub(crate) async fn reading(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.readers.begin().await.map_err(translate)
    }

    /// A transaction that holds the right to write from its beginning, so that what it reads still is so when it writes.
    pub(crate) async fn writing(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(translate)
    }
}

/// Commits a transaction.
pub(crate) async fn done(transaction: Transaction<'static, Sqlite>) -> StoreResult<()> {
    transaction.commit().await.map_err(translate)
}

fn parse_url(text: &str) -> StoreResult<PathBuf> {
    let path = text
        .strip_prefix("sqlite://")
        .or_else(|| text.strip_prefix("sqlite:"))
        .unwrap_or(text);
    if path.is_empty() || path.contains(":memory:") || path.contains('?') || path.contains("://") {
        return Err(StoreError::Unavailable(
            "a SQLite database is given as sqlite://talon.db, sqlite:///absolute/path.db or a plain path"
                .to_owned(),
        ));
    }
    Ok(PathBuf::from(path))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("temp_store", "MEMORY")
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

async fn connect(path: &Path) -> StoreResult<SqliteConnection> {
    options(path).connect().await.map_err(translate)
}

/// The versions of the schema that were applied; empty if there is none.
async fn versions(connection: &mut SqliteConnection) -> StoreResult<Vec<i64>> {
    let known: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(translate)?;
    if known == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
        .map_err(translate)
}

async fn check_schema(connection: &mut SqliteConnection) -> StoreResult<()> {
    let have = versions(connection).await?;
    let want: Vec<i64> = MIGRATOR.iter().map(|m| m.version).collect();
    if have == want {
        return Ok(());
    }
    Err(StoreError::Corrupt(if have.is_empty() {
        "the file holds no Talon schema (`talon migrate` makes one)".to_owned()
    } else if have.iter().any(|v| !want.contains(v)) {
        "the schema is newer than this program; use a newer talon".to_owned()
    } else {
        "the schema is older than this program; run `talon migrate`".to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths() {
        for (text, path) in [
            ("sqlite://talon.db", "talon.db"),
            ("sqlite:///var/lib/t.db", "/var/lib/t.db"),
            ("sqlite:t.db", "t.db"),
            ("/tmp/x/t.db", "/tmp/x/t.db"),
        ] {
            assert_eq!(parse_url(text).unwrap(), Path::new(path));
        }
        for bad in [
            "",
            "sqlite://",
            "sqlite::memory:",
            "postgres://x/y",
            "sqlite://t.db?mode=ro",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
