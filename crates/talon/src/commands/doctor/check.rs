//! One check, and how all of them are told.

use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::Colour;
use crate::session::Session;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub verdict: Verdict,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(skip)]
    pub exit: Exit,
}

impl Check {
    pub fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            detail: detail.into(),
            next: None,
            exit: Exit::Failure,
        }
    }

    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    pub fn failed(check: &'static str, failure: Failure) -> Self {
        Self {
            check,
            verdict: Verdict::Failed,
            detail: failure.message,
            next: Some(failure.next),
            exit: failure.exit,
        }
    }
}

pub fn tell(session: &Session, checks: &[Check]) -> Result<Exit, Failure> {
    let worst = checks.iter().find(|c| c.verdict == Verdict::Failed);
    if session.output.is_machine() {
        session
            .output
            .document(&json!({ "ok": worst.is_none(), "checks": checks }))?;
    } else {
        session.output.write(&render(checks, session.output.colour));
    }
    match worst {
        None => Ok(Exit::Success),
        Some(check) => Err(Failure::new(
            check.exit,
            format!("{}: {}", check.check, check.detail),
            check.next.clone().unwrap_or_else(|| "see above".to_owned()),
        )),
    }
}

fn render(checks: &[Check], colour: Colour) -> String {
    let width = checks.iter().map(|c| c.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for c in checks {
        let mark = match c.verdict {
            Verdict::Ok => colour.good("✓ ok     "),
            Verdict::Warning => colour.notable("! warning"),
            Verdict::Failed => colour.bad("✗ failed "),
            Verdict::Skipped => colour.dim("· skipped"),
        };
        text.push_str(&format!("{mark}  {:<width$}  {}\n", c.check, c.detail));
        if let Some(next) = c.next.as_ref().filter(|_| c.verdict != Verdict::Ok) {
            text.push_str(&format!("           {:<width$}  next: {next}\n", ""));
        }
    }
    text
}
