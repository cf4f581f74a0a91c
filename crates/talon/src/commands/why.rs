//! `talon why`.

use crate::exit::{Exit, Failure};
use crate::explain::{Explanation, explain};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which agent (also one that was deleted)
    name: String,
}

/// Explains the agent.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshot = session.find(&*fleet, &args.name, true).await?;
    let hold = fleet.hold().await?;
    let explanation = explain(&snapshot, hold.as_ref());
    if session.output.is_machine() {
        session.output.document(&explanation)?;
    } else {
        let width = session.output.width().unwrap_or(100).clamp(40, 120);
        session.output.write(&render(&explanation, width));
    }
    Ok(Exit::Success)
}

fn render(e: &Explanation, width: usize) -> String {
    let mut text = format!("{}\n\n", e.headline);
    let mut field = |label: &str, lines: &[String]| {
        for (i, line) in lines.iter().flat_map(|l| wrap(l, width - 12)).enumerate() {
            let label = if i == 0 { label } else { "" };
            text.push_str(format!("{label:<12}{line}").trim_end());
            text.push('\n');
        }
    };
    if let Some(place) = &e.blocked_at {
        field("Blocked at", std::slice::from_ref(place));
    }
    field("Reason", std::slice::from_ref(&e.reason));
    let what: Vec<String> = e.what.lines().map(str::to_owned).collect();
    field("What", &what);
    field("Do this", &e.do_this);
    if !e.waiting.is_empty() {
        text.push_str(&format!("Waiting on it: {}\n", e.waiting.join(", ")));
    }
    text
}

/// Breaks a line between words. What is longer than the line stays whole: it may be a URL. Commands stay whole, too,
/// so that they can be copied.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in pieces(line) {
        let last = lines.len() - 1;
        let used = console::measure_text_width(&lines[last]);
        if used > 0 && used + 1 + console::measure_text_width(&piece) > width {
            lines.push(piece);
        } else {
            if used > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(&piece);
        }
    }
    lines
}

/// Words; `talon` and what follows it up to a punctuation mark is one of them.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut in_command = false;
    for word in line.split(' ') {
        match pieces.last_mut() {
            Some(command) if in_command => {
                command.push(' ');
                command.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
        let begins = word.trim_start_matches('(') == "talon";
        in_command = (in_command || begins) && !word.ends_with([',', ';', ')', '.', ':']);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped_not_cut() {
        let text = "word ".repeat(40);
        let lines = wrap(text.trim_end(), 30);
        assert!(lines.iter().all(|l| l.len() <= 30));
        assert_eq!(lines.join(" "), text.trim_end());
    }

    #[test]
    fn commands_are_not_broken() {
        let lines = wrap("set it there, then talon reconcile bot, or talon apply", 24);
        assert_eq!(
            lines,
            [
                "set it there, then",
                "talon reconcile bot, or",
                "talon apply"
            ]
        );
    }
}
