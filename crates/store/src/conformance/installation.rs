//! What concerns the whole installation: its row, singletons' leases, the call budget, holds and the brake.

use std::time::Duration;

use talon_core::InstallId;

use super::support::{Bench, LONG, name};
use crate::{BudgetAsk, HoldKind, Install};

const HOUR: Duration = Duration::from_secs(3600);

fn ask(want: u32, ceiling: u32) -> BudgetAsk {
    BudgetAsk {
        want,
        reserve: 0,
        ceiling,
        window: HOUR,
    }
}

pub(super) async fn install_row_is_made_once(bench: Bench) {
    assert_eq!(bench.install().await.unwrap(), None);
    let id = InstallId::from_random([7; 10]);
    let made = bench.init_install(&id, "check").await.unwrap();
    let expected = Install {
        id,
        key_check: "check".to_owned(),
    };
    assert_eq!(made, expected);
    let other = InstallId::from_random([8; 10]);
    assert_eq!(bench.init_install(&other, "other").await.unwrap(), expected);
    assert_eq!(bench.install().await.unwrap(), Some(expected));
}

pub(super) async fn leases_exclude(bench: Bench) {
    assert!(bench.try_lease("sweep", "a", LONG).await.unwrap());
    assert!(
        bench.try_lease("sweep", "a", LONG).await.unwrap(),
        "the holder prolongs"
    );
    assert!(!bench.try_lease("sweep", "b", LONG).await.unwrap());
    assert!(
        bench.try_lease("prune", "b", LONG).await.unwrap(),
        "another name, another lease"
    );
    bench.release_lease("sweep", "b").await.unwrap();
    assert!(
        !bench.try_lease("sweep", "b", LONG).await.unwrap(),
        "only the holder gives it back"
    );
    bench.release_lease("sweep", "a").await.unwrap();
    assert!(bench.try_lease("sweep", "b", LONG).await.unwrap());
}

pub(super) async fn leases_end(bench: Bench) {
    let id = bench.create("research-pro").await;
    assert!(
        bench
            .try_lease("sweep", "a", Duration::from_millis(1))
            .await
            .unwrap()
    );
    bench.tick(id).await;
    assert!(bench.try_lease("sweep", "b", LONG).await.unwrap());
    assert!(!bench.try_lease("sweep", "a", LONG).await.unwrap());
}

pub(super) async fn budget_has_a_ceiling(bench: Bench) {
    let take = async |want| bench.take_budget("acc", ask(want, 10)).await.unwrap();
    assert_eq!(take(4).await.calls, 4);
    assert_eq!(take(4).await.calls, 4);
    assert_eq!(take(4).await.calls, 2, "what is left");
    let none = take(1).await;
    assert_eq!(none.calls, 0);
    assert!(none.retry_in > Duration::ZERO, "{:?}", none.retry_in);
    assert!(none.retry_in <= HOUR + HOUR / 5, "{:?}", none.retry_in);
}

pub(super) async fn budget_comes_back(bench: Bench) {
    let brief = BudgetAsk {
        window: Duration::from_millis(300),
        ..ask(3, 3)
    };
    let take = async || bench.take_budget("acc", brief).await.unwrap();
    assert_eq!(take().await.calls, 3);
    let mut waits = 0;
    loop {
        let grant = take().await;
        if grant.calls > 0 {
            break;
        }
        waits += 1;
        assert!(waits < 100, "the window never opens again");
        tokio::time::sleep(grant.retry_in.max(Duration::from_millis(1))).await;
    }
}

pub(super) async fn budget_is_per_account(bench: Bench) {
    assert_eq!(bench.take_budget("one", ask(5, 5)).await.unwrap().calls, 5);
    assert_eq!(bench.take_budget("one", ask(5, 5)).await.unwrap().calls, 0);
    assert_eq!(bench.take_budget("two", ask(5, 5)).await.unwrap().calls, 5);
}

