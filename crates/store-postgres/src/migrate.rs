//! Bringing a database to this program's schema: roles, migrations, grants, hardening.
//!
//! Everything is idempotent. What the connecting role has no right to do is reported and not an error, as long as the
//! schema itself is right afterwards.

use std::time::Duration;

use sqlx::migrate::{Migrate, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use talon_store::{StoreError, StoreResult};

use crate::connect;
use crate::error::{self, Work, sqlstate, translate};

/// The schema, in steps.
static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Roles, schema and search path. For administrators as well, who may run it by `psql -f` where Talon has no right to.
pub const BOOTSTRAP_SQL: &str = include_str!("../sql/bootstrap.sql");

/// Who may do what; run after every migration.
const GRANTS_SQL: &str = include_str!("../sql/grants.sql");

/// The roles that the contract names.
const ROLES: [&str; 4] = [
    "talon_owner",
    "talon_controller",
    "talon_writer",
    "talon_reader",
];

/// Key of the advisory lock under which a database is migrated: "talon" in ASCII.
const MIGRATION_LOCK: i64 = 0x74_61_6c_6f_6e;

/// How often the bootstrap is tried: roles belong to the whole server, so that two databases may race for them.
const BOOTSTRAP_TRIES: u32 = 4;

/// Settings that keep statements, rows and parameters out of the server's log.
const HARDENING: [(&str, &str); 3] = [
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_parameter_max_length_on_error", "0"),
];

/// What to do beside the migrations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MigrateOptions {
    /// Keep statements out of the server's log, for this database.
    pub hardening: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrateReport {
    /// Names of the migrations that were applied now.
    pub applied: Vec<String>,
    /// The version that the schema has.
    pub schema_version: i64,
    /// What could not be done, and what to do about it.
    pub warnings: Vec<String>,
}

/// The newest version this program knows.
pub(crate) fn newest() -> i64 {
    MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0)
}

/// See [`crate::PostgresStore::migrate`].
pub(crate) async fn migrate(
    options: &PgConnectOptions,
    wanted: MigrateOptions,
) -> StoreResult<MigrateReport> {
    let mut connection = connect::single(options).await?;
    // Held until the connection ends. Of two who migrate at once, the second finds everything done.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut connection)
        .await
        .map_err(|e| translate(&e))?;
    let mut warnings = Vec::new();
    bootstrap(&mut connection, &mut warnings).await?;
    if wanted.hardening {
        harden(&mut connection, &mut warnings).await?;
    }
    become_owner(&mut connection, &mut warnings).await?;
    let applied = apply(&mut connection).await?;
    sqlx::raw_sql(GRANTS_SQL)
        .execute(&mut connection)
        .await
        .map_err(|e| translate(&e))?;
    let schema_version = version(&mut connection).await?.unwrap_or(0);
    let _ = connection.close().await;
    Ok(MigrateReport {
        applied,
        schema_version,
        warnings,
    })
}

/// The version of the schema, `None` if there is none.
pub(crate) async fn version(connection: &mut PgConnection) -> Work<Option<i64>> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('talon._sqlx_migrations') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
    if !there {
        return Ok(None);
    }
    Ok(
        sqlx::query_scalar("SELECT max(version) FROM talon._sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await?,
    )
}

async fn bootstrap(connection: &mut PgConnection, warnings: &mut Vec<String>) -> Work<()> {
    for attempt in 0..BOOTSTRAP_TRIES {
        if missing_roles(connection).await?.is_empty()
            && schema_exists(connection).await?
            && search_path_set(connection).await?
            && writes_on_request(connection).await?
        {
            return Ok(());
        }
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
        match sqlx::raw_sql(BOOTSTRAP_SQL).execute(&mut *connection).await {
            Ok(_) => {}
            // "tuple concurrently updated" and the like: somebody else changes the same shared rows.
            Err(error)
                if matches!(
                    sqlstate(&error).as_deref(),
                    Some("XX000" | "23505" | "42710")
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }

    let missing = missing_roles(connection).await?;
    if !missing.is_empty() {
        warnings.push(format!(
            "no right to create the roles {}: an administrator runs the bootstrap script once, then migrate again",
            missing.join(", ")
        ));
    }
    if missing.is_empty() && !writes_on_request(connection).await? {
        warnings.push(
            "no right to let talon_controller become talon_writer, so that the daemon would refuse every change over \
             HTTP: an administrator runs the bootstrap script once"
                .to_owned(),
        );
    }
    if !search_path_set(connection).await? {
        warnings.push(
            "no right to set this database's search path: write talon.agent_source, or have its owner run \
             ALTER DATABASE … SET search_path = talon, public"
                .to_owned(),
        );
    }
    if !schema_exists(connection).await? {
        // Without the roles, the schema belongs to whoever migrates.
        sqlx::raw_sql("CREATE SCHEMA IF NOT EXISTS talon")
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn missing_roles(connection: &mut PgConnection) -> Work<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT wanted FROM unnest($1::text[]) wanted WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)",
    )
    .bind(ROLES.map(str::to_owned).to_vec())
    .fetch_all(connection)
    .await?)
}

