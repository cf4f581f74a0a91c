//! `talon search`: finds agents by what is needed.

use serde_json::Value;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::output::{safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Finds by meaning and by words, in the skills of public agents and of your own. Talks to the daemon: --server, \
TALON_SERVER, else where the configuration listens.\n\
Example:\n  talon search \"somebody who keeps notes\""
)]
pub struct Args {
    /// What is needed, in plain words
    need: String,
    /// How many agents at most
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    limit: u8,
}

/// Searches.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let server = session.server()?;
    let limit = args.limit.to_string();
    let query = [("q", args.need.as_str()), ("limit", limit.as_str())];
    let found = server
        .get(&["api", "v1", "router", "search"], &query)
        .await?;
    let out = &session.output;
    if out.is_machine() {
        out.document(&found)?;
        return Ok(Exit::Success);
    }
    let items = found.get("items").and_then(Value::as_array);
    let items: Vec<&Value> = items.into_iter().flatten().collect();
    let text =
        |item: &Value, name: &str| safe(item.get(name).and_then(Value::as_str).unwrap_or_default());
    if out.format == Format::Name {
        for item in &items {
            out.line(&format!("agent/{}", text(item, "name")));
        }
        return Ok(Exit::Success);
    }
    if items.is_empty() {
        out.progress("nobody fits; talon agents online shows who is there");
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let score = item.get("score").and_then(Value::as_f64).unwrap_or(0.0);
            vec![
                text(item, "name"),
                format!("{score:.2}"),
                text(item, "best_skill_id"),
                text(item, "description"),
            ]
        })
        .collect();
    let width = if out.format == Format::Wide {
        None
    } else {
        out.width()
    };
    out.write(&table::render(
        &["NAME", "SCORE", "BEST SKILL", "DESCRIPTION"],
        &rows,
        width,
    ));
    Ok(Exit::Success)
}
