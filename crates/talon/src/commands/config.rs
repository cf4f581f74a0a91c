//! `talon config show`.

use serde_json::{Value, json};

use crate::client::TOKEN;
use crate::config::token::TokenSource;
use crate::exit::{Exit, Failure};
use crate::output::{safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// The effective value of every key, and where it came from; secrets are never shown
    Show,
}

/// Prints the configuration.
pub fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let Sub::Show = args.command;
    for name in &session.config.unknown_variables {
        session.output.warn(&format!(
            "the environment variable {} is no key of talon",
            safe(name)
        ));
    }
    if session.output.is_machine() {
        let mut entries: serde_json::Map<String, Value> = session
            .config
            .rows()
            .into_iter()
            .map(|(path, value, origin)| {
                (
                    path.to_owned(),
                    json!({ "value": value, "origin": origin.to_string() }),
                )
            })
            .collect();
        for (name, value, origin) in beside(&session) {
            entries.insert(name.to_owned(), json!({ "value": value, "origin": origin }));
        }
        session.output.document(&Value::Object(entries))?;
        return Ok(Exit::Success);
    }
    let mut rows: Vec<Vec<String>> = session
        .config
        .rows()
        .into_iter()
        .map(|(path, value, origin)| {
            let mut shown = match &value {
                Value::Null => "-".to_owned(),
                Value::String(text) => safe(text),
                other => safe(&other.to_string()),
            };
            if matches!(
                path,
                "cloudflare.apiToken" | "router.serviceKey" | "vault.token"
            ) && let Some(source) = value
                .as_str()
                .and_then(|v| TokenSource::parse(path, v).ok())
            {
                shown.push_str(if source.read(path).is_ok() {
                    " (set, not shown)"
                } else {
                    " (no value)"
                });
            }
            vec![path.to_owned(), shown, origin.to_string()]
        })
        .collect();
    for (name, value, origin) in beside(&session) {
        let shown = value.as_str().map_or_else(|| "-".to_owned(), safe);
        rows.push(vec![name.to_owned(), shown, origin.to_owned()]);
    }
    session
        .output
        .write(&table::render(&["KEY", "VALUE", "FROM"], &rows, None));
    Ok(Exit::Success)
}

/// What is no key and still decides where commands go: the daemon they speak to, and whether a token for it is at hand
/// (never the token).
fn beside(session: &Session) -> [(&'static str, Value, &'static str); 2] {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let server = match session.server_named() {
        Some(server) => (json!(server), "$TALON_SERVER"),
        None => (Value::Null, "default"),
    };
    let token = match set(TOKEN) {
        true => (json!("(set, not shown)"), "$TALON_TOKEN"),
        false => (Value::Null, "default"),
    };
    [("server", server.0, server.1), ("token", token.0, token.1)]
}