async fn schema_exists(connection: &mut PgConnection) -> Work<bool> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'talon')")
            .fetch_one(connection)
            .await?,
    )
}

async fn search_path_set(connection: &mut PgConnection) -> Work<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
         WHERE d.datname = current_database() AND s.setrole = 0
           AND EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c LIKE 'search_path=%talon%'))",
    )
    .fetch_one(connection)
    .await?)
}

/// Whether the daemon's role may become a writer when somebody asks it to, and is none otherwise.
async fn writes_on_request(connection: &mut PgConnection) -> Work<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_roles c, pg_roles w
         WHERE c.rolname = 'talon_controller' AND w.rolname = 'talon_writer'
           AND pg_has_role(c.oid, w.oid, 'MEMBER') AND NOT pg_has_role(c.oid, w.oid, 'USAGE'))",
    )
    .fetch_one(connection)
    .await?)
}

/// Becomes the owner of the schema, so that what is made belongs to it and not to a person.
async fn become_owner(connection: &mut PgConnection, warnings: &mut Vec<String>) -> Work<()> {
    sqlx::raw_sql("SET search_path = talon")
        .execute(&mut *connection)
        .await?;
    let owned_by: Option<String> = sqlx::query_scalar(
        "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'talon'",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if owned_by.as_deref() != Some("talon_owner") {
        return Ok(());
    }
    match sqlx::raw_sql("SET ROLE talon_owner")
        .execute(&mut *connection)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
            warnings.push("this role is not a member of talon_owner: GRANT talon_owner TO it before migrating".to_owned());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn apply(connection: &mut PgConnection) -> StoreResult<Vec<String>> {
    let table = MIGRATOR.table_name.as_ref();
    let before: Vec<i64> = match version(connection).await? {
        None => Vec::new(),
        Some(_) => connection
            .list_applied_migrations(table)
            .await
            .map_err(|e| error::migration(&e))?
            .into_iter()
            .map(|m| m.version)
            .collect(),
    };
    let pending: Vec<String> = MIGRATOR
        .iter()
        .filter(|m| !before.contains(&m.version))
        .map(|m| format!("{:04}_{}", m.version, m.description.replace(' ', "_")))
        .collect();
    if pending.is_empty() && before.iter().all(|v| MIGRATOR.version_exists(*v)) {
        return Ok(pending);
    }
    MIGRATOR
        .run_direct(None, connection, false)
        .await
        .map_err(|e| error::migration(&e))?;
    Ok(pending)
}

async fn harden(connection: &mut PgConnection, warnings: &mut Vec<String>) -> Work<()> {
    let database: String = sqlx::query_scalar("SELECT quote_ident(current_database())")
        .fetch_one(&mut *connection)
        .await?;
    for (name, value) in HARDENING {
        let set = format!("ALTER DATABASE {database} SET {name} = '{value}'");
        match sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *connection).await {
            Ok(_) => {}
            Err(error) if sqlstate(&error).as_deref() == Some("42501") => warnings.push(format!(
                "no right to set {name} = {value} for this database: a superuser must, or statements that fail stand \
                 in the server's log"
            )),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Refuses a schema that is not exactly this program's.
pub(crate) async fn check(connection: &mut PgConnection) -> StoreResult<()> {
    let newest = newest();
    match version(connection).await? {
        Some(version) if version == newest => Ok(()),
        Some(version) if version > newest => Err(StoreError::Corrupt(format!(
            "the schema is at version {version}, newer than this program's {newest}"
        ))),
        Some(version) => Err(StoreError::Corrupt(format!(
            "the schema is at version {version}, this program needs {newest}; run `talon migrate`"
        ))),
        None => Err(StoreError::Corrupt(
            "there is no schema; run `talon migrate`".to_owned(),
        )),
    }
}
