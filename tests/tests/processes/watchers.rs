//! Watchers of a daemon that is killed; `cargo xtask bench watch` does it with a thousand of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use talon_tests::watching::{Options, play};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_or_doubles_an_event_while_the_daemon_is_killed() -> Result<()> {
    let report = play(Options {
        watchers: 50,
        kills: 4,
        writes: 100,
        pause: Duration::from_millis(40),
    })
    .await?;
    println!("{report}");
    ensure!(report.resumed() >= 50, "nobody was cut off: {report}");
    Ok(())
}
