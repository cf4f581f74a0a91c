//! `talon`: desired-state rows in, Cloudflare converged, status out. The commands and the daemon in one binary.

mod cli;
mod client;
mod cloudflare;
mod commands;
mod config;
mod daemon;
mod database;
mod exit;
mod fleet;
mod follow;
mod gauge;
mod hygiene;
mod install_key;
mod jsonpath;
mod local;
mod logging;
mod manifests;
mod output;
mod runtime;
mod schemas;
mod service;
mod session;
mod sql;
mod vault;
mod workers;

use std::process::ExitCode;

#[cfg(test)]
use talon_explain::fixtures;
use talon_explain::{view, why as explain};

fn main() -> ExitCode {
    hygiene::keep_memory_private();
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let colour = output::Colour::of_stderr(cli.global.no_color);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return output::fail(
                colour,
                &exit::Failure::io("the runtime did not start", &error),
            );
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => output::exit_code(exit),
        Err(failure) => output::fail(colour, &failure),
    }
}
