//! Kills the daemon again and again: `cargo xtask chaos`, and with `--network` the Hub and the Workers.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use talon_tests::chaos::{self, Options};
use talon_tests::network_chaos::{self, Troubles};
use talon_tests::site::Engine;

/// Kills the daemon with SIGKILL at random moments while fifty agents come, change and go, and checks what is left.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// On what
    #[arg(long, value_enum, default_value_t = Database::Both)]
    database: Database,
    /// Chooses writes and moments [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Instead: agents in workerd are asked for things while Hub, Workers and keys suffer
    #[arg(long, conflicts_with_all = ["kills", "database"])]
    network: bool,
    /// With --network: for about so long
    #[arg(long, requires = "network", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// With --network: how many agents
    #[arg(long, requires = "network", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=99))]
    agents: u16,
}

/// Mean pause between two troubles in the network.
const PAUSE: Duration = Duration::from_secs(3);

impl Arguments {
    fn network(&self, seed: u64) -> network_chaos::Options {
        let agents = usize::from(self.agents);
        network_chaos::Options {
            agents,
            customers: agents,
            troubles: Troubles::lasting(Duration::from_secs(60 * self.minutes), PAUSE),
            pause: PAUSE,
            seed,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
    Both,
}

impl Database {
    fn engines(self) -> &'static [Engine] {
        match self {
            Self::Sqlite => &[Engine::Sqlite],
            Self::Postgres => &[Engine::Postgres],
            Self::Both => &[Engine::Sqlite, Engine::Postgres],
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = arguments
        .seed
        .unwrap_or_else(|| clock().map_or(1, |t| u64::from(t.subsec_nanos())));
    if arguments.network {
        let options = arguments.network(seed);
        eprintln!("network chaos, seed {seed}: {options:?}");
        return told(network_chaos::play(options).await);
    }
    for engine in arguments.database.engines() {
        eprintln!(
            "chaos on {}, seed {seed}: {} kills",
            engine.as_str(),
            arguments.kills
        );
        let options = Options {
            engine: *engine,
            kills: arguments.kills,
            seed,
        };
        let code = told(chaos::play(options).await);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

fn told(played: anyhow::Result<impl Display>) -> ExitCode {
    match played {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
