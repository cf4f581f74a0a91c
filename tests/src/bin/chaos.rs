//! Kills the daemon again and again: `cargo xtask chaos`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use talon_tests::chaos::{self, Options};
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
        match chaos::play(options).await {
            Ok(report) => println!("{report}"),
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
