use std::sync::atomic::{AtomicU32, Ordering};

use talon_core::cloud::CloudResult;

use super::*;
use crate::clock::SystemClock;

/// Opens tails that end as soon as they are read.
#[derive(Default)]
struct Fleeting(AtomicU32);

struct Ended;

#[async_trait]
impl TailSocket for Ended {
    fn id(&self) -> &str {
        "made-up"
    }

    fn expires_at(&self) -> Option<DateTime<Utc>> {
        None
    }

    async fn next(&mut self) -> CloudResult<Option<TailEvent>> {
        Ok(None)
    }
}

#[async_trait]
impl TailCloud for Fleeting {
    async fn open_tail(&self, _: CallCx, _: &str) -> CloudResult<Box<dyn TailSocket>> {
        let opened = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(opened < 100, "it is opened again and again");
        Ok(Box::new(Ended))
    }

    async fn close_tail(&self, _: CallCx, _: &str, _: &str) -> CloudResult<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_tail_that_ends_at_once_is_opened_ever_later_then_given_up_and_its_slot_is_gone() {
    let cloud = Arc::new(Fleeting::default());
    let slots = Arc::new(Slots::default());
    let agent = AgentId(uuid::Uuid::nil());
    let (lines, mut follower) = broadcast::channel(BEHIND);
    *slots.take(agent).await.open = Some(lines.clone());
    let places = Arc::new(Semaphore::new(1));
    let tail = Tail {
        cloud: cloud.clone(),
        clock: Arc::new(SystemClock::default()),
        worker: "made-up".to_owned(),
        redactor: Redactor::new(),
        lines,
        agent,
        slots: slots.clone(),
        pause: Duration::from_millis(1),
        _place: places.try_acquire_owned().expect("a place"),
    };
    let began = Instant::now();
    tail.run(Box::new(Ended)).await;
    assert_eq!(cloud.0.load(Ordering::Relaxed), TRIES);
    let paused = Duration::from_millis(1) * (2_u32.pow(TRIES) - 1);
    assert!(began.elapsed() >= paused, "{:?}", began.elapsed());
    assert!(slots.all().is_empty());
    let mut last = None;
    while let Ok(line) = follower.recv().await {
        last = Some(line.message());
    }
    let last = last.expect("a last word");
    assert!(last.contains("the tail ended"), "{last}");
}

#[test]
fn what_was_steady_begins_a_row_anew() {
    let mut tries = Tries(TRIES - 1);
    tries.after(STEADY);
    assert_eq!(tries.next(), Some(16));
    assert_eq!(tries.next(), None);
    tries.after(STEADY + PAUSE);
    assert_eq!(tries.next(), Some(1));
}

#[tokio::test]
async fn a_slot_that_is_left_empty_is_no_slot_for_whoever_waits_for_it() {
    let slots = Arc::new(Slots::default());
    let agent = AgentId(uuid::Uuid::nil());
    let first = slots.take(agent).await;
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.take(agent).await }
    });
    tokio::task::yield_now().await;
    drop(first);
    let second = waiting.await.expect("taken");
    let is_its = Arc::ptr_eq(
        slots.all().get(&agent).expect("a slot"),
        OwnedMutexGuard::mutex(&second.open),
    );
    assert!(is_its);
    drop(second);
    assert!(slots.all().is_empty());
}

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
