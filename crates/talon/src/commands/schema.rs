//! `talon schema`.

use serde_json::Value;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::schemas;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For editors with the YAML language server: write the schema to a file and put\n  # yaml-language-server: $schema=./talon.schema.json\nat the head of your manifest.\n\
For programs: talon schema output NAME is the schema of what a command prints with -o json; talon schema output is all of them."
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

/// Of what.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// The JSON Schema of what commands print with -o json (and -o yaml); -o name lists which there are
    Output {
        /// Of one command: get, get-list, describe, apply, plan, … [default: all of them, under $defs]
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// Prints the JSON Schema (as YAML with `-o yaml`).
pub fn run(args: &Args, session: &Session) -> Result<Exit, Failure> {
    let schema = match &args.what {
        None => talon_core::manifest::schema(),
        Some(What::Output { name: None }) if session.output.format == Format::Name => {
            for name in schemas::names() {
                session.output.line(&name);
            }
            return Ok(Exit::Success);
        }
        Some(What::Output { name: None }) => schemas::all(),
        Some(What::Output { name: Some(name) }) => schemas::of(name).ok_or_else(|| {
            Failure::usage(
                "there is no such schema",
                "talon schema output -o name lists them",
            )
        })?,
    };
    print(&schema, session)
}

fn print(schema: &Value, session: &Session) -> Result<Exit, Failure> {
    match session.output.format {
        Format::Yaml => session.output.document(schema)?,
        Format::Table | Format::Wide | Format::Json | Format::Name => {
            let text = serde_json::to_string_pretty(schema).unwrap_or_default();
            session.output.line(&text);
        }
    }
    Ok(Exit::Success)
}
