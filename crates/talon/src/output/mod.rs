//! What reaches the terminal. Data goes to standard output, progress and warnings to standard error; colour is never
//! the only signal; untrusted text is escaped before it is written.

pub mod block;
pub mod describe;
pub mod steps;
pub mod table;
pub mod transitions;
pub mod tree;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use console::{Style, Term};
use serde::Serialize;
pub use talon_explain::{age, safe};

use crate::cli::{Format, Global};
use crate::exit::{Exit, Failure};

/// Set when standard output was found closed.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Set when standard output could not be written for another reason than that nobody reads it.
static UNWRITABLE: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a process that wrote into a closed pipe.
const CLOSED_PIPE: u8 = 141;

/// The code to exit with after a command that ended well.
pub fn exit_code(exit: Exit) -> ExitCode {
    if UNWRITABLE.load(Ordering::Relaxed) {
        Exit::Failure.into()
    } else if CLOSED.load(Ordering::Relaxed) {
        ExitCode::from(CLOSED_PIPE)
    } else {
        exit.into()
    }
}

/// Whether a stream is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(bool);

impl Colour {
    /// For standard output.
    pub fn of_stdout(no_color: bool) -> Self {
        Self(std::io::stdout().is_terminal() && Self::wanted(no_color))
    }

    /// For standard error.
    pub fn of_stderr(no_color: bool) -> Self {
        Self(std::io::stderr().is_terminal() && Self::wanted(no_color))
    }

    /// No colour.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(false)
    }

    fn wanted(no_color: bool) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        !no_color && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
    }

    /// Paints a text.
    pub fn paint(self, style: Style, text: &str) -> String {
        style.force_styling(self.0).apply_to(text).to_string()
    }

    /// Something good.
    pub fn good(self, text: &str) -> String {
        self.paint(Style::new().green(), text)
    }

    /// Something bad.
    pub fn bad(self, text: &str) -> String {
        self.paint(Style::new().red(), text)
    }

    /// Something to look at.
    pub fn notable(self, text: &str) -> String {
        self.paint(Style::new().yellow(), text)
    }

    /// Something unimportant.
    pub fn dim(self, text: &str) -> String {
        self.paint(Style::new().dim(), text)
    }
}

/// Prints a failure with its next step, and gives the code to exit with.
pub fn fail(colour: Colour, failure: &Failure) -> ExitCode {
    let text = format!(
        "{} {}\n{} {}\n",
        colour.bad("error:"),
        failure.message,
        colour.notable("next:"),
        failure.next
    );
    // Nothing can be done if standard error is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
    failure.exit.into()
}

/// Where a command writes.
#[derive(Debug, Clone)]
pub struct Output {
    /// The format asked for.
    pub format: Format,
    /// Colours of standard output.
    pub colour: Colour,
    /// Colours of standard error.
    pub err_colour: Colour,
    quiet: bool,
}

impl Output {
    /// As the flags say.
    pub fn new(global: &Global) -> Self {
        Self {
            format: global.output,
            colour: Colour::of_stdout(global.no_color),
            err_colour: Colour::of_stderr(global.no_color),
            quiet: global.quiet,
        }
    }

    /// Whether standard output carries a document for programs.
    pub fn is_machine(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Whether progress may be rewritten in place.
    pub fn is_interactive(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Columns of the terminal behind standard output; `None` if there is none.
    pub fn width(&self) -> Option<usize> {
        let term = Term::stdout();
        term.is_term().then(|| usize::from(term.size().1))
    }

    /// Writes a line of data.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes data as it is.
    pub fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) else {
            return;
        };
        // The reader has seen enough (`talon get | head`): what was begun is brought to its end without a word.
        CLOSED.store(true, Ordering::Relaxed);
        if error.kind() != ErrorKind::BrokenPipe && !UNWRITABLE.swap(true, Ordering::Relaxed) {
            let failure = Failure::new(
                Exit::Failure,
                format!("standard output cannot be written: {error}"),
                "what was begun is brought to its end; look where the output goes (is the disk full?)",
            );
            fail(self.err_colour, &failure);
        }
    }

    /// Whether nobody reads standard output any more.
    pub fn is_closed(&self) -> bool {
        CLOSED.load(Ordering::Relaxed)
    }

    /// Writes one document in the machine format asked for (JSON unless YAML).
    pub fn document<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.write(&yaml(value)?),
            _ => self.line(&serde_json::to_string_pretty(value).map_err(unprintable)?),
        }
        Ok(())
    }

    /// Writes one item of a stream: one line of JSON, or one YAML document.
    pub fn stream_item<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.write(&format!("---\n{}", yaml(value)?)),
            _ => self.line(&serde_json::to_string(value).map_err(unprintable)?),
        }
        Ok(())
    }

    /// Writes a line of progress to standard error, unless `-q`.
    pub fn progress(&self, text: &str) {
        if !self.quiet {
            eprint_line(text);
        }
    }

    /// Writes a warning to standard error, unless `-q`.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            eprint_line(&format!("{} {text}", self.err_colour.notable("warning:")));
        }
    }
}

fn eprint_line(text: &str) {
    // Progress that nobody can see is no reason to fail.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_yaml::to_string(value).map_err(unprintable)
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failure,
        format!("the result cannot be written as a document: {error}"),
        "this is a defect of talon; -o table shows the same data",
    )
}

/// So many agents, in words.
pub fn agents(n: usize) -> String {
    if n == 1 {
        "1 agent".to_owned()
    } else {
        format!("{n} agents")
    }
}

/// A JSON object that merges nothing and hides nothing: `{"kind": …, "items": […]}` for lists.
pub fn list_document(items: Vec<serde_json::Value>) -> serde_json::Value {
    serde_json::json!({ "apiVersion": "talon.dev/v1", "kind": "List", "items": items })
}
