//! `talon task`: gives an agent a task and prints its answer.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};
use talon_controller::clock::OsRandom;
use talon_core::clock::Random;
use talon_core::task::TaskId;
use talon_core::text::for_terminal_lines;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Server;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::session::{Session, bare};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The answer goes to standard output. Talks to the daemon that is the Hub: --server, TALON_SERVER, else where the \
configuration listens. Ctrl-C stops waiting, not the task. A task that failed ends with 1, one that nobody answered \
in time (--timeout, 3m by default) too.\n\
Examples:\n  talon task note-taker \"Save a note: the kettle is blue\"\n  \
talon task note-taker \"What did I tell you before?\" --session 3f9a…\n  \
talon task --search \"somebody who keeps notes\" \"Save a note: the kettle is blue\""
)]
pub struct Args {
    /// Which agent, and what is asked (- reads it from standard input); with --search only what is asked
    #[arg(num_args = 1..=2, required = true, value_names = ["NAME", "TEXT"])]
    words: Vec<String>,
    /// What is needed, in plain words: the agent that fits best does it
    #[arg(long, value_name = "NEED")]
    search: Option<String>,
    /// Print the answer as it comes; with -o json, one line for each piece
    #[arg(long)]
    stream: bool,
    /// The conversation it belongs to: the agent remembers what was said in it [default: a new one, called as the task]
    #[arg(long, value_parser = parse_id)]
    session: Option<TaskId>,
    /// The task's id: giving the same task twice is one task [default: a new one]
    #[arg(long, value_parser = parse_id)]
    id: Option<TaskId>,
}

/// How long an agent has if nothing else is said.
const DEFAULT_TIME: Duration = Duration::from_secs(180);
/// How much longer the daemon may take to say that time ran out.
const MARGIN: Duration = Duration::from_secs(30);
/// Where tasks are given.
const PATH: [&str; 4] = ["api", "v1", "router", "tasks"];

fn parse_id(text: &str) -> Result<TaskId, String> {
    TaskId::parse(text).map_err(|e| e.to_string())
}

/// Who is asked for what.
struct Asked {
    /// The body of the request.
    body: Value,
    /// The command that follows the same task again.
    again: String,
    /// How long to wait.
    timeout: Duration,
}

/// Gives the task and waits for its end.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let asked = asked(&args, &session)?;
    let server = session.server()?;
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|e| Failure::io("signals cannot be waited for", &e))?;
    let told = async {
        if args.stream {
            streamed(&session, &server, &asked).await
        } else {
            at_the_end(&session, &server, &asked).await
        }
    };
    tokio::select! {
        told = told => told.map_err(|mut failure| {
            // It may have been taken: with its id, asking again follows it instead of giving it twice.
            if matches!(failure.exit, Exit::Unavailable | Exit::TimedOut) {
                failure.next = format!("{}; {}", failure.next, asked.again);
            }
            failure
        }),
        _ = interrupt.recv() => Err(Failure::new(
            Exit::Interrupted,
            "interrupted; the task goes on",
            asked.again.clone(),
        )),
    }
}

fn asked(args: &Args, session: &Session) -> Result<Asked, Failure> {
    let (whom, text) = match (&args.search, args.words.as_slice()) {
        (None, [name, text]) => (("agent", bare(name).to_owned()), text),
        (Some(need), [text]) => (("search", need.clone()), text),
        (None, _) => {
            return Err(Failure::usage(
                "an agent and what is asked of it are needed",
                "talon task NAME \"TEXT\", or talon task --search \"NEED\" \"TEXT\"",
            ));
        }
        (Some(_), _) => {
            return Err(Failure::usage(
                "with --search the agent is not named",
                "leave out the name, or leave out --search",
            ));
        }
    };
    let text = if text == "-" {
        let mut read = String::new();
        std::io::stdin()
            .read_to_string(&mut read)
            .map_err(|e| Failure::io("standard input", &e))?;
        read
    } else {
        text.clone()
    };
    check(&text, talon_hub::HubConfig::default().max_text)?;
    let id = args.id.as_ref().map_or_else(new_id, TaskId::to_string);
    // It follows from the id, so that the same command is the same task.
    let conversation = args
        .session
        .as_ref()
        .map_or_else(|| id.clone(), TaskId::to_string);
    let timeout = session.global.timeout.unwrap_or(DEFAULT_TIME);
    Ok(Asked {
        again: format!(
            "the same command with --id {id} --session {conversation} follows the task instead of giving it again"
        ),
        body: json!({
            whom.0: whom.1,
            "text": text,
            "id": id,
            "session": conversation,
            "timeout_seconds": timeout.as_secs().max(1),
        }),
        timeout: timeout + MARGIN,
    })
}

