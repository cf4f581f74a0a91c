//! Developer commands: `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod chaos;
mod dashboard;
mod fuzz_api;
mod node;
mod shell;
mod test;
mod verify_cloudflare;
mod worker;

/// Developer commands of Talon.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what the tests need, builds, and runs all of them
    Test(test::Args),
    /// Kills the daemon with SIGKILL at random moments while agents come, change and go
    Chaos(chaos::Args),
    /// Measures what is promised
    Bench(bench::Args),
    /// Asks the HTTP API thousands of things made of its own document (schemathesis; installs it into target/)
    FuzzApi(fuzz_api::Args),
    /// Builds the Worker bundle from pinned npm packages (needs node 20 or newer with npm; installs nothing globally)
    Worker(worker::Args),
    /// Tests the dashboard in Debian's Chromium (needs node 20 or newer with npm), and leaves pictures of every page; or measures it
    Dashboard(dashboard::Args),
    /// Checks on a real account what Talon assumes of Cloudflare (makes one throw-away agent and removes it)
    VerifyCloudflare(verify_cloudflare::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::FuzzApi(args) => fuzz_api::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Dashboard(args) => dashboard::run(&args),
        Command::VerifyCloudflare(args) => verify_cloudflare::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
