//! What the daemon says on standard error.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::exit::Failure;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// These never say more than warnings, whatever is asked for: their debug lines hold headers, statements and frames.
const CAPPED: &[&str] = &[
    "reqwest",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "sqlx",
    "tower",
    // Frames, and in them tokens.
    "tungstenite",
    "tokio_tungstenite",
];

/// Starts logging. `TALON_LOG` (as `RUST_LOG`, for example `debug` or `talon_controller=debug`) overrides `default`.
pub fn start(format: LogFormat, default: &str) -> Result<(), Failure> {
    let wanted = std::env::var("TALON_LOG").unwrap_or_else(|_| default.to_owned());
    let wanted = EnvFilter::try_new(&wanted).map_err(|_| {
        Failure::usage(
            "TALON_LOG cannot be read",
            "write a level (warn, info, debug) or talon_controller=debug,info",
        )
    })?;
    let filter = wanted.and(FilterFn::new(may_speak).with_max_level_hint(LevelFilter::TRACE));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // It would tell of a closed standard error on standard error, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let layer = match format {
        LogFormat::Text => layer.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let started = tracing_subscriber::registry().with(layer).try_init();
    started.map_err(|e| {
        Failure::usage(
            format!("logging did not start: {e}"),
            "run talon in a process of its own",
        )
    })
}

/// A filter of its own, not directives added to what was asked for: among directives the more exact one wins, so that
/// `hyper::proto=trace` would beat `hyper=warn`.
fn may_speak(metadata: &Metadata<'_>) -> bool {
    let capped = CAPPED
        .iter()
        .any(|name| metadata.target().starts_with(name));
    !capped || *metadata.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_more_exact_wish_does_not_lift_the_cap() {
        let lines = Lines::default();
        let writer = lines.clone();
        let wanted = EnvFilter::new("trace,hyper::proto=trace,sqlx::query=debug");
        let filter = wanted.and(FilterFn::new(may_speak).with_max_level_hint(LevelFilter::TRACE));
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::trace!(target: "hyper::proto::h1", "a header");
            tracing::debug!(target: "sqlx::query", "a statement");
            tracing::warn!(target: "sqlx::query", "slow");
            tracing::trace!(target: "talon_controller", "ours");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("slow") && text.contains("ours"), "{text}");
        assert!(
            !text.contains("header") && !text.contains("statement"),
            "{text}"
        );
    }
}
