//! `talon agents online`: who is connected to the Hub.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::output::{age, safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to show.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Who is connected to the Hub, self-hosted agents included
    Online,
}

/// Asks the daemon.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    match args.what {
        What::Online => online(&session).await,
    }
}

async fn online(session: &Session) -> Result<Exit, Failure> {
    let server = session.server()?;
    let answer = server.get(&["api", "v1", "router", "online"], &[]).await?;
    let out = &session.output;
    if out.is_machine() {
        out.document(&answer)?;
        return Ok(Exit::Success);
    }
    let items = answer.get("items").and_then(Value::as_array);
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
        out.progress("nobody is connected; talon get shows the agents there are, talon why NAME what one waits for");
        return Ok(Exit::Success);
    }
    let when = |item: &Value, name: &str| {
        let at: Option<DateTime<Utc>> = item
            .get(name)
            .and_then(Value::as_str)
            .and_then(|at| at.parse().ok());
        match at {
            None => String::new(),
            Some(at) if out.format == Format::Wide => age::stamp(at),
            Some(at) => age::since(Utc::now(), at),
        }
    };
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let managed = item.get("managed").and_then(Value::as_bool);
            vec![
                text(item, "name"),
                match managed {
                    Some(false) => "self-hosted".to_owned(),
                    Some(true) | None => "deployed".to_owned(),
                },
                when(item, "connected_at"),
                when(item, "last_seen"),
                text(item, "runtime"),
            ]
        })
        .collect();
    out.write(&table::render(
        &["NAME", "KIND", "CONNECTED", "LAST SEEN", "RUNTIME"],
        &rows,
        out.width(),
    ));
    Ok(Exit::Success)
}
