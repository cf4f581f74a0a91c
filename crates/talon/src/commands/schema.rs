//! `talon schema`.

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For editors with the YAML language server: write the schema to a file and put\n  # yaml-language-server: $schema=./talon.schema.json\nat the head of your manifest."
)]
pub struct Args {}

/// Prints the JSON Schema (as YAML with `-o yaml`).
pub fn run(session: &Session) -> Result<Exit, Failure> {
    let schema = talon_core::manifest::schema();
    match session.output.format {
        Format::Yaml => session.output.document(&schema)?,
        Format::Table | Format::Wide | Format::Json | Format::Name => {
            let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
            session.output.line(&text);
        }
    }
    Ok(Exit::Success)
}