/// Says what the daemon would refuse before anything is sent.
fn check(text: &str, most: usize) -> Result<(), Failure> {
    let wrong = if text.trim().is_empty() {
        "the task has no text".to_owned()
    } else if text.contains('\0') {
        "the text has a NUL character".to_owned()
    } else if text.len() > most {
        format!(
            "the text has {} bytes, a task may have {most} at most",
            text.len()
        )
    } else {
        return Ok(());
    };
    Err(Failure::usage(
        wrong,
        "say in words what is to be done; what is long can be given in parts, with the same --session",
    ))
}

/// 128 random bits in hex.
fn new_id() -> String {
    let mut bytes = [0u8; 16];
    OsRandom.fill(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

async fn at_the_end(session: &Session, server: &Server, asked: &Asked) -> Result<Exit, Failure> {
    let task = server.post(&PATH, &asked.body, asked.timeout).await?;
    let out = &session.output;
    if out.is_machine() {
        out.document(&task)?;
    } else if text_of(&task, "state") == "completed" {
        out.line(&for_terminal_lines(text_of(&task, "answer")));
    }
    conclude(session, &task, text_of(&task, "answer"))
}

async fn streamed(session: &Session, server: &Server, asked: &Asked) -> Result<Exit, Failure> {
    let mut events = server
        .post_for_events(&PATH, &asked.body, asked.timeout)
        .await?;
    let out = &session.output;
    let mut shown = String::new();
    while let Some(event) = events.next().await? {
        let (state, text) = (text_of(&event, "state"), text_of(&event, "text"));
        let ended = matches!(state, "completed" | "failed" | "canceled");
        if out.is_machine() {
            out.stream_item(&event)?;
        } else if !ended {
            out.write(&for_terminal_lines(text));
            shown.push_str(text);
        } else if state == "completed" {
            // What a slow reader missed on the way stands in the whole answer.
            match text.strip_prefix(&shown) {
                Some(rest) => out.line(&for_terminal_lines(rest)),
                None => out.line(&format!("\n{}", for_terminal_lines(text))),
            }
        } else if !shown.is_empty() {
            out.line("");
        }
        if ended {
            return conclude(session, &event, text);
        }
    }
    Err(Failure::new(
        Exit::Unavailable,
        "the daemon stopped before the task ended; the task goes on",
        "wait until it is back",
    ))
}

/// Says how to go on, or why there is no answer.
fn conclude(session: &Session, task: &Value, text: &str) -> Result<Exit, Failure> {
    let name = safe(text_of(task, "agent"));
    let state = text_of(task, "state");
    if state == "completed" {
        session.output.progress(&format!(
            "{name} answered; it remembers with --session {}",
            safe(text_of(task, "session"))
        ));
        return Ok(Exit::Success);
    }
    Err(Failure::new(
        Exit::Failure,
        format!("{name} did not answer ({}): {}", safe(state), safe(text)),
        format!(
            "talon describe {name} shows whether it is connected and what happened; then give the task again"
        ),
    ))
}

fn text_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_daemon_takes_is_not_sent() {
        assert!(check("four", 4).is_ok());
        for text in ["", " \n", "a\0b", "fives"] {
            assert!(check(text, 4).is_err(), "{text:?}");
        }
    }
}
