//! `talon migrate`.

use serde_json::json;

use super::DryRunFlag;
use crate::database::{self, Database};
use crate::exit::{Exit, Failure, NOT_A_DATABASE};
use crate::install_key;
use crate::output::safe;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A new database gets a new install key beside it: the root of the tokens with which the controller speaks to \
its Workers. Keep the file; every daemon on this database needs it."
)]
pub struct Args {
    /// PostgreSQL: keep statements that fail, and their values, out of the server's log
    #[arg(long)]
    hardening: bool,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Creates or updates the schema.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let database = session.database()?;
    if args.dry_run.is_set() {
        return dry_run(&session, &database).await;
    }
    let migrated = database::migrate(&database, args.hardening).await?;
    for warning in &migrated.warnings {
        session.output.warn(&safe(warning));
    }
    let store = database::open(&database).await?.store;
    let key_file = install_key::path(&session.config, &database);
    let install = install_key::ensure(&*store, &key_file).await?;
    if session.output.is_machine() {
        session.output.document(&json!({
            "database": database.shown(),
            "applied": migrated.applied,
            "warnings": migrated.warnings,
            "install": install.install.id,
            "keyFile": key_file,
            "keyGenerated": install.generated,
        }))?;
        return Ok(Exit::Success);
    }
    session.output.line(&format!(
        "{}: {}",
        safe(&database.shown()),
        safe(migrated.applied.as_deref().unwrap_or("up to date")),
    ));
    if install.generated {
        session.output.line(&format!(
            "install {}: new install key in {} (keep it, and give it to every daemon on this database)",
            install.install.id,
            key_file.display()
        ));
    }
    Ok(Exit::Success)
}

async fn dry_run(session: &Session, database: &Database) -> Result<Exit, Failure> {
    let what = match (database, database::open(database).await) {
        (_, Ok(_)) => "up to date: nothing would be done".to_owned(),
        (Database::Sqlite(path), Err(_)) if !path.exists() => "would be created".to_owned(),
        // Out of reach, not allowed, not a database: migrating would fail, too.
        (_, Err(failure))
            if matches!(failure.exit, Exit::Unavailable | Exit::NotAllowed)
                || failure.message.contains(NOT_A_DATABASE) =>
        {
            return Err(failure);
        }
        (_, Err(failure)) => format!("would be brought up to date (now: {})", failure.message),
    };
    if session.output.is_machine() {
        session
            .output
            .document(&json!({ "dryRun": true, "database": database.shown(), "result": what }))?;
    } else {
        session.output.line(&format!(
            "{}: {} (dry run)",
            safe(&database.shown()),
            safe(&what)
        ));
    }
    Ok(Exit::Success)
}
