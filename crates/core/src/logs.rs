//! What can be read of one agent line by line: what the controller did for it, and what its Worker printed.
//!
//! Guarantees: a line is one line, moves no terminal and is bounded, whatever it was made of. Secrets are taken out by
//! whoever makes a line: no value is known here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::id::AgentId;
use crate::text::{clip, for_terminal};

/// Longest text of a line, in characters.
pub const MAX_TEXT: usize = 4_096;
/// Longest value of a field, in characters.
const MAX_VALUE: usize = 512;
/// Most fields of a line.
const MAX_FIELDS: usize = 16;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The controller, of what it does for the agent.
    Controller,
    /// The agent's Worker, of what it does.
    Worker,
}

impl LogSource {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Worker => "worker",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Controller, Self::Worker]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For those who look for a defect.
    Debug,
    /// As it should be.
    Info,
    /// Something went wrong and is dealt with.
    Warn,
    /// Something went wrong.
    Error,
}

impl LogLevel {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    at: DateTime<Utc>,
    source: LogSource,
    level: LogLevel,
    #[serde(serialize_with = "as_object")]
    fields: Vec<(&'static str, String)>,
    text: String,
}

fn as_object<S: Serializer>(
    fields: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (name, value) in fields {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

impl LogLine {
    /// A line without fields. The text is escaped and cut.
    pub fn new(at: DateTime<Utc>, source: LogSource, level: LogLevel, text: &str) -> Self {
        Self {
            at,
            source,
            level,
            fields: Vec::new(),
            text: fit(text, MAX_TEXT),
        }
    }

    /// One more field. Its value is escaped and cut.
    pub fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        if self.fields.len() < MAX_FIELDS {
            self.fields.push((name, fit(&value.to_string(), MAX_VALUE)));
        }
        self
    }

    /// When.
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Who says it.
    pub fn source(&self) -> LogSource {
        self.source
    }

    /// How much it matters.
    pub fn level(&self) -> LogLevel {
        self.level
    }

    /// What is said, without the fields.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its named parts, in order.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.fields
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Fields and text as people read them: `gen=2 step=upload http=200 dur=812ms`.
    pub fn message(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.fields {
            // Writing to a String cannot fail.
            let _ = write!(out, "{name}={} ", shown(value));
        }
        out.push_str(&self.text);
        out.truncate(out.trim_end().len());
        out
    }
}

/// A field's value as people read it: within quotes where it would run into what stands beside it.
pub fn shown(value: &str) -> Cow<'_, str> {
    if value.is_empty() || value.contains([' ', '"', '=']) {
        Cow::Owned(format!("{value:?}"))
    } else {
        Cow::Borrowed(value)
    }
}

/// Cut before it is escaped, so that a text of millions of characters costs no more than a long one, and after, so that
/// escapes do not make it longer than it may be.
fn fit(text: &str, most: usize) -> String {
    clip(&for_terminal(&clip(text, most)), most)
}

/// Lines as they come. Dropping it is how to leave.
#[async_trait]
pub trait LogFeed: Send {
    /// The next line; `None`: nothing follows. May be given up and called again.
    async fn next(&mut self) -> Option<LogLine>;

    /// Where to follow from to go on behind the line that came last; `None`: what is missed is gone.
    fn place(&self) -> Option<u64> {
        None
    }
}

/// The last of the controller's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// How many older ones there were that are no longer kept.
    pub dropped: u64,
    /// Since when they are kept: since this daemon started.
    pub since: DateTime<Utc>,
    /// Where to follow from to miss none.
    pub place: u64,
}

/// Why a Worker's lines cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    /// There is no such agent any more.
    #[error("there is no such agent")]
    NotFound,
    /// It has no Worker now.
    #[error("the agent has no live Worker: talon describe shows how far it is")]
    NotDeployed,
    /// As many Workers as may be are followed already.
    #[error("{0} Workers are followed already, as many as may be at once")]
    TooMany(usize),
    /// Cloudflare refused it, or cannot be asked.
    #[error("{message}")]
    Failed {
        /// For people; parsed, cut, redacted.
        message: String,
        /// Whether trying again may help, and when.
        retry_after: Option<Duration>,
    },
}

/// The lines of agents. Implemented by the controller; the controller's lines are those of its own process.
#[async_trait]
pub trait AgentLogs: Send + Sync {
    /// The last of the controller's lines about the agent, `most` at most.
    fn recent(&self, agent: AgentId, most: usize) -> Recent;

    /// The controller's lines behind this place, as they come. One that was dropped before it was read is told as such.
    fn follow(&self, agent: AgentId, place: u64) -> Box<dyn LogFeed>;

    /// What the agent's Worker prints from now on. Nothing of it is kept. Those who follow one Worker share one tail, which
    /// ends with the last of them; who reads too slowly is told so and left behind.
    async fn tail(&self, agent: AgentId) -> Result<Box<dyn LogFeed>, TailError>;
}

/// Hears of every answer of Cloudflare's API, in the task that made the call.
pub trait CallWitness: Send + Sync {
    /// A call was answered with this status; `ray` is Cloudflare's id of it.
    fn answered(&self, http: u16, ray: Option<&str>);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        let at = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        LogLine::new(at, LogSource::Controller, LogLevel::Info, text)
    }

    #[test]
    fn a_line_reads_as_it_is_printed() {
        let line = line("").with("gen", 2).with("step", "upload");
        assert_eq!(
            line.with("why", "not now").message(),
            "gen=2 step=upload why=\"not now\""
        );
    }

    #[test]
    fn nothing_in_it_moves_a_terminal_and_nothing_is_long() {
        let wild = format!("\u{1b}[2J\n{}", "\u{202e}x".repeat(100_000));
        let line = line(&wild).with("why", &wild);
        for text in [line.text(), line.field("why").unwrap_or_default()] {
            assert!(!text.contains(crate::text::is_hidden), "{text}");
            assert!(text.chars().count() <= MAX_TEXT);
        }
        assert!(!line.message().contains(crate::text::is_hidden));
    }

    #[test]
    fn in_json_fields_are_an_object() {
        let json = serde_json::to_value(line("done").with("gen", 2)).expect("json");
        assert_eq!(json["fields"]["gen"], "2");
        assert_eq!(
            (&json["source"], &json["level"]),
            (&"controller".into(), &"info".into())
        );
    }
}
