use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn raw(value: Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(&value).unwrap()
}

fn report(value: Value) -> Option<Report> {
    let raw = raw(value);
    Report::read(&Fields::read(&raw))
}

#[test]
fn a_report_as_the_protocol_writes_it() {
    let status = json!({"state": "working",
        "message": {"role": "agent", "parts": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}});
    let read = report(json!({"task_id": "T", "status": status, "final": false}));
    let expected = Report {
        task: "T".to_owned(),
        state: Some(TaskState::Working),
        text: "ab".to_owned(),
    };
    assert_eq!(read, Some(expected));
}

#[test]
fn missing_and_odd_parts_are_absent() {
    assert_eq!(report(json!({})), None);
    assert_eq!(report(json!({"task_id": 7})), None);
    let read = |value| report(value).unwrap();
    assert_eq!(read(json!({"task_id": "T"})).text, "");
    assert_eq!(
        read(json!({"id": "T", "status": "failed", "message": "why"})).text,
        "why"
    );
    assert_eq!(
        read(json!({"id": "T", "status": "failed"})).state,
        Some(TaskState::Failed)
    );
    let odd = json!({"task_id": "T", "status": {"state": "dancing",
        "message": {"parts": [7, {"type": "file"}, {"kind": "text", "text": "x"}, {"text": "y"}, {"type": "text", "text": 3}]}}});
    assert_eq!(
        (read(odd.clone()).state, read(odd).text.as_str()),
        (None, "xy")
    );
}

#[test]
fn spellings_of_states() {
    let state = |word: &str| {
        report(json!({"task_id": "T", "status": {"state": word}}))
            .unwrap()
            .state
    };
    assert_eq!(state("cancelled"), Some(TaskState::Canceled));
    assert_eq!(state("input_required"), Some(TaskState::InputRequired));
    assert_eq!(state("rejected"), Some(TaskState::Failed));
    assert_eq!(state("COMPLETED"), None);
}

#[test]
fn a_value_has_a_size_limit() {
    let raw = raw(json!({"card": {"a": "xxxxxxxxxx"}}));
    let fields = Fields::read(&raw);
    assert!(fields.value("card", 100).is_some());
    assert_eq!(fields.value("card", 10), None);
}
