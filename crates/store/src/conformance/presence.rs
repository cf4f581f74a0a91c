//! Who is connected, and that the controller hears of it.

use std::time::{Duration, Instant};

use talon_core::AgentId;
use talon_core::presence::Presence;

use super::support::{Bench, LONG, name, quiet};
use crate::network::{HostedConnection, Registration};
use crate::{ListFilter, StoreError};

fn registration(connection: &str, hub: &str) -> Registration {
    Registration {
        connection_id: connection.to_owned(),
        hub: hub.to_owned(),
        token_sha256: format!("hash of {connection}"),
        runtime: Some("openclaw 2026.9.6".to_owned()),
    }
}

async fn connect(bench: &Bench, id: AgentId, connection: &str) {
    bench
        .agent_connected(id, &registration(connection, "hub-1"))
        .await
        .unwrap();
}

async fn present(bench: &Bench, id: AgentId) -> Presence {
    bench.presence(id).await.unwrap().expect("it was seen")
}

/// Whether a pass is to come.
async fn is_due(bench: &Bench, id: AgentId) -> bool {
    bench.snap(id).await.work.next_due_at.is_some()
}

/// Lets passes see what there is and end, for every agent that is due; this one must be.
async fn pass(bench: &Bench, id: AgentId) {
    let claims = bench.claim_due("bench", LONG, 1000).await.unwrap();
    assert!(claims.iter().any(|claim| claim.agent_id == id), "not due");
    for claim in claims {
        let loaded = bench.snap(claim.agent_id).await;
        bench.finish(&claim, &quiet(&loaded)).await.unwrap();
    }
}

pub(super) async fn a_registration_is_kept_and_makes_due(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    assert_eq!(bench.presence(id).await.unwrap(), None);
    assert!(bench.online().await.unwrap().is_empty());
    assert!(!is_due(&bench, id).await);
    connect(&bench, id, "c1").await;
    let seen = present(&bench, id).await;
    assert!(seen.connected);
    assert_eq!(
        (
            seen.connection_id.as_str(),
            seen.hub.as_str(),
            seen.token_sha256.as_str()
        ),
        ("c1", "hub-1", "hash of c1")
    );
    assert_eq!(seen.runtime.as_deref(), Some("openclaw 2026.9.6"));
    assert_eq!(seen.connected_at, seen.last_seen);
    assert_eq!(seen.disconnected_at, None);
    assert_eq!(
        bench.online().await.unwrap(),
        [("research-pro".to_owned(), seen)]
    );
    pass(&bench, id).await;
    assert!(!is_due(&bench, id).await, "seen by that pass");
}

pub(super) async fn snapshots_carry_it(bench: Bench) {
    let one = bench.deployed("agent-one").await;
    let two = bench.deployed("agent-two").await;
    connect(&bench, one, "c1").await;
    let seen = Some(present(&bench, one).await);
    assert_eq!(bench.snap(one).await.presence, seen);
    assert_eq!(bench.snap(two).await.presence, None);
    let got = bench.get("agent-one", true).await.unwrap().unwrap();
    assert_eq!(got.presence, seen);
    for list in [
        bench.list(&ListFilter::default()).await.unwrap(),
        bench.load_page(None, 10).await.unwrap(),
    ] {
        assert_eq!(list.len(), 2);
        for snapshot in list {
            let wanted = if snapshot.agent.id == one {
                &seen
            } else {
                &None
            };
            assert_eq!(&snapshot.presence, wanted);
        }
    }
    bench.agent_disconnected(one, "c1").await.unwrap();
    assert_eq!(
        bench.snap(one).await.presence,
        Some(present(&bench, one).await)
    );
}

