//! Waking up: by our own writes at once, by other processes' within a fifth of a second.

use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use talon_store::wake::Wake;
use talon_store::{StoreError, StoreResult};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::translate;

/// How often other processes' writes are looked for; one look costs microseconds.
const POLL: Duration = Duration::from_millis(150);

/// Longest single wait; keeps deadlines representable.
const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// A connection that never is inside a transaction: `PRAGMA data_version` on it moves with every commit of any other
/// connection, in whatever process.
struct Probe {
    connection: Option<SqliteConnection>,
    seen: i64,
}

/// Tells waiters that something may have become due.
pub(crate) struct Watch {
    wake: Wake,
    probe: Mutex<Probe>,
}

impl Watch {
    pub(crate) async fn new(mut connection: SqliteConnection) -> StoreResult<Self> {
        let seen = data_version(&mut connection).await?;
        Ok(Self {
            wake: Wake::default(),
            probe: Mutex::new(Probe {
                connection: Some(connection),
                seen,
            }),
        })
    }

    /// This process has written something that may be due.
    pub(crate) fn announce(&self) {
        self.wake.announce();
    }

    pub(crate) async fn wait(&self, max: Duration) -> StoreResult<()> {
        let deadline = Instant::now() + max.min(MAX_WAIT);
        loop {
            self.look().await?;
            if self.wake.take() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wake.wait(left.min(POLL)).await {
                return Ok(());
            }
        }
    }

    async fn look(&self) -> StoreResult<()> {
        // Another waiter that is looking announces what it finds to everybody.
        let Ok(mut probe) = self.probe.try_lock() else {
            return Ok(());
        };
        let connection = probe
            .connection
            .as_mut()
            .ok_or_else(|| StoreError::Unavailable("the store was closed".to_owned()))?;
        let version = data_version(connection).await?;
        if version != probe.seen {
            probe.seen = version;
            drop(probe);
            self.wake.announce();
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        if let Some(connection) = self.probe.lock().await.connection.take() {
            // Nothing was written through it, so there is nothing that closing could lose.
            let _ = connection.close().await;
        }
    }
}

async fn data_version(connection: &mut SqliteConnection) -> StoreResult<i64> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(connection)
        .await
        .map_err(translate)
}
