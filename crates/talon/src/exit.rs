//! How a command ends: the published exit codes, and failures that always say what to do next.
//!
//! The numbers are frozen: scripts depend on them. No failure ever repeats a stored or submitted value.

use std::fmt;
use std::process::ExitCode;

use talon_store::{StoreError, codes};

/// The published exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done; for `plan` and `diff`: no changes.
    Success = 0,
    /// Failed; for `plan` and `diff`: changes found (their own failures use 2 and more).
    Failure = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// No such agent.
    NotFound = 3,
    /// Not authenticated, or not allowed.
    NotAllowed = 4,
    /// Conflict, stale generation, immutable field, validation.
    Rejected = 5,
    /// Waited, and the agent will not move without a person.
    Stalled = 6,
    /// Waited, and time ran out; still progressing.
    TimedOut = 7,
    /// Deletion finished, but something could not be cleaned up.
    LeftOver = 8,
    /// Database or network not available; trying again may help.
    Unavailable = 9,
    /// What `plan` and `diff` use in place of 1 when they fail.
    Generic = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong; may have several lines.
    pub message: String,
    /// What to do now.
    pub next: String,
}

impl Failure {
    /// A failure with this code.
    pub fn new(exit: Exit, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: next.into(),
        }
    }

    /// The command line asks for something impossible.
    pub fn usage(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, next)
    }

    /// There is no agent of this name.
    pub fn not_found(name: &str) -> Self {
        Self::new(
            Exit::NotFound,
            format!(
                "there is no agent \"{}\"",
                talon_core::text::for_terminal(name)
            ),
            "talon get shows the agents there are",
        )
    }

    /// What was asked for is refused as it stands.
    pub fn rejected(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Exit::Rejected, message, next)
    }

    /// Something on this machine failed (a file, a pipe).
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        Self::new(
            Exit::Failure,
            format!("{what}: {error}"),
            "check that the path exists and that you may read or write it",
        )
    }

    /// Whether the database refused because of who asks.
    pub fn is_lack_of_privilege(&self) -> bool {
        self.exit == Exit::NotAllowed && self.message.contains(NOT_ALLOWED)
    }

    /// Puts words in front of the message, to say what it was about.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nnext: {}", self.message, self.next)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::StaleEpoch => Self::new(
                Exit::Failure,
                message,
                "run the command again; another controller took the agent over meanwhile",
            ),
            StoreError::NotFound => Self::new(
                Exit::NotFound,
                message,
                "talon get shows the agents there are",
            ),
            StoreError::Stale { .. } => Self::rejected(
                message,
                "look at what changed (talon diff -f FILE), then apply with the present generation",
            ),
            StoreError::Rejected { message: said, .. } if said == NOT_ALLOWED => Self::new(
                Exit::NotAllowed,
                message,
                "connect as a role that may: talon_writer for specs, talon_controller for the daemon",
            ),
            StoreError::Rejected { code, .. } => Self::rejected(message, next_for(&code)),
            StoreError::Unavailable(said) if said == LOGIN_REFUSED => Self::new(
                Exit::NotAllowed,
                message,
                "check user and password of --database-url (talon config show says where it comes from)",
            ),
            StoreError::Unavailable(_) => Self::new(
                Exit::Unavailable,
                message,
                "check --database-url (talon config show says where it comes from), then try again; talon doctor looks closer",
            ),
            StoreError::Corrupt(said) if said.contains(NOT_A_DATABASE) => Self::new(
                Exit::Failure,
                message,
                "name a database of Talon's, or a file that does not exist yet, with --database-url",
            ),
            StoreError::Corrupt(_) => Self::new(
                Exit::Failure,
                message,
                "talon migrate brings the database to this program's schema; talon doctor says which one it has",
            ),
        }
    }
}

/// What SQLite says of a file that is something else.
pub const NOT_A_DATABASE: &str = "is not a database";

/// What PostgreSQL's store says of a missing privilege, and of a refused login.
const NOT_ALLOWED: &str = "this database role may not do that";
const LOGIN_REFUSED: &str = "the database refused the login";

/// What to do about a rule of the contract that refused a write.
fn next_for(code: &str) -> &'static str {
    match code {
        codes::IMMUTABLE => "revert this field, or create a new agent under another name",
        codes::DELETION_STANDS | codes::DELETING => {
            "wait until the deletion is done and the name is free again (talon wait NAME --for=delete), then apply"
        }
        codes::PROTECTED => "set spec.deletionProtected: false first, if it really shall go",
        codes::BUCKET_FIXED => "revert spec.r2, or create a new agent under another name",
        codes::NOT_A_REFERENCE => {
            "write a reference (env:NAME, file:NAME or vault:path#field); if a key was pasted, treat it as exposed and rotate it"
        }
        _ => "talon describe NAME shows the row as it is; the rule named above says what it wants",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_code_keeps_its_number() {
        let codes = [
            (Exit::Success, 0),
            (Exit::Failure, 1),
            (Exit::Usage, 2),
            (Exit::NotFound, 3),
            (Exit::NotAllowed, 4),
            (Exit::Rejected, 5),
            (Exit::Stalled, 6),
            (Exit::TimedOut, 7),
            (Exit::LeftOver, 8),
            (Exit::Unavailable, 9),
            (Exit::Generic, 10),
            (Exit::Interrupted, 130),
        ];
        for (exit, number) in codes {
            assert_eq!(exit as u8, number);
        }
    }

    #[test]
    fn every_store_error_has_a_code_and_a_next_step() {
        let cases = [
            (StoreError::StaleEpoch, Exit::Failure),
            (StoreError::NotFound, Exit::NotFound),
            (
                StoreError::Stale {
                    expected: 1,
                    actual: 2,
                },
                Exit::Rejected,
            ),
            (
                StoreError::Rejected {
                    code: "TALON-OC002".into(),
                    message: "persona is immutable after deployment".into(),
                },
                Exit::Rejected,
            ),
            (StoreError::Unavailable("down".into()), Exit::Unavailable),
            (
                StoreError::Unavailable(LOGIN_REFUSED.into()),
                Exit::NotAllowed,
            ),
            (codes::invalid(NOT_ALLOWED), Exit::NotAllowed),
            (StoreError::Corrupt("old".into()), Exit::Failure),
        ];
        for (error, exit) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit);
            assert!(!failure.next.is_empty());
            assert!(failure.to_string().contains("\nnext: "));
        }
    }
}
