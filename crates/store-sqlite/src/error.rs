//! What SQLite says, in the store's words. No message of SQLite's repeats a value: constraints are named, triggers
//! speak literally.

use talon_store::{StoreError, codes};

/// Primary result codes of SQLite (`sqlite3.h`).
mod primary {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
}

/// Translates an error of the driver.
pub(crate) fn translate(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(db) => {
            let code: i32 = db.code().and_then(|c| c.parse().ok()).unwrap_or(0);
            database(code & 0xff, db.message())
        }
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::Io(e) => StoreError::Unavailable(e.to_string()),
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("no connection became free in time".to_owned())
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable("the connection was closed".to_owned())
        }
        other => StoreError::Corrupt(other.to_string()),
    }
}

fn database(primary: i32, message: &str) -> StoreError {
    if let Some(at) = message.find("TALON-OC") {
        let (code, said) = message[at..]
            .split_once(' ')
            .unwrap_or((&message[at..], ""));
        return StoreError::Rejected {
            code: code.to_owned(),
            message: said.to_owned(),
        };
    }
    match primary {
        primary::CONSTRAINT => constraint(message),
        primary::PERM
        | primary::BUSY
        | primary::LOCKED
        | primary::NOMEM
        | primary::READONLY
        | primary::INTERRUPT
        | primary::IOERR
        | primary::FULL
        | primary::CANTOPEN => StoreError::Unavailable(message.to_owned()),
        _ => StoreError::Corrupt(message.to_owned()),
    }
}

fn constraint(message: &str) -> StoreError {
    if let Some(rule) = message.strip_prefix("CHECK constraint failed: ") {
        // The constraints are named as sentences.
        return codes::invalid(rule.replace('_', " "));
    }
    let taken = ["worker_name", "r2_bucket", "r2_token_id"]
        .iter()
        .any(|column| message.ends_with(&format!("agent_source.{column}")));
    if taken {
        codes::rejected(codes::TAKEN)
    } else {
        codes::invalid(message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_says_is_sorted() {
        let said = |code, message: &str| database(code, message).to_string();
        assert_eq!(
            said(19, "TALON-OC002 persona is fixed"),
            "TALON-OC002 persona is fixed"
        );
        assert_eq!(
            said(
                19,
                "CHECK constraint failed: model_must_have_1_to_200_bytes"
            ),
            "TALON-OC020 model must have 1 to 200 bytes"
        );
        assert!(
            said(19, "UNIQUE constraint failed: agent_source.r2_bucket").starts_with(codes::TAKEN)
        );
        assert!(matches!(
            database(5, "database is locked"),
            StoreError::Unavailable(_)
        ));
        assert!(matches!(
            database(26, "file is not a database"),
            StoreError::Corrupt(_)
        ));
    }
}
