use super::*;

fn event(cause: TailCause) -> TailEvent {
    TailEvent {
        at: DateTime::from_timestamp(1_800_000_000, 0),
        cause,
        outcome: "ok".to_owned(),
        took_ms: Some(12),
        logs: Vec::new(),
        exceptions: Vec::new(),
        truncated: false,
    }
}

fn said(level: &str, text: &str) -> TailMessage {
    TailMessage {
        at: None,
        level: level.to_owned(),
        text: text.to_owned(),
    }
}

fn read(event: &TailEvent, redactor: &Redactor) -> Vec<String> {
    let lines = lines(event, redactor, DateTime::default());
    lines.iter().map(LogLine::message).collect()
}

#[test]
fn a_run_reads_as_its_request_and_what_it_printed_and_threw() {
    let mut event = event(TailCause::Request {
        method: "POST".to_owned(),
        path: "/hook".to_owned(),
        status: Some(200),
    });
    event.logs.push(said("log", "task.execute accepted"));
    event
        .exceptions
        .push(said("TypeError", "x is not a function"));
    event.outcome = "exception".to_owned();
    assert_eq!(
        read(&event, &Redactor::new()),
        [
            "POST /hook 200 12ms exception",
            "console=log task.execute accepted",
            "threw=TypeError x is not a function"
        ]
    );
}

#[test]
fn what_has_the_shape_of_a_key_and_the_control_token_are_taken_out_and_escapes_are_seen() {
    let mut redactor = Redactor::new();
    let control = talon_core::secret::SecretValue::new("made-up-control-token".to_owned());
    redactor.add(&control);
    let mut event = event(TailCause::Other);
    event.logs.push(said(
        "log",
        "\u{1b}[2J sk-ant-api03-abcdefghijkl made-up-control-token\nPOST /faked 200",
    ));
    let long = format!("{} sk-ant-api03-abcdefghijkl", "x".repeat(MAX_TEXT - 8));
    event.logs.push(said("log", &long));
    let told = read(&event, &redactor);
    assert_eq!(told.len(), 2);
    for text in &told {
        assert!(
            !text.contains("api03") && !text.contains("sk-ant"),
            "{text}"
        );
        assert!(!text.contains("control-token"), "{text}");
        assert!(!text.contains(talon_core::text::is_hidden), "{text}");
        assert!(text.starts_with("console=log "), "{text}");
    }
}

#[test]
fn one_run_has_so_many_lines_at_most() {
    let mut event = event(TailCause::Other);
    event.logs = vec![said("log", "x"); 10 * MOST_LINES];
    let told = read(&event, &Redactor::new());
    assert_eq!(told.len(), MOST_LINES + 1);
    assert!(
        told.last()
            .is_some_and(|last| last.contains("more was printed"))
    );
}
