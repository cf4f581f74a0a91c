//! An event of a tail, as `trace-v1` brings it. Everything in it may be missing, and anything may be there beside it.

use chrono::{DateTime, Utc};
use serde_json::Value;
use talon_core::tail::{TailCause, TailEvent, TailMessage};

/// Most messages that are read of one event.
const MOST: usize = 256;

/// Reads a message; `None`: it is no event.
pub(super) fn read(bytes: &[u8]) -> Option<TailEvent> {
    let event: Value = serde_json::from_slice(bytes).ok()?;
    let event = event.as_object()?;
    let outcome = event.get("outcome")?.as_str()?;
    let list = |name: &str| {
        let list = event.get(name).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    };
    let (logs, exceptions) = (list("logs"), list("exceptions"));
    Some(TailEvent {
        at: event.get("eventTimestamp").and_then(time),
        cause: cause(event.get("event").unwrap_or(&Value::Null)),
        outcome: outcome.to_owned(),
        took_ms: event.get("wallTime").and_then(milliseconds),
        logs: logs.iter().take(MOST).map(printed).collect(),
        exceptions: exceptions.iter().take(MOST).map(thrown).collect(),
        truncated: event.get("truncated") == Some(&Value::Bool(true))
            || logs.len().max(exceptions.len()) > MOST,
    })
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(value.as_i64()?)
}

fn milliseconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| (0.0..1e15).contains(n))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within bounds; a fraction of a millisecond does not matter"
        )]
        Some(number as u64)
    })
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn cause(event: &Value) -> TailCause {
    if let Some(request) = event.get("request") {
        let status = event.pointer("/response/status").and_then(Value::as_u64);
        return TailCause::Request {
            method: text(request, "method"),
            path: path(&text(request, "url")),
            status: status.and_then(|s| u16::try_from(s).ok()),
        };
    }
    if event.get("cron").is_some() {
        return TailCause::Scheduled;
    }
    // A cron trigger has a scheduled time too, and its pattern beside it.
    if event.get("scheduledTime").is_some() {
        return TailCause::Alarm;
    }
    TailCause::Other
}

/// The path of an address, without its query.
fn path(url: &str) -> String {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.find('/').map_or("/", |at| &behind[at..]);
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path[..end].to_owned()
}

fn printed(log: &Value) -> TailMessage {
    let words = match log.get("message") {
        Some(Value::Array(words)) => words.iter().map(word).collect::<Vec<_>>().join(" "),
        Some(other) => word(other),
        None => String::new(),
    };
    TailMessage {
        at: log.get("timestamp").and_then(time),
        level: text(log, "level"),
        text: words,
    }
}

/// What was given to `console.log`: text as it is, everything else as JSON.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn thrown(exception: &Value) -> TailMessage {
    TailMessage {
        at: exception.get("timestamp").and_then(time),
        level: text(exception, "name"),
        text: text(exception, "message"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_with_all_that_belongs_to_it_is_read() {
        let sent = json!({
            "outcome": "exception", "scriptName": "w", "eventTimestamp": 1_800_000_000_123_i64, "wallTime": 12.7, "cpuTime": 1,
            "event": {
                "request": {"url": "https://w.dev.workers.dev/hook?token=abc#x", "method": "POST", "headers": {"authorization": "x"}},
                "response": {"status": 500},
            },
            "logs": [{"level": "warn", "message": ["a", {"b": 1}, 7], "timestamp": 1_800_000_000_124_i64}],
            "exceptions": [{"name": "TypeError", "message": "no", "timestamp": 1_800_000_000_125_i64}],
        });
        let event = read(sent.to_string().as_bytes()).expect("an event");
        let cause = TailCause::Request {
            method: "POST".to_owned(),
            path: "/hook".to_owned(),
            status: Some(500),
        };
        assert_eq!((event.cause, event.took_ms), (cause, Some(12)));
        assert_eq!(event.logs[0].text, "a {\"b\":1} 7");
        assert_eq!(event.logs[0].level, "warn");
        assert_eq!(event.exceptions[0].level, "TypeError");
        assert!(event.at.is_some() && !event.truncated);
    }

    #[test]
    fn what_is_missing_or_odd_is_borne() {
        for (sent, cause) in [
            (json!({"outcome": "ok"}), TailCause::Other),
            (
                json!({"outcome": "ok", "event": null, "logs": null}),
                TailCause::Other,
            ),
            (
                json!({"outcome": "ok", "event": {"scheduledTime": "2026"}}),
                TailCause::Alarm,
            ),
            (
                json!({"outcome": "ok", "event": {"scheduledTime": 1, "cron": "* * * * *"}}),
                TailCause::Scheduled,
            ),
            (
                json!({"outcome": "ok", "wallTime": -1, "eventTimestamp": "x", "logs": [1, {}]}),
                TailCause::Other,
            ),
        ] {
            assert_eq!(
                read(sent.to_string().as_bytes()).expect("an event").cause,
                cause,
                "{sent}"
            );
        }
        for no_event in [
            "",
            "[]",
            "{}",
            "{\"debug\":true}",
            "{\"outcome\":1}",
            "\u{0}",
        ] {
            assert_eq!(read(no_event.as_bytes()), None, "{no_event}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_carries_a_query(url in ".{0,60}") {
            proptest::prop_assert!(!path(&url).contains('?'));
        }
    }
}
