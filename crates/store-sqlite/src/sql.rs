//! Small pieces of SQL and of reading rows.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use talon_core::AgentId;
use talon_store::{StoreError, StoreResult};

use crate::error::translate;

/// The database's clock as SQL. Times are written by this alone, never bound.
macro_rules! now {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%fZ','now')"
    };
}
/// The database's clock plus a bound modifier, see [`plus`].
macro_rules! now_plus {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%fZ','now',?)"
    };
}
pub(crate) use {now, now_plus};

/// A duration as a modifier of SQLite's date functions, at most a hundred years.
pub(crate) fn plus(duration: Duration) -> String {
    const MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
    format!("+{:.3} seconds", duration.min(MAX).as_secs_f64())
}

/// As [`plus`], back in time.
pub(crate) fn minus(duration: Duration) -> String {
    plus(duration).replacen('+', "-", 1)
}

/// A time as SQL writes it; for comparing, never for storing.
pub(crate) fn time_text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Ids as a JSON array, for `json_each`.
pub(crate) fn id_list<'a>(ids: impl IntoIterator<Item = &'a AgentId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(AgentId::to_string).collect();
    serde_json::Value::from(ids).to_string()
}

pub(crate) fn parse_time(column: &str, text: &str) -> StoreResult<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|t| t.with_timezone(&Utc))
        .map_err(|_| unreadable(column))
}

/// The error for a column that holds what this program cannot read; names the column, never the value.
pub(crate) fn unreadable(column: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "column {column} holds something this program cannot read"
    ))
}

/// Typed access to a row's columns by name.
pub(crate) struct Columns<'r>(pub(crate) &'r SqliteRow);

impl Columns<'_> {
    pub(crate) fn text(&self, column: &str) -> StoreResult<String> {
        self.0.try_get(column).map_err(translate)
    }

    pub(crate) fn maybe_text(&self, column: &str) -> StoreResult<Option<String>> {
        self.0.try_get(column).map_err(translate)
    }

    /// Text that people write: bytes that are not UTF-8 are replaced and the column is noted.
    pub(crate) fn lossy(
        &self,
        column: &'static str,
        bad: &mut Vec<&'static str>,
    ) -> StoreResult<Option<String>> {
        let bytes: Option<Vec<u8>> = self.0.try_get(column).map_err(translate)?;
        Ok(bytes.map(|bytes| {
            String::from_utf8(bytes).unwrap_or_else(|e| {
                bad.push(column);
                String::from_utf8_lossy(e.as_bytes()).into_owned()
            })
        }))
    }

    pub(crate) fn bytes(&self, column: &str) -> StoreResult<Vec<u8>> {
        self.0.try_get(column).map_err(translate)
    }

    pub(crate) fn int(&self, column: &str) -> StoreResult<i64> {
        self.0.try_get(column).map_err(translate)
    }

    pub(crate) fn flag(&self, column: &str) -> StoreResult<bool> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn time(&self, column: &str) -> StoreResult<DateTime<Utc>> {
        parse_time(column, &self.text(column)?)
    }

    pub(crate) fn maybe_time(&self, column: &str) -> StoreResult<Option<DateTime<Utc>>> {
        self.maybe_text(column)?
            .map(|text| parse_time(column, &text))
            .transpose()
    }

    /// A word of a closed set.
    pub(crate) fn word<T: FromStr>(&self, column: &str) -> StoreResult<T> {
        self.text(column)?.parse().map_err(|_| unreadable(column))
    }

    pub(crate) fn maybe_word<T: FromStr>(&self, column: &str) -> StoreResult<Option<T>> {
        self.maybe_text(column)?
            .map(|text| text.parse().map_err(|_| unreadable(column)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_modifiers() {
        assert_eq!(plus(Duration::from_millis(1500)), "+1.500 seconds");
        assert_eq!(minus(Duration::ZERO), "-0.000 seconds");
        assert_eq!(plus(Duration::MAX), "+3153600000.000 seconds");
    }

    #[test]
    fn times_are_compared_as_sql_writes_them() {
        let text = "2026-01-02T03:04:05.006Z";
        assert_eq!(time_text(parse_time("x", text).unwrap()), text);
    }
}