pub(super) async fn budget_keeps_the_reserve(bench: Bench) {
    let take = async |want, reserve| {
        let ask = BudgetAsk {
            reserve,
            ..ask(want, 10)
        };
        bench.take_budget("acc", ask).await.unwrap()
    };
    assert_eq!(take(20, 4).await.calls, 6, "what is above the reserve");
    for _ in 0..2 {
        let none = take(1, 4).await;
        assert_eq!((none.calls, none.paused), (0, false));
        assert!(none.retry_in > Duration::ZERO, "{:?}", none.retry_in);
        assert!(none.retry_in <= HOUR + HOUR / 5, "{:?}", none.retry_in);
    }
    assert_eq!(take(1, 3).await.calls, 1, "a refusal took nothing");
    assert_eq!(take(20, 0).await.calls, 3, "the reserve, without one");
    assert_eq!(take(1, 0).await.calls, 0);
}

pub(super) async fn pause_stops_grants(bench: Bench) {
    bench
        .pause_budget("acc", Duration::from_secs(300))
        .await
        .unwrap();
    bench
        .pause_budget("acc", Duration::from_secs(1))
        .await
        .unwrap();
    let none = bench.take_budget("acc", ask(1, 10)).await.unwrap();
    assert_eq!((none.calls, none.paused), (0, true));
    assert!(
        none.retry_in > Duration::from_secs(200),
        "a shorter pause ends no longer one"
    );
    assert!(none.retry_in <= Duration::from_secs(300));
    assert_eq!(
        bench.take_budget("other", ask(1, 10)).await.unwrap().calls,
        1
    );
    bench.pause_budget("brief", Duration::ZERO).await.unwrap();
    let id = bench.create("research-pro").await;
    bench.tick(id).await;
    assert_eq!(
        bench.take_budget("brief", ask(1, 10)).await.unwrap().calls,
        1
    );
}

pub(super) async fn one_hold_at_a_time(bench: Bench) {
    assert_eq!(bench.hold().await.unwrap(), None);
    assert_eq!(bench.release_hold().await.unwrap(), None);
    assert!(
        bench
            .set_hold(HoldKind::MassChange, "12 Workers vanished")
            .await
            .unwrap()
    );
    assert!(!bench.set_hold(HoldKind::Operator, "other").await.unwrap());
    let hold = bench.hold().await.unwrap().unwrap();
    assert_eq!(
        (hold.kind, hold.reason.as_str()),
        (HoldKind::MassChange, "12 Workers vanished")
    );
    assert_eq!(bench.release_hold().await.unwrap(), Some(hold));
    assert_eq!(bench.hold().await.unwrap(), None);
    for kind in [HoldKind::RestoredDatabase, HoldKind::Operator] {
        assert!(bench.set_hold(kind, "r").await.unwrap());
        assert_eq!(bench.release_hold().await.unwrap().unwrap().kind, kind);
    }
}

pub(super) async fn release_makes_all_due(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let gone = bench.archived("gone", None).await;
    bench.set_hold(HoldKind::Operator, "r").await.unwrap();
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
    bench.release_hold().await.unwrap();
    let snap = bench.snap(id).await;
    assert!(snap.work.next_due_at.is_some_and(|due| due <= snap.now));
    assert_eq!(bench.snap(gone).await.work.next_due_at, None);
}

pub(super) async fn brake_counts_deletions(bench: Bench) {
    let facts = bench.brake_facts(HOUR).await.unwrap();
    assert_eq!((facts.recent_deletions, facts.last_release), (0, None));
    bench.archived("gone", None).await;
    let mut last = None;
    for n in ["agent-one", "agent-two", "agent-three"] {
        last = Some(bench.create(n).await);
        bench.request_deletion(&name(n), false).await.unwrap();
    }
    let last = last.unwrap();
    assert_eq!(bench.brake_facts(HOUR).await.unwrap().recent_deletions, 3);
    bench.tick(last).await;
    assert_eq!(
        bench
            .brake_facts(Duration::from_millis(1))
            .await
            .unwrap()
            .recent_deletions,
        0
    );
    bench.set_hold(HoldKind::MassChange, "r").await.unwrap();
    bench.release_hold().await.unwrap();
    let facts = bench.brake_facts(HOUR).await.unwrap();
    assert_eq!(
        facts.recent_deletions, 0,
        "a release forgives what came before it"
    );
    assert!(facts.last_release.is_some());
    bench.tick(last).await;
    bench.create("agent-four").await;
    bench
        .request_deletion(&name("agent-four"), false)
        .await
        .unwrap();
    assert_eq!(bench.brake_facts(HOUR).await.unwrap().recent_deletions, 1);
}
