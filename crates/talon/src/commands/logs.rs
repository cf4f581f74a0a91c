//! `talon logs`: what the controller did for an agent, and what its Worker prints.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use talon_core::logs::LogSource;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Format;
use crate::client::Server;
use crate::exit::{Exit, Failure};
use crate::output::{age, safe};
use crate::session::{Session, agent_name};

/// How soon a stream that broke is taken up again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most lines that a daemon tells at once: what came while nobody was connected is among them.
const ALL: usize = 500;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The controller's lines are kept by the daemon, in memory, since it started: with several daemons, ask each. A \
Worker's lines are kept nowhere: they are shown with -f, to tokens of the role operator. What looks like a key is taken \
out; a Worker that prints its secrets in another shape is not stopped from it.\n\
Examples:\n  talon logs research-pro\n  talon logs research-pro -f --source worker\n  talon logs research-pro -f -o json"
)]
pub struct Args {
    /// Which agent
    name: String,
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Whose lines [default: controller; with -f both, as far as the token opens them]
    #[arg(long, value_delimiter = ',', value_name = "SOURCES", value_parser = parse_source)]
    source: Vec<LogSource>,
    /// The last so many of the controller's lines first
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=500))]
    tail: u16,
}

fn parse_source(text: &str) -> Result<LogSource, String> {
    LogSource::parse(text)
        .ok_or_else(|| "write controller, worker, or controller,worker".to_owned())
}

/// Shows them.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let agent = agent_name(&args.name)?;
    if !args.follow && args.source.contains(&LogSource::Worker) {
        return Err(Failure::usage(
            "a Worker's lines are kept nowhere: there are none of the past",
            "add -f to see what it prints from now on",
        ));
    }
    let server = session.server()?;
    let shown = Shown {
        session: &session,
        agent: agent.as_str(),
        path: ["api", "v1", "openclaw", "agents", agent.as_str(), "logs"],
        source: query_of(&args.source),
    };
    let done = if args.follow {
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|e| Failure::io("signals cannot be waited for", &e))?;
        tokio::select! {
            done = shown.follow(&server, usize::from(args.tail)) => done,
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
        }
    } else {
        shown.recent(&server, usize::from(args.tail)).await
    };
    done.map_err(|failure| {
        // Who named no daemon may have meant the database.
        if failure.exit == Exit::Unavailable && session.server_named().is_none() {
            return Failure::usage(
                format!("lines are kept by a daemon, not in the database; {}", failure.message),
                "use --server (or TALON_SERVER) to name where a daemon listens; talon events shows what the database keeps",
            );
        }
        failure
    })?;
    Ok(Exit::Success)
}

fn query_of(sources: &[LogSource]) -> Option<String> {
    let mut words: Vec<&str> = sources.iter().map(|s| s.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    (!words.is_empty()).then(|| words.join(","))
}

/// What is asked for, and where it goes.
struct Shown<'a> {
    session: &'a Session,
    agent: &'a str,
    path: [&'a str; 6],
    source: Option<String>,
}

impl Shown<'_> {
    fn query<'q>(&'q self, tail: &'q str, follow: bool) -> Vec<(&'q str, &'q str)> {
        let mut query = vec![("tail", tail)];
        if follow {
            query.push(("follow", "1"));
        }
        query.extend(self.source.as_deref().map(|source| ("source", source)));
        query
    }

    async fn recent(&self, server: &Server, tail: usize) -> Result<(), Failure> {
        let tail = tail.to_string();
        let document = server.get(&self.path, &self.query(&tail, false)).await?;
        let out = &self.session.output;
        if out.is_machine() {
            return out.document(&document);
        }
        let items = document["items"].as_array();
        if let Some(dropped) = document["dropped"].as_u64().filter(|n| *n > 0) {
            out.progress(&format!("{dropped} older lines are no longer kept"));
        }
        if items.is_none_or(Vec::is_empty) {
            let since = safe(document["since"].as_str().unwrap_or_default());
            out.progress(&format!(
                "this daemon has done nothing for {} since it started ({since}); talon events --for agent/{} shows what the database keeps",
                self.agent, self.agent
            ));
        }
        for line in items.into_iter().flatten() {
            self.print(line)?;
        }
        Ok(())
    }

    /// Follows, over every end of the stream; only what was refused ends it.
    async fn follow(&self, server: &Server, tail: usize) -> Result<(), Failure> {
        let mut tail = tail;
        let mut last: Option<DateTime<Utc>> = None;
        let mut connected = false;
        while !self.session.output.is_closed() {
            let ended = self.stream(server, tail, &mut last, &mut connected).await;
            match ended {
                Ok(()) => {}
                Err(failure) if connected && failure.exit == Exit::Unavailable => {
                    self.session
                        .output
                        .progress(&format!("{}; trying again", failure.message));
                }
                Err(failure) => return Err(failure),
            }
            // What the controller said meanwhile is told then; what was shown is not shown again.
            tail = ALL;
            last = last.or_else(|| Some(Utc::now()));
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn stream(
        &self,
        server: &Server,
        tail: usize,
        last: &mut Option<DateTime<Utc>>,
        connected: &mut bool,
    ) -> Result<(), Failure> {
        let tail = tail.to_string();
        let mut events = server.events(&self.path, &self.query(&tail, true)).await?;
        *connected = true;
        let before = *last;
        while let Some(line) = events.next().await? {
            let at = line["at"].as_str().and_then(|at| at.parse().ok());
            if line["source"] == LogSource::Controller.as_str() && at.is_some() {
                if at <= before {
                    continue;
                }
                *last = at.max(*last);
            }
            self.print(&line)?;
            if self.session.output.is_closed() {
                break;
            }
        }
        Ok(())
    }

    fn print(&self, line: &Value) -> Result<(), Failure> {
        let out = &self.session.output;
        if out.is_machine() {
            return out.stream_item(line);
        }
        let text = |name: &str| safe(line[name].as_str().unwrap_or_default());
        let at: Option<DateTime<Utc>> = line["at"].as_str().and_then(|at| at.parse().ok());
        let at = at.map_or_else(String::new, |at| match out.format {
            Format::Wide => at.to_rfc3339_opts(SecondsFormat::Millis, true),
            _ => age::time_of_day(at),
        });
        let level = match line["level"].as_str() {
            Some(level @ ("warn" | "error")) => format!("{level} "),
            _ => String::new(),
        };
        out.line(&format!(
            "{at} {:<10} {} {level}{}",
            text("source"),
            self.agent,
            text("message")
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_asked_for_once_and_in_order() {
        assert_eq!(query_of(&[]), None);
        let both = [LogSource::Worker, LogSource::Controller, LogSource::Worker];
        assert_eq!(query_of(&both).as_deref(), Some("controller,worker"));
    }
}
