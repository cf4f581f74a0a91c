//! Lines as they come: the controller's from a place on, and the Worker's as long as there is one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, LogLevel, LogLine, LogSource, TailError};
use tokio::time::Instant;

use super::source::Wanted;
use super::{FIRST, place_of, read_place};

/// How soon a Worker that is not there, or cannot be followed now, is looked for again.
const AGAIN: Duration = Duration::from_secs(3);

/// Both feeds of one agent, as one.
pub struct Lines {
    logs: Arc<dyn AgentLogs>,
    agent: AgentId,
    /// Since when this daemon keeps lines.
    since: DateTime<Utc>,
    first: VecDeque<LogLine>,
    controller: Option<Box<dyn LogFeed>>,
    worker: Worker,
}

/// How it stands with the Worker's lines.
enum Worker {
    Unwanted,
    /// Looked for at this time; what was said of the last time in vain.
    Sought(Instant, Option<TailError>),
    Followed(Box<dyn LogFeed>),
}

/// What comes next.
pub enum Next {
    /// A line.
    Line(LogLine),
    /// A feed ended, or it is time: [`Lines::mend`] is to be called.
    Mend(Source),
}

/// Whose feed is to be mended.
pub enum Source {
    /// The controller's has ended.
    Controller,
    /// The Worker's has ended.
    Worker,
    /// The Worker is to be looked for.
    Seek,
}

impl Lines {
    /// Begins behind this place; where it is none of this daemon's, with the last lines.
    pub fn begin(logs: Arc<dyn AgentLogs>, agent: AgentId, wanted: Wanted, after: &str) -> Self {
        let recent = logs.recent(agent, FIRST);
        let (mut first, mut controller) = (VecDeque::new(), None);
        if wanted.controller() {
            let place = read_place(after, recent.since).unwrap_or_else(|| {
                if !after.is_empty() {
                    first.push_back(another_daemon());
                }
                first.extend(recent.lines);
                recent.place
            });
            controller = Some(logs.follow(agent, place));
        }
        Self {
            worker: match wanted.worker() {
                true => Worker::Sought(Instant::now(), None),
                false => Worker::Unwanted,
            },
            logs,
            agent,
            since: recent.since,
            first,
            controller,
        }
    }

    /// Where to follow the controller's lines from, to go on behind the line that came last.
    pub fn place(&self) -> Option<String> {
        let place = self.controller.as_ref()?.place()?;
        // Until the first lines are through, the place lies behind lines that have not come.
        let is_true = self.first.is_empty();
        is_true.then(|| place_of(self.since, place))
    }

    /// What comes next. May be given up and called again.
    pub async fn next(&mut self) -> Next {
        if let Some(line) = self.first.pop_front() {
            return Next::Line(line);
        }
        tokio::select! {
            line = next(&mut self.controller) => line.map_or(Next::Mend(Source::Controller), Next::Line),
            next = self.worker.next() => next,
        }
    }

    /// Does what [`Lines::next`] asked for; perhaps something is to be said of it. Not to be given up: a tail that is being
    /// opened would be opened in vain.
    pub async fn mend(&mut self, source: Source) -> Option<LogLine> {
        match source {
            Source::Controller => {
                self.controller = None;
                None
            }
            Source::Worker => {
                self.worker = Worker::Sought(Instant::now() + AGAIN, None);
                None
            }
            Source::Seek => self.seek().await,
        }
    }

    /// Looks for the Worker; the same failure is told once.
    async fn seek(&mut self) -> Option<LogLine> {
        match self.logs.tail(self.agent).await {
            Ok(feed) => {
                self.worker = Worker::Followed(feed);
                None
            }
            Err(error) => {
                let is_known =
                    matches!(&self.worker, Worker::Sought(_, Some(told)) if *told == error);
                let line = (!is_known).then(|| not_followed(&error));
                self.worker = Worker::Sought(Instant::now() + AGAIN, Some(error));
                line
            }
        }
    }
}

async fn next(feed: &mut Option<Box<dyn LogFeed>>) -> Option<LogLine> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

impl Worker {
    async fn next(&mut self) -> Next {
        match self {
            Self::Unwanted => std::future::pending().await,
            Self::Sought(at, _) => {
                tokio::time::sleep_until(*at).await;
                Next::Mend(Source::Seek)
            }
            Self::Followed(feed) => {
                let line = feed.next().await;
                line.map_or(Next::Mend(Source::Worker), Next::Line)
            }
        }
    }
}

fn not_followed(error: &TailError) -> LogLine {
    let text = format!("not followed: {error}");
    LogLine::new(Utc::now(), LogSource::Worker, LogLevel::Warn, &text).with("talon", "tail")
}

fn another_daemon() -> LogLine {
    let text = "another daemon answers now, or the same one started anew: its last lines follow";
    LogLine::new(Utc::now(), LogSource::Controller, LogLevel::Warn, text)
}
