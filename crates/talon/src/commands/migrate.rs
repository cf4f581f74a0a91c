//! `talon migrate`.

use serde_json::json;

use crate::database;
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::output::safe;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "A new database gets a new install key beside it: the root of the tokens with which the controller speaks to\n\
its Workers. Keep the file; every daemon on this database needs it.")]
pub struct Args {
    /// PostgreSQL: keep statements that fail, and their values, out of the server's log
    #[arg(long)]
    hardening: bool,
}

/// Creates or updates the schema.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let database = session.database()?;
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
