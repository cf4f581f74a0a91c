use chrono::DateTime;
use talon_core::clock::Clock;
use talon_core::task::NewTask;
use talon_store::MemoryStore;
use talon_store::network::{Submitted, TaskStore};

use super::*;

struct Still;

impl Clock for Still {
    fn now(&self) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Bench {
    store: Arc<MemoryStore>,
    streams: Arc<Streams>,
    stopping: CancellationToken,
    id: TaskId,
}

const RECHECK: Duration = Duration::from_secs(10);

impl Bench {
    fn new(max_bytes: usize) -> Self {
        let stopping = CancellationToken::new();
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(Still))),
            streams: Arc::new(Streams::new(max_bytes, stopping.clone())),
            stopping,
            id: TaskId::parse("t").unwrap(),
        }
    }

    fn follow(&self) -> Followed {
        self.streams
            .follow(&self.id, "agent", self.store.clone(), RECHECK)
    }

    fn piece(&self, text: &str) {
        self.streams.piece(&self.id, TaskState::Working, text);
    }

    fn end(&self, text: &str) {
        self.streams.end(&self.id, TaskState::Completed, text);
    }

    async fn submit(&self) -> Task {
        let task = NewTask {
            id: self.id.clone(),
            agent: "a".to_owned(),
            session: self.id.clone(),
            text: "?".to_owned(),
            metadata: serde_json::Value::Null,
            asked_by: None,
            deadline_in: Duration::from_secs(60),
        };
        match self.store.submit_task(&task, 1).await.unwrap() {
            Submitted::New(task) => task,
            other => panic!("{other:?}"),
        }
    }
}

fn status(text: &str) -> Option<TaskUpdate> {
    Some(TaskUpdate::Status {
        state: TaskState::Working,
        text: text.to_owned(),
    })
}

fn done(text: &str) -> Option<TaskUpdate> {
    Some(TaskUpdate::Done {
        state: TaskState::Completed,
        text: text.to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn every_follower_hears_pieces_and_the_end() {
    let bench = Bench::new(10_000);
    let (mut one, mut two) = (bench.follow(), bench.follow());
    bench.piece("a");
    assert_eq!(one.next().await, status("a"));
    bench.piece("b");
    bench.end("ab");
    assert_eq!(one.next().await, status("b"));
    assert_eq!((one.next().await, one.next().await), (done("ab"), None));
    assert_eq!(two.next().await, status("ab"), "pieces that waited are one");
    assert_eq!((two.next().await, two.next().await), (done("ab"), None));
    assert_eq!(bench.streams.count(), 2);
    drop((one, two));
    assert_eq!(bench.streams.count(), 0);
    assert!(bench.streams.followers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_misses_pieces_but_not_the_end() {
    let bench = Bench::new(1_000);
    let mut slow = bench.follow();
    for _ in 0..100 {
        bench.piece(&"x".repeat(100));
    }
    bench.end("whole");
    match slow.next().await {
        Some(TaskUpdate::Status { text, .. }) => assert!((800..=1_000).contains(&text.len())),
        other => panic!("{other:?}"),
    }
    assert_eq!(slow.next().await, done("whole"));
}

#[tokio::test(start_paused = true)]
async fn changes_of_state_are_bounded_too() {
    let bench = Bench::new(1_000);
    let mut slow = bench.follow();
    for n in 0..1_000 {
        let states = [TaskState::Working, TaskState::InputRequired];
        bench.streams.piece(&bench.id, states[n % 2], "");
    }
    bench.end("");
    let mut updates = 0;
    while slow.next().await.is_some() {
        updates += 1;
    }
    assert!(updates <= 1_000 / PIECE + 1, "{updates}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_came_from_elsewhere_is_found() {
    let bench = Bench::new(1_000);
    let task = bench.submit().await;
    let mut followed = bench.follow().caught_up(&task);
    let ended = bench
        .store
        .end_task(&bench.id, None, TaskState::Completed, "answer");
    assert!(ended.await.unwrap());
    assert_eq!(followed.next().await, done("answer"));
    let task = bench.store.task(&bench.id).await.unwrap().unwrap();
    let mut late = bench.follow().caught_up(&task);
    assert_eq!(
        (late.next().await, late.next().await),
        (done("answer"), None)
    );
}

#[tokio::test(start_paused = true)]
async fn when_the_hub_stops_streams_end_without_an_end() {
    let bench = Bench::new(1_000);
    let mut followed = bench.follow();
    bench.piece("a");
    bench.stopping.cancel();
    assert_eq!(
        (followed.next().await, followed.next().await),
        (status("a"), None)
    );
}
