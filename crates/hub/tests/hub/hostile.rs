//! Hostile peers of every kind at once, and those beside them.

use std::time::Duration;

use talon_core::task::TaskState;

use crate::hostile_peers::Hostile;
use crate::world::{World, config, end, task, until};

/// Peers of each kind.
const EACH: usize = 1;
/// Before they come again; so that the tests beside this one have a processor, too.
const PAUSE: Duration = Duration::from_millis(200);
const TASKS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_peers_hurt_nobody_beside_them() {
    let world = World::new();
    let calm_id = world.agent("calm", "acme").await;
    let hub = world.hub(config()).await;
    let mut calm = hub.agent("calm").await;
    let mut attacks = tokio::task::JoinSet::new();
    for n in 0..EACH {
        for kind in Hostile::ALL {
            let name = format!("hostile-{}-{n}", kind as usize);
            if kind.registers() {
                world.agent(&name, "mallory").await;
            }
            let address = hub.address.clone();
            attacks.spawn(async move {
                let token = format!("{name}-token");
                kind.attack(&address, &name, &token, PAUSE).await;
            });
        }
    }
    until("some are at it", || async {
        hub.hub.stats().connections > 2
    })
    .await;
    for n in 0..TASKS {
        let id = format!("t{n}");
        let mut stream = hub.deliver(task(&id, "calm")).await;
        assert_eq!(calm.task().await, id);
        assert_eq!(calm.complete(&id, "completed", &id).await, true);
        assert_eq!(end(&mut stream).await, (TaskState::Completed, id));
    }
    // Newcomers are let in, and whoever was there was never put out.
    world.agent("newcomer", "acme").await;
    let mut newcomer = hub.agent("newcomer").await;
    newcomer.heartbeat().await;
    calm.heartbeat().await;
    let presence = world.store.presence(calm_id).await.unwrap().unwrap();
    assert!(presence.connected && presence.connection_id == calm.connection_id);
    // They still are at it, and nothing of them stays.
    assert_eq!(attacks.len(), EACH * Hostile::ALL.len());
    attacks.shutdown().await;
    until("only the two are left", || async {
        hub.hub.stats().connections == 2
    })
    .await;
}
