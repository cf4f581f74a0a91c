//! `cargo xtask bench`: the figures that Talon promises, measured.

use anyhow::Result;
use clap::Subcommand;

use crate::shell::{self, cargo};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Commit to event, with a thousand watchers on one daemon (at most 1 s for 99 of 100); with --kills N, that nobody
    /// misses or doubles an event
    Watch {
        /// How many watch
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// How often the daemon is killed with SIGKILL
        #[arg(long, default_value_t = 0)]
        kills: usize,
    },
    /// Server time of pages of a list of 10,000 agents on SQLite (less than 50 ms)
    List,
}

/// Builds with optimisation and measures.
pub fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Watch { watchers, kills } => {
            shell::run(cargo().args(["build", "--release", "-p", "talon"]))?;
            let program = ["--release", "-p", "talon-tests", "--bin", "watchers"];
            shell::run(
                cargo()
                    .arg("run")
                    .args(program)
                    .args(["--", "--watchers", &watchers.to_string()])
                    .args(["--kills", &kills.to_string()]),
            )
        }
        What::List => shell::run(cargo().args([
            "run",
            "--release",
            "-p",
            "talon-factory",
            "--example",
            "list",
        ])),
    }
}
