//! What the daemon says on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// These never say more than warnings, whatever is asked for: their debug lines hold headers and statements.
const CAPPED: &[&str] = &[
    "reqwest",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "sqlx",
    "tower",
];

/// Starts logging. `TALON_LOG` (as `RUST_LOG`, for example `debug` or `talon_controller=debug`) overrides `default`.
pub fn start(format: LogFormat, default: &str) -> Result<(), Failure> {
    let wanted = std::env::var("TALON_LOG").unwrap_or_else(|_| default.to_owned());
    let mut filter = EnvFilter::try_new(&wanted).map_err(|_| {
        Failure::usage(
            "TALON_LOG cannot be read",
            "write a level (warn, info, debug) or talon_controller=debug,info",
        )
    })?;
    for name in CAPPED {
        if let Ok(directive) = format!("{name}=warn").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| {
        Failure::usage(
            format!("logging did not start: {e}"),
            "run talon in a process of its own",
        )
    })
}