pub(super) async fn what_happens_in_mid_pass_is_not_lost(bench: Bench) {
    let id = bench.create("research-pro").await;
    // The wake of a pass makes the Worker register while that pass still runs.
    let claim = bench.claim(id).await;
    let loaded = bench.snap(id).await;
    connect(&bench, id, "c1").await;
    bench.finish(&claim, &quiet(&loaded)).await.unwrap();
    assert!(is_due(&bench, id).await);
    // Between claim and load: the pass has seen it or comes again.
    let claim = bench.claim(id).await;
    bench.agent_disconnected(id, "c1").await.unwrap();
    let loaded = bench.snap(id).await;
    bench.finish(&claim, &quiet(&loaded)).await.unwrap();
    assert!(is_due(&bench, id).await);
    pass(&bench, id).await;
    assert!(!is_due(&bench, id).await);
    // A lease that is given back, or taken by another, leaves it due as well.
    connect(&bench, id, "c2").await;
    let claim = bench.claim(id).await;
    bench.hub_started("hub-1").await.unwrap();
    bench.release(&claim).await.unwrap();
    assert!(is_due(&bench, id).await);
    pass(&bench, id).await;
    assert!(!is_due(&bench, id).await);
}

pub(super) async fn signs_of_life_make_nobody_due(bench: Bench) {
    let one = bench.deployed("agent-one").await;
    let two = bench.deployed("agent-two").await;
    for (id, connection) in [(one, "c1"), (two, "c2")] {
        connect(&bench, id, connection).await;
    }
    pass(&bench, one).await;
    bench.tick(one).await;
    let before = (bench.snap(one).await, bench.last_change().await.unwrap());
    let (seen_one, seen_two) = (present(&bench, one).await, present(&bench, two).await);
    let stranger = AgentId(uuid::Uuid::from_u128(7));
    bench
        .agents_seen(&[
            (one, "c1".to_owned()),
            (two, "an earlier one".to_owned()),
            (stranger, "c1".to_owned()),
        ])
        .await
        .unwrap();
    bench.agents_seen(&[]).await.unwrap();
    let now = present(&bench, one).await;
    assert!(now.last_seen > seen_one.last_seen);
    assert_eq!(now.connected_at, seen_one.connected_at);
    assert_eq!(present(&bench, two).await, seen_two);
    let after = bench.snap(one).await;
    assert_eq!(
        (&after.agent, &after.work),
        (&before.0.agent, &before.0.work)
    );
    assert_eq!(bench.last_change().await.unwrap(), before.1);
    bench.agent_disconnected(one, "c1").await.unwrap();
    let gone = present(&bench, one).await;
    bench.agents_seen(&[(one, "c1".to_owned())]).await.unwrap();
    assert_eq!(present(&bench, one).await, gone, "it has ended");
}

pub(super) async fn only_the_last_connection_ends_it(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    assert!(!bench.agent_disconnected(id, "c1").await.unwrap());
    connect(&bench, id, "c1").await;
    connect(&bench, id, "c2").await;
    pass(&bench, id).await;
    assert!(!bench.agent_disconnected(id, "c1").await.unwrap());
    assert!(present(&bench, id).await.connected);
    assert!(!is_due(&bench, id).await, "nothing has changed");
    assert!(bench.agent_disconnected(id, "c2").await.unwrap());
    let gone = present(&bench, id).await;
    assert!(!gone.connected);
    assert!(gone.disconnected_at.is_some_and(|at| at >= gone.last_seen));
    assert_eq!(
        gone.token_sha256, "hash of c2",
        "what is known of it remains"
    );
    assert!(is_due(&bench, id).await);
    assert!(bench.online().await.unwrap().is_empty());
    assert!(!bench.agent_disconnected(id, "c2").await.unwrap(), "once");
    connect(&bench, id, "c3").await;
    let back = present(&bench, id).await;
    assert!(back.connected && back.disconnected_at.is_none());
}

