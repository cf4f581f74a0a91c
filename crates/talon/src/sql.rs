//! The few questions that are asked of a database in plain SQL: what a person would type.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::output::safe;

/// The columns that `talon demo` shows.
const COLUMNS: [&str; 10] = [
    "name",
    "owner",
    "generation",
    "observed_generation",
    "deployment_status",
    "deployment_error",
    "worker_url",
    "r2_bucket",
    "has_anthropic_key",
    "first_deployed_at",
];

/// One row of `agent_source`, with the statement that reads it, as `sqlite3 -line` prints it.
pub async fn select_agent(database: &Database, name: &str) -> Result<String, Failure> {
    let Database::Sqlite(path) = database else {
        return Ok(String::new());
    };
    let mut connection =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).read_only(true))
            .await
            .map_err(unavailable)?;
    let wanted: Vec<String> = COLUMNS
        .iter()
        .map(|c| format!("CAST({c} AS TEXT)"))
        .collect();
    let statement = format!(
        "SELECT {} FROM agent_source WHERE name = ?",
        wanted.join(", ")
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .map_err(unavailable)?;
    let width = COLUMNS.iter().map(|c| c.len()).max().unwrap_or(0);
    let mut text = format!(
        "   sqlite> SELECT {}\n           FROM agent_source WHERE name = '{}';\n",
        COLUMNS.join(", "),
        safe(name)
    );
    for (i, column) in COLUMNS.iter().enumerate() {
        let value: Option<String> = row.try_get(i).map_err(unavailable)?;
        text.push_str(&format!(
            "   {column:>width$} = {}\n",
            safe(value.as_deref().unwrap_or(""))
        ));
    }
    Ok(text)
}

/// The settings that keep statements and values out of PostgreSQL's log: `(name, wanted)`.
const HARDENING: [(&str, &str); 3] = [
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_parameter_max_length_on_error", "0"),
];

/// Which of the settings of `talon migrate --hardening` are not in force, as `name = value`.
pub async fn missing_hardening(url: &str) -> Result<Vec<String>, Failure> {
    let options: PgConnectOptions = url.parse().map_err(unavailable)?;
    let mut connection = PgConnection::connect_with(&options)
        .await
        .map_err(unavailable)?;
    let mut missing = Vec::new();
    for (name, wanted) in HARDENING {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(unavailable)?;
        if value != wanted {
            missing.push(format!("{name} = {}", safe(&value)));
        }
    }
    // The answers are here already.
    let _ = connection.close().await;
    Ok(missing)
}

/// Whether what somebody asks over HTTP of a daemon with this login can be written: by the login itself, or as
/// `talon_writer`, which it may become.
pub async fn may_write_specs(url: &str) -> Result<bool, Failure> {
    let options: PgConnectOptions = url.parse().map_err(unavailable)?;
    let mut connection = PgConnection::connect_with(&options)
        .await
        .map_err(unavailable)?;
    let may = sqlx::query_scalar(
        "SELECT has_table_privilege('talon.agent_source', 'DELETE')
            OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'talon_writer' AND pg_has_role(oid, 'MEMBER'))",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(unavailable)?;
    // The answer is here already.
    let _ = connection.close().await;
    Ok(may)
}

/// The error's own text may hold the URL: it is not repeated.
fn unavailable(error: sqlx::Error) -> Failure {
    let what = match error {
        sqlx::Error::Io(e) => e.to_string(),
        sqlx::Error::Database(e) => safe(e.message()),
        sqlx::Error::RowNotFound => "no such row".to_owned(),
        _ => "it does not answer as expected".to_owned(),
    };
    Failure::new(
        Exit::Unavailable,
        format!("the database is not available: {what}"),
        "check --database-url, then try again",
    )
}
