//! The budget, in process and shared.

use super::*;
use chrono::{DateTime, Utc};
use talon_store::MemoryStore;

const LEAST_URGENT_FIRST: [CallClass; 5] = [
    CallClass::Sweep,
    CallClass::Resync,
    CallClass::Retry,
    CallClass::UserChange,
    CallClass::Delete,
];

#[derive(Default)]
struct Hand(Mutex<Duration>);

impl Hand {
    fn turn(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.monotonic()
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn signal(retry_after: Option<Duration>, limited: bool) -> RateSignal {
    RateSignal {
        remaining: None,
        reset_in: None,
        retry_after,
        limited,
    }
}

#[tokio::test]
async fn no_five_minutes_hold_more_calls_than_the_ceiling() {
    let clock = Arc::new(Hand::default());
    let budget = CallBudget::in_process(clock.clone(), 100);
    let mut granted: Vec<u64> = Vec::new();
    for second in 0..1200u64 {
        // A burst after a quiet time, then whatever is to be had.
        while second >= 200 && budget.admit(CallClass::Delete).await.is_ok() {
            granted.push(second);
        }
        clock.turn(Duration::from_secs(1));
    }
    for start in 0..900 {
        let within = granted.iter().filter(|s| (start..start + 300).contains(*s));
        assert!(within.count() <= 100, "from second {start}");
    }
    assert!(granted.len() >= 300, "{}", granted.len());
}

#[tokio::test]
async fn what_cloudflare_says_is_left_counts_until_its_window_ends() {
    let clock = Arc::new(Hand::default());
    let budget = CallBudget::in_process(clock.clone(), 1000);
    budget.observe(RateSignal {
        remaining: Some(1),
        reset_in: Some(Duration::from_secs(30)),
        retry_after: None,
        limited: false,
    });
    assert!(budget.admit(CallClass::Delete).await.is_ok());
    assert_eq!(
        budget.admit(CallClass::Delete).await,
        Err(Duration::from_secs(30))
    );
    clock.turn(Duration::from_secs(30));
    assert!(budget.admit(CallClass::Delete).await.is_ok());
}

#[tokio::test]
async fn the_last_calls_are_for_the_urgent_and_a_refused_class_ages() {
    let clock = Arc::new(Hand::default());
    let budget = CallBudget::in_process(clock.clone(), 1000);
    while budget.admit(CallClass::Sweep).await.is_ok() {}
    assert!(budget.admit(CallClass::Resync).await.is_ok());
    assert!(budget.admit(CallClass::Delete).await.is_ok());
    while budget.admit(CallClass::Resync).await.is_ok() {}
    assert_eq!(budget.admit(CallClass::Sweep).await, Err(AGEING));
    clock.turn(AGEING);
    for _ in 0..10 {
        assert!(
            budget.admit(CallClass::Sweep).await.is_ok(),
            "a class that waited goes, and not with one call only"
        );
    }
}

#[tokio::test]
async fn a_429_pauses_everything_for_as_long_as_it_says_or_five_minutes() {
    let clock = Arc::new(Hand::default());
    let budget = CallBudget::in_process(clock.clone(), 1000);
    budget.observe(signal(Some(Duration::from_secs(7)), true));
    assert_eq!(
        budget.admit(CallClass::Delete).await,
        Err(Duration::from_secs(7))
    );
    clock.turn(Duration::from_secs(7));
    assert!(budget.admit(CallClass::Delete).await.is_ok());
    budget.observe(signal(None, true));
    assert_eq!(budget.admit(CallClass::Delete).await, Err(BLIND_PAUSE));
}

/// Two daemons on one database, and the clock of all three.
fn two_daemons(calls: u32) -> (Arc<Hand>, CallBudget, CallBudget) {
    let clock = Arc::new(Hand::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let daemon = || CallBudget::shared(clock.clone(), calls, Arc::clone(&store), "acc".to_owned());
    let (one, other) = (daemon(), daemon());
    (clock, one, other)
}

/// How many calls the class gets before it is refused.
async fn drain(budget: &CallBudget, class: CallClass) -> u32 {
    let mut calls = 0;
    while budget.admit(class).await.is_ok() {
        calls += 1;
    }
    calls
}

#[tokio::test]
async fn daemons_share_one_window_and_one_order_of_classes() {
    let (_, one, other) = two_daemons(1000);
    let mut granted = Vec::new();
    for class in LEAST_URGENT_FIRST {
        granted.push(drain(&one, class).await);
        assert!(
            other.admit(class).await.is_err(),
            "{class:?}: what one daemon must leave to others, the other must leave as well"
        );
    }
    assert_eq!(granted, [800, 100, 50, 30, 20]);
}

#[tokio::test]
async fn in_a_shared_budget_nearly_spent_a_delete_goes_on_and_an_aged_sweep_is_served() {
    let (clock, one, other) = two_daemons(1000);
    // A call of each class first, so that a daemon that kept calls in store would have some.
    for class in LEAST_URGENT_FIRST {
        assert!(one.admit(class).await.is_ok());
        assert!(other.admit(class).await.is_ok());
    }
    drain(&one, CallClass::UserChange).await;
    for budget in [&one, &other] {
        for class in &LEAST_URGENT_FIRST[..4] {
            assert_eq!(budget.admit(*class).await, Err(AGEING), "{class:?}");
        }
        assert!(budget.admit(CallClass::Delete).await.is_ok());
    }
    clock.turn(AGEING / 2);
    assert_eq!(one.admit(CallClass::Sweep).await, Err(AGEING / 2));
    clock.turn(AGEING / 2);
    for _ in 0..5 {
        assert!(one.admit(CallClass::Sweep).await.is_ok());
        assert!(other.admit(CallClass::Delete).await.is_ok());
    }
}

#[tokio::test]
async fn an_aged_class_gets_through_a_list_and_then_ages_anew() {
    let (clock, one, other) = two_daemons(10_000);
    drain(&one, CallClass::Sweep).await;
    clock.turn(AGEING);
    assert_eq!(drain(&one, CallClass::Sweep).await, AGED_CALLS);
    assert_eq!(one.admit(CallClass::Sweep).await, Err(AGEING));
    assert_eq!(
        drain(&other, CallClass::Delete).await,
        2000 - AGED_CALLS,
        "the rest is for those it was kept for"
    );
}

#[tokio::test]
async fn a_pause_that_one_daemon_was_told_of_holds_for_the_other() {
    let (clock, one, other) = two_daemons(1000);
    one.observe(signal(Some(Duration::from_secs(120)), true));
    clock.turn(Duration::from_secs(20));
    let left = Duration::from_secs(100);
    assert_eq!(one.admit(CallClass::Delete).await, Err(left));
    assert_eq!(other.admit(CallClass::Delete).await, Err(left));
    assert_eq!(other.admit(CallClass::Sweep).await, Err(left));
    clock.turn(left);
    for budget in [&one, &other] {
        for class in LEAST_URGENT_FIRST {
            assert!(budget.admit(class).await.is_ok(), "{class:?}");
        }
    }
}

#[tokio::test]
async fn what_cloudflare_says_is_left_is_kept_for_the_urgent() {
    let (_, one, _) = two_daemons(1000);
    one.observe(RateSignal {
        remaining: Some(150),
        reset_in: Some(Duration::from_secs(30)),
        retry_after: None,
        limited: false,
    });
    assert_eq!(
        one.admit(CallClass::Sweep).await,
        Err(Duration::from_secs(30))
    );
    assert_eq!(drain(&one, CallClass::Resync).await, 50);
    assert_eq!(drain(&one, CallClass::Delete).await, 100);
}

#[tokio::test]
async fn what_was_granted_and_a_pause_can_be_seen() {
    let clock = Arc::new(Hand::default());
    let budget = CallBudget::in_process(clock.clone(), 100);
    clock.turn(Duration::from_secs(1000));
    assert_eq!((budget.used(), budget.pause_left()), (0, None));
    for _ in 0..3 {
        assert!(budget.admit(CallClass::Delete).await.is_ok());
    }
    assert_eq!(budget.used(), 3);
    budget.observe(signal(Some(Duration::from_secs(40)), true));
    assert_eq!(budget.pause_left(), Some(Duration::from_secs(40)));
    clock.turn(Duration::from_secs(400));
    assert_eq!((budget.used(), budget.pause_left()), (0, None));
}
