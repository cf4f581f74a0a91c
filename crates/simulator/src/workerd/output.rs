//! What a Worker and workerd print: the last lines, in memory, without the Worker's secrets.
#![allow(clippy::disallowed_methods)] // Secrets are looked for in order to cut them out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use talon_core::secret::SecretValue;

use crate::tails::Traces;

/// How many lines are kept.
const LINES: usize = 200;
/// How much of a line is kept, in bytes.
const LENGTH: usize = 4096;
/// How many values are looked for: those of the last versions.
const SECRETS: usize = 256;
/// Shorter values are words that turn up anywhere.
const SHORTEST_SECRET: usize = 6;

/// The last lines of one Worker.
pub(super) struct Output {
    worker: String,
    /// Where every line is passed on as it is, secrets included: as the live service does.
    traces: Option<Traces>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    secrets: VecDeque<Arc<SecretValue>>,
}

impl Output {
    /// Nothing yet.
    pub(super) fn new(worker: &str, traces: Option<Traces>) -> Self {
        Self {
            worker: worker.to_owned(),
            traces,
            kept: Mutex::default(),
        }
    }

    /// What is to be cut out from now on, besides what was before: an old version may still print.
    pub(super) fn hide(&self, secrets: impl Iterator<Item = Arc<SecretValue>>) {
        let mut kept = self.kept();
        for secret in secrets {
            if secret.expose().len() >= SHORTEST_SECRET
                && kept.secrets.iter().all(|s| s.expose() != secret.expose())
            {
                if kept.secrets.len() >= SECRETS {
                    kept.secrets.pop_front();
                }
                kept.secrets.push_back(secret);
            }
        }
    }

    /// Takes in a line of the standard output.
    pub(super) fn line(&self, line: String) {
        self.take("log", line);
    }

    /// Takes in a line of the standard error, where warnings and errors go.
    pub(super) fn error_line(&self, line: String) {
        self.take("error", line);
    }

    fn take(&self, level: &str, mut line: String) {
        if let Some(traces) = &self.traces {
            let at = chrono::Utc::now().timestamp_millis();
            traces.printed(&self.worker, level, &line, at);
        }
        let mut kept = self.kept();
        for secret in &kept.secrets {
            if line.contains(secret.expose()) {
                line = line.replace(secret.expose(), "[redacted]");
            }
        }
        if line.len() > LENGTH {
            let cut = (0..=LENGTH).rev().find(|i| line.is_char_boundary(*i));
            line.truncate(cut.unwrap_or(0));
        }
        tracing::debug!(worker = self.worker, line, "a Worker prints");
        if kept.lines.len() >= LINES {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
    }

    /// The last lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.kept().lines.iter().cloned().collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Lines are whole whenever the lock is free.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out_and_only_the_last_lines_stay() {
        let output = Output::new("w", None);
        let secret = Arc::new(SecretValue::new("sk-hidden".to_owned()));
        output.hide([Arc::clone(&secret), secret].into_iter());
        for i in 0..LINES {
            output.line(format!("line {i}"));
        }
        output.line("the key is sk-hidden.".to_owned());
        let lines = output.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], "line 1");
        assert_eq!(lines.last().unwrap(), "the key is [redacted].");
    }
}
