//! The account's lists: who needs newer ones gets them, and not more often than the spacing allows.

use std::sync::Arc;
use std::time::Duration;

use talon_controller::budget::CallBudget;
use talon_controller::clock::SystemClock;
use talon_controller::inventory::{Inventory, Surveyor, Watch};
use talon_core::clock::Clock;
use talon_core::cloud::CallClass;
use talon_store::StoreResult;
use talon_tests::stage::Stage;

const SPACING: Duration = Duration::from_millis(400);

struct NoWatch;

#[async_trait::async_trait]
impl Watch for NoWatch {
    async fn compare(&self, _before: Option<&Inventory>, _after: &Inventory) -> StoreResult<()> {
        Ok(())
    }
}

fn fetches(stage: &Stage) -> usize {
    let calls = stage.sim.calls();
    calls
        .iter()
        .filter(|c| c.operation == "workers.list")
        .count()
}

#[tokio::test]
async fn whoever_needs_newer_lists_waits_for_the_next_together_with_all_others() {
    let stage = Stage::in_memory().await;
    let clock = Arc::new(SystemClock::default());
    let cloud = stage.client(Arc::new(CallBudget::in_process(clock.clone(), 1_000_000)));
    let surveyor = Surveyor::new(Arc::new(cloud), clock.clone(), Arc::new(NoWatch), SPACING);
    let after = async |moment| {
        surveyor
            .newer_than(moment, CallClass::Retry)
            .await
            .expect("lists")
    };
    let first = after(Duration::ZERO).await;
    assert!(
        Arc::ptr_eq(&first, &after(Duration::ZERO).await),
        "lists that are new enough are there at once"
    );
    assert_eq!(fetches(&stage), 1);

    // An agent that flaps, and others that have to look at the same time.
    let mut latest = first;
    for round in 2..5 {
        let now = clock.monotonic();
        let (one, other, third) = tokio::join!(after(now), after(now), after(latest.taken));
        assert!(Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &third));
        assert!(one.taken > now, "as new as it was asked for");
        assert!(
            one.taken - latest.taken >= SPACING,
            "{:?} after {:?}",
            one.taken,
            latest.taken
        );
        assert_eq!(fetches(&stage), round);
        latest = one;
    }
}
