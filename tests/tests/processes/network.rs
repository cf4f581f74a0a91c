//! The network under kills, in short; `cargo xtask chaos --network` does it with twenty agents for ten minutes.
//!
//! The first run on a machine builds the runtime and fetches workerd, both from npm.

use std::time::Duration;

use talon_tests::network_chaos::{Options, Troubles, play};

#[tokio::test(flavor = "multi_thread")]
async fn no_task_is_lost_or_answered_twice_while_hub_workers_and_keys_suffer() -> anyhow::Result<()>
{
    let report = play(Options {
        agents: 5,
        customers: 6,
        troubles: Troubles {
            daemon_kills: 3,
            worker_kills: 8,
            rotations: 4,
            auth_rotations: 4,
        },
        pause: Duration::from_millis(1_500),
        seed: 1,
    })
    .await?;
    println!("{report}");
    Ok(())
}
