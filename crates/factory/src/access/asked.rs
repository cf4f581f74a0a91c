//! What is wrong with a body that makes something for an owner, a token or a key: everything at once.

use talon_core::Owner;

use crate::auth::Caller;
use crate::http::{Answer, FieldError, Kind, Problem};

/// Longest label, in characters.
const MAX_LABEL: usize = 100;
/// Ten years.
pub const MAX_DAYS: u64 = 3_650;
const MAX_SECONDS: u64 = MAX_DAYS * 86_400;

/// A body that is being looked at.
pub struct Asked<'c> {
    caller: &'c Caller,
    errors: Vec<FieldError>,
}

impl<'c> Asked<'c> {
    /// Of this caller.
    pub fn by(caller: &'c Caller) -> Self {
        Self {
            caller,
            errors: Vec::new(),
        }
    }

    /// Something is wrong there.
    pub fn wrong(&mut self, pointer: &str, detail: impl Into<String>) {
        self.errors.push(FieldError {
            pointer: pointer.to_owned(),
            code: "invalid".to_owned(),
            detail: detail.into(),
        });
    }

    /// What it is for.
    pub fn label(&mut self, label: &str) {
        let length = label.chars().count();
        if !(1..=MAX_LABEL).contains(&length) || label.chars().any(char::is_control) {
            let detail = format!("must be one line of 1 to {MAX_LABEL} characters");
            self.wrong("/label", detail);
        }
    }

    /// Whose it will be: who is named, else the caller's owner. A caller with an owner names no other.
    pub fn owner(&mut self, named: Option<&str>) -> Option<Owner> {
        let own = &self.caller.owner;
        match named.map(Owner::parse) {
            None => return own.clone(),
            Some(Some(owner)) if own.as_ref().is_none_or(|own| *own == owner) => {
                return Some(owner);
            }
            Some(Some(_)) => self.wrong("/owner", "is another than this token's: leave it out"),
            Some(None) => self.wrong(
                "/owner",
                "an owner has 1 to 64 lower-case letters, digits, '.', '_' and '-'",
            ),
        }
        None
    }

    /// After how long it stops working.
    pub fn seconds(&mut self, seconds: Option<u64>) {
        if seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
            let detail = format!("must be 1 to {MAX_SECONDS}");
            self.wrong("/expires_in_seconds", detail);
        }
    }

    /// The refusal, if anything was wrong. `what`: of what is asked for.
    pub fn done(self, what: &str) -> Answer<()> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let detail = format!("the {what} cannot be made as written");
        Err(Problem::new(Kind::Invalid, detail).with_errors(self.errors))
    }
}
