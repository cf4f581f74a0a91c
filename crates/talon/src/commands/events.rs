//! `talon events`.

use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use talon_core::event::{Event, Severity};

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::fleet::Events;
use crate::output::{age, list_document, safe, table};
use crate::session::{Session, bare};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Events that repeat are folded into one with a count.\nExamples:\n  talon events research-pro\n  talon events -w --warnings"
)]
pub struct Args {
    /// Only of this agent
    name: Option<String>,
    /// Only of this agent (agent/NAME)
    #[arg(long = "for", value_name = "agent/NAME", conflicts_with = "name")]
    of: Option<String>,
    /// Only warnings
    #[arg(long)]
    warnings: bool,
    /// The latest so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Stay, and print new events as they come, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// Prints events, the oldest first.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let name = args.name.as_deref().or(args.of.as_deref()).map(bare);
    if let Some(name) = name
        && fleet.get(name, true).await?.is_none()
    {
        return Err(Failure::not_found(name));
    }
    let mut ask = Events {
        agent: name.map(str::to_owned),
        owner: session.owner(),
        severity: args.warnings.then_some(Severity::Warning),
        after: None,
        limit: args.limit,
    };
    let events = fleet.events(&ask).await?;
    ask.after = events.last().map(|e| e.last_at);
    print(&session, &events, args.watch)?;
    if !args.watch {
        return Ok(Exit::Success);
    }
    let mut changes = fleet.watch().await?;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    while !session.output.is_closed() {
        tokio::select! {
            _ = &mut interrupt => return Ok(Exit::Interrupted),
            changed = changes.hint(&[], Duration::from_secs(2)) => changed?,
        }
        let fresh = fleet.events(&ask).await?;
        ask.after = fresh.last().map(|e| e.last_at).or(ask.after);
        if !fresh.is_empty() {
            print(&session, &fresh, true)?;
        }
    }
    Ok(Exit::Success)
}

fn print(session: &Session, events: &[Event], stream: bool) -> Result<(), Failure> {
    let out = &session.output;
    match out.format {
        Format::Json | Format::Yaml if stream => {
            for event in events {
                out.stream_item(event)?;
            }
        }
        Format::Json | Format::Yaml => {
            out.document(&list_document(events.iter().map(|e| json!(e)).collect()))?;
        }
        Format::Name => {
            for event in events {
                out.line(&format!(
                    "agent/{} {}",
                    safe(&event.agent),
                    event.event.reason
                ));
            }
        }
        Format::Table | Format::Wide if events.is_empty() => {
            if !stream {
                out.progress("no events");
            }
        }
        Format::Table | Format::Wide if stream => {
            for e in events {
                out.line(&format!(
                    "{} {:<7} {} {} {} {}",
                    age::stamp(e.last_at),
                    e.event.severity,
                    e.event.reason,
                    safe(&e.agent),
                    safe(&e.event.object),
                    safe(&e.event.message)
                ));
            }
        }
        Format::Table | Format::Wide => {
            let wide = out.format == Format::Wide;
            let now = Utc::now();
            let rows: Vec<Vec<String>> = events
                .iter()
                .map(|e| {
                    vec![
                        if wide {
                            age::stamp(e.last_at)
                        } else {
                            age::since(now, e.last_at)
                        },
                        e.event.severity.to_string(),
                        e.event.reason.to_string(),
                        safe(&e.agent),
                        safe(&e.event.object),
                        e.count.to_string(),
                        safe(&e.event.message),
                    ]
                })
                .collect();
            let headings = [
                "LAST", "TYPE", "REASON", "AGENT", "OBJECT", "COUNT", "MESSAGE",
            ];
            let width = out.width().filter(|_| !wide);
            out.write(&table::render(&headings, &rows, width));
        }
    }
    Ok(())
}
