//! `cargo xtask chaos`.

use anyhow::Result;

use crate::shell::{self, cargo};
use crate::test::install_what_is_missing;

/// Arguments; all are handed on to the `chaos` program of the tests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the daemon is killed
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// sqlite, postgres or both
    #[arg(long, default_value = "both")]
    database: String,
    /// Seed of the history: the same seed chooses the same writes and moments
    #[arg(long)]
    seed: Option<u64>,
    /// Agents in workerd are asked for things while the Hub, their Workers and their keys suffer
    #[arg(long, conflicts_with_all = ["kills", "database"])]
    network: bool,
    /// With --network: for about so many minutes
    #[arg(long, requires = "network", default_value_t = 10)]
    minutes: u64,
    /// With --network: how many agents
    #[arg(long, requires = "network", default_value_t = 20)]
    agents: u16,
}

/// Builds the daemon and plays.
pub fn run(args: &Args) -> Result<()> {
    install_what_is_missing()?;
    shell::run(cargo().args(["build", "--release", "-p", "talon"]))?;
    let mut play = cargo();
    play.args([
        "run",
        "--release",
        "-p",
        "talon-tests",
        "--bin",
        "chaos",
        "--",
    ]);
    if args.network {
        play.args(["--network", "--minutes", &args.minutes.to_string()])
            .args(["--agents", &args.agents.to_string()]);
    } else {
        play.args(["--kills", &args.kills.to_string()])
            .args(["--database", &args.database]);
    }
    if let Some(seed) = args.seed {
        play.arg("--seed").arg(seed.to_string());
    }
    shell::run(&mut play)
}
