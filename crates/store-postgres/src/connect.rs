//! How connections are made: limits on every statement, the search path, no statement in our own log.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};
use talon_store::{StoreError, StoreResult};

use crate::error::Work;

/// Connections one daemon uses at most, the listener's apart.
const MAX_CONNECTIONS: u32 = 10;

/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a database URL. Its text never appears in an error.
pub(crate) fn parse(url: &str) -> StoreResult<PgConnectOptions> {
    PgConnectOptions::from_str(url)
        .map(|options| {
            options
                .application_name("talon")
                .disable_statement_logging()
        })
        .map_err(|_| StoreError::Unavailable("the database URL cannot be read".to_owned()))
}

/// The pool of a store. Connects when it is used.
pub(crate) fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(limit(connection)))
        .connect_lazy_with(options)
}

/// A pool of one, for the listener, which keeps its connection for itself.
pub(crate) fn listener_pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options)
}

/// One connection without limits. Unlike a pool it says at once, and exactly, why there is none.
pub(crate) async fn single(options: &PgConnectOptions) -> Work<PgConnection> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => {
            Err(StoreError::Unavailable("the database server does not answer".to_owned()).into())
        }
    }
}

/// A pass must neither wait for ever behind somebody's open transaction nor leave one open itself.
async fn limit(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "SET search_path = talon; SET statement_timeout = '30s'; SET lock_timeout = '5s';
         SET idle_in_transaction_session_timeout = '60s'",
    )
    .execute(connection)
    .await?;
    Ok(())
}
