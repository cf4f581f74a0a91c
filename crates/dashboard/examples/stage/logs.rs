//! Lines to look at: some of every kind, and for one agent new ones all the time.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use talon_core::AgentId;
use talon_core::logs::{AgentLogs, LogFeed, LogLevel as L, LogLine, LogSource, Recent, TailError};

/// How often there is a new line.
const EVERY: Duration = Duration::from_millis(200);

/// The lines of the stage.
pub struct Stories {
    /// Nothing was done for it, and it has no Worker.
    pub silent: AgentId,
    /// There is always something new.
    pub busy: AgentId,
}

/// A line each time, or none ever.
struct Ticking {
    source: LogSource,
    ticks: Option<tokio::time::Interval>,
    told: u64,
}

#[async_trait]
impl LogFeed for Ticking {
    async fn next(&mut self) -> Option<LogLine> {
        match &mut self.ticks {
            Some(ticks) => ticks.tick().await,
            None => std::future::pending().await,
        };
        self.told += 1;
        let level = if self.told.is_multiple_of(5) {
            L::Error
        } else {
            L::Info
        };
        let line = LogLine::new(Utc::now(), self.source, level, "said meanwhile");
        Some(line.with("n", self.told))
    }

    fn place(&self) -> Option<u64> {
        Some(self.told)
    }
}

fn past() -> Vec<LogLine> {
    let begin = Utc::now() - TimeDelta::minutes(12);
    let at = |seconds| begin + TimeDelta::seconds(seconds);
    let line =
        |seconds, level, text: &str| LogLine::new(at(seconds), LogSource::Controller, level, text);
    let step = |seconds, step, http, took| {
        line(seconds, L::Info, "")
            .with("gen", 3)
            .with("step", step)
            .with("http", http)
            .with("dur", took)
            .with("ray", "8f1c2d3e4f5a6b7c-VIE")
    };
    let mut lines = vec![
        line(0, L::Info, "taken up: the row changed").with("gen", 3),
        line(0, L::Debug, "nothing else is due").with("gen", 3),
        step(1, "bucket", 200, "214ms"),
        step(2, "upload", 200, "812ms"),
        line(4, L::Warn, "asked to wait")
            .with("step", "secrets")
            .with("http", 429)
            .with("attempt", 1)
            .with("retry", "12s"),
        line(9, L::Error, "the upload was refused")
            .with("step", "upload")
            .with("http", 400)
            .with("error", super::fleet::MARKUP),
        line(
            12,
            L::Info,
            &format!("a long one: {}", "without-any-place-to-break".repeat(12)),
        )
        .with("why", "it is looked at on small screens"),
    ];
    lines.extend((0..40).map(|n| step(20 + 15 * n, "look", 200, "31ms")));
    lines.push(line(660, L::Error, "three times in vain: given up until 14:05").with("attempt", 3));
    lines.push(line(665, L::Info, "in sync").with("gen", 3));
    lines
}

#[async_trait]
impl AgentLogs for Stories {
    fn recent(&self, agent: AgentId, most: usize) -> Recent {
        let mut lines = if agent == self.silent {
            Vec::new()
        } else {
            past()
        };
        lines.drain(..lines.len().saturating_sub(most));
        Recent {
            lines,
            dropped: if agent == self.silent { 0 } else { 1_204 },
            since: DateTime::from_timestamp(1_795_989_600, 0).unwrap_or_default(),
            place: 0,
        }
    }

    fn follow(&self, agent: AgentId, place: u64) -> Box<dyn LogFeed> {
        Box::new(Ticking {
            source: LogSource::Controller,
            ticks: (agent == self.busy).then(|| tokio::time::interval(EVERY)),
            told: place,
        })
    }

    async fn tail(&self, agent: AgentId) -> Result<Box<dyn LogFeed>, TailError> {
        if agent == self.silent {
            return Err(TailError::NotDeployed);
        }
        Ok(Box::new(Ticking {
            source: LogSource::Worker,
            ticks: (agent == self.busy).then(|| tokio::time::interval(EVERY)),
            told: 0,
        }))
    }
}