pub(super) async fn a_new_hub_process_ends_what_the_old_one_held(bench: Bench) {
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(bench.deployed(&format!("agent-{n}")).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let hub = if n == 3 { "hub-2" } else { "hub-1" };
        bench
            .agent_connected(*id, &registration(&format!("c{n}"), hub))
            .await
            .unwrap();
    }
    let hosted = HostedConnection {
        connection_id: "h1".to_owned(),
        hub: "hub-1".to_owned(),
    };
    bench
        .hosted_connected("my.agent", "ann", false, None, &hosted)
        .await
        .unwrap();
    bench.agent_disconnected(ids[0], "c0").await.unwrap();
    pass(&bench, ids[0]).await;
    assert_eq!(bench.hub_started("hub-3").await.unwrap(), 0);
    assert_eq!(bench.hub_started("hub-1").await.unwrap(), 3);
    for (id, ended) in ids.iter().zip([false, true, true, false]) {
        assert_eq!(is_due(&bench, *id).await, ended);
    }
    let online = bench.online().await.unwrap();
    assert_eq!(online.len(), 1);
    assert_eq!(online[0].0, "agent-3");
    assert!(present(&bench, ids[1]).await.disconnected_at.is_some());
    assert!(!bench.hosted("my.agent").await.unwrap().unwrap().connected);
    assert_eq!(bench.hub_started("hub-1").await.unwrap(), 0);
}

pub(super) async fn archived_agents_are_not_online(bench: Bench) {
    let stranger = AgentId(uuid::Uuid::from_u128(7));
    let refused = bench
        .agent_connected(stranger, &registration("c1", "hub-1"))
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert!(!bench.agent_disconnected(stranger, "c1").await.unwrap());
    let id = bench.create("research-pro").await;
    connect(&bench, id, "c1").await;
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    assert_eq!(bench.online().await.unwrap().len(), 1);
    let claim = bench.claim(id).await;
    let loaded = bench.snap(id).await;
    let finish = talon_core::mutation::Finish {
        mutations: vec![talon_core::mutation::Mutation::Archive],
        ..quiet(&loaded)
    };
    bench.finish(&claim, &finish).await.unwrap();
    assert!(bench.online().await.unwrap().is_empty());
    let refused = bench
        .agent_connected(id, &registration("c2", "hub-1"))
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert!(bench.agent_disconnected(id, "c1").await.unwrap());
    assert!(!is_due(&bench, id).await, "archived for good");
}

pub(super) async fn coming_and_going_wakes_the_controller(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let quiet_for = Duration::from_millis(600);
    loop {
        let start = Instant::now();
        bench.wait(quiet_for).await.unwrap();
        if start.elapsed() >= quiet_for {
            break;
        }
    }
    for step in 0..3 {
        match step {
            0 => connect(&bench, id, "c1").await,
            1 => drop(bench.agent_disconnected(id, "c1").await.unwrap()),
            _ => {
                connect(&bench, id, "c2").await;
                bench.hub_started("hub-1").await.unwrap();
            }
        }
        let start = Instant::now();
        bench.wait(Duration::from_secs(60)).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "step {step}");
        pass(&bench, id).await;
    }
}

pub(super) async fn comings_and_goings_race_with_passes(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let hub = {
        let bench = bench.clone();
        tokio::spawn(async move {
            for n in 0..40 {
                let connection = format!("c{n}");
                connect(&bench, id, &connection).await;
                bench
                    .agents_seen(&[(id, connection.clone())])
                    .await
                    .unwrap();
                assert!(bench.agent_disconnected(id, &connection).await.unwrap());
            }
            connect(&bench, id, "last").await;
        })
    };
    // Whatever the order, the last pass has loaded the last connection.
    let mut loaded_last = None;
    loop {
        let over = hub.is_finished();
        for claim in bench.claim_due("bench", LONG, 1).await.unwrap() {
            loaded_last = bench.presence(id).await.unwrap();
            let loaded = bench.snap(id).await;
            bench.finish(&claim, &quiet(&loaded)).await.unwrap();
        }
        if over && !is_due(&bench, id).await {
            break;
        }
        tokio::task::yield_now().await;
    }
    hub.await.unwrap();
    assert_eq!(
        loaded_last.map(|p| (p.connected, p.connection_id)),
        Some((true, "last".to_owned()))
    );
}
