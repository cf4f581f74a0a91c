//! How PostgreSQL's errors become ours: by SQLSTATE, never by the server's own words.
//!
//! Guarantee: no text of the server passes through, except the messages of Talon's own triggers, which never repeat a
//! value. In particular DETAIL, which prints rows, is never looked at.

use std::time::Duration;

use sqlx::error::DatabaseError;
use talon_store::{StoreError, StoreResult, codes};

/// Why a piece of work in the database did not succeed, before anybody decided whether to try again.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The driver or the server.
    Sql(sqlx::Error),
    /// Already an answer.
    Store(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sql(error) => translate(&error),
            Failure::Store(error) => error,
        }
    }
}

/// Result of a piece of work.
pub(crate) type Work<T> = Result<T, Failure>;

/// How often a transaction that lost against another one is tried in all.
const TRIES: u32 = 5;

/// Runs a transaction, again if the server aborted it because of another one (serialization failure, deadlock). Such
/// a transaction has left nothing behind.
pub(crate) async fn retrying<T, F, Fut>(mut work: F) -> StoreResult<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Work<T>>,
{
    let mut tried = 1;
    loop {
        match work().await {
            Ok(value) => return Ok(value),
            Err(Failure::Sql(error)) if tried < TRIES && lost_against_another(&error) => {
                tokio::time::sleep(Duration::from_millis(5 << tried)).await;
                tried += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn lost_against_another(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

/// The SQLSTATE of an error, if the server sent it.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .map(|code| code.into_owned())
}

/// Translates an error of the driver.
pub(crate) fn translate(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(database) => by_sqlstate(database.as_ref()),
        sqlx::Error::Configuration(_) => {
            StoreError::Unavailable("the database URL cannot be used".to_owned())
        }
        sqlx::Error::Io(io) => StoreError::Unavailable(format!("connection: {}", io_cause(io))),
        sqlx::Error::Tls(_) => StoreError::Unavailable("TLS could not be established".to_owned()),
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("no connection became free in time".to_owned())
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            StoreError::Unavailable("the connection was closed".to_owned())
        }
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::ColumnDecode { index, .. } => {
            StoreError::Corrupt(format!("column {index} cannot be read"))
        }
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Decode(_) => {
            StoreError::Corrupt("an answer has another shape than expected".to_owned())
        }
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
            codes::invalid("a value cannot be stored")
        }
        _ => StoreError::Unavailable("the connection failed".to_owned()),
    }
}

/// Why there is no connection. A name that does not resolve has no kind of its own, and its text names no host.
fn io_cause(io: &std::io::Error) -> String {
    let text = io.to_string();
    if text.starts_with("failed to lookup address information") {
        return "the host name in the database URL cannot be resolved: check its spelling, and this machine's DNS"
            .to_owned();
    }
    match io.kind().to_string() {
        vague if vague.contains("uncategorized") || vague.contains("other error") => {
            io.raw_os_error().map_or_else(
                || "the database server cannot be reached".to_owned(),
                |code| format!("the database server cannot be reached (system error {code})"),
            )
        }
        clear => clear,
    }
}

fn by_sqlstate(error: &dyn DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    if code.starts_with("OC") {
        return ours(&code, error.message());
    }
    match code.as_ref() {
        "23505"
            if error.constraint().is_some_and(|c| {
                c.starts_with("agent_source_") && c != "agent_source_live_name"
            }) =>
        {
            codes::rejected(codes::TAKEN)
        }
        "23505" => codes::invalid("name: a living agent has it already"),
        "42501" => codes::invalid("this database role may not do that"),
        "57014" => StoreError::Unavailable("a statement took too long".to_owned()),
        "55P03" => StoreError::Unavailable("a row stayed locked by somebody else".to_owned()),
        "3D000" => StoreError::Unavailable("there is no such database".to_owned()),
        "28000" | "28P01" => StoreError::Unavailable("the database refused the login".to_owned()),
        "3F000" | "42P01" | "42703" | "42883" => {
            StoreError::Corrupt("the schema is missing or old; run `talon migrate`".to_owned())
        }
        _ => match code.get(..2) {
            // Data the column types cannot hold, such as a NUL character.
            Some("22" | "23") => {
                codes::invalid(format!("a value cannot be stored (SQLSTATE {code})"))
            }
            Some("42") => {
                StoreError::Corrupt(format!("a statement was not understood (SQLSTATE {code})"))
            }
            _ => StoreError::Unavailable(format!("SQLSTATE {code}")),
        },
    }
}

/// A refusal by one of Talon's own triggers: `TALON-OC002 persona and …`.
fn ours(code: &str, message: &str) -> StoreError {
    let code = format!("TALON-{code}");
    let message = message
        .strip_prefix(code.as_str())
        .unwrap_or_default()
        .trim_start();
    StoreError::Rejected {
        message: message.to_owned(),
        code,
    }
}

/// What a migration failed of.
pub(crate) fn migration(error: &sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError as E;
    match error {
        E::Execute(error) | E::ExecuteMigration(error, _) => match translate(error) {
            StoreError::Rejected { message, .. } => {
                StoreError::Unavailable(format!("migration refused: {message}"))
            }
            other => other,
        },
        E::VersionMissing(version) | E::VersionTooNew(version, _) => StoreError::Corrupt(format!(
            "the schema has migration {version}, which this program does not know"
        )),
        E::VersionMismatch(version) => {
            StoreError::Corrupt(format!("migration {version} was applied with another text"))
        }
        E::Dirty(version) => {
            StoreError::Corrupt(format!("migration {version} was applied in part"))
        }
        _ => StoreError::Corrupt("the migrations cannot be applied".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn a_host_that_does_not_resolve_is_said_to_be_one() {
        let io = "no-such-host.invalid:5432".to_socket_addrs().unwrap_err();
        let said = translate(&sqlx::Error::Io(io)).to_string();
        assert!(
            said.contains("host name in the database URL cannot be resolved"),
            "{said}"
        );
        assert!(!said.contains("no-such-host"), "{said}");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let said = translate(&sqlx::Error::Io(refused)).to_string();
        assert!(said.contains("connection refused"), "{said}");
        let vague = std::io::Error::from_raw_os_error(64);
        let said = translate(&sqlx::Error::Io(vague)).to_string();
        assert!(
            said.contains("cannot be reached (system error 64)"),
            "{said}"
        );
    }
}
