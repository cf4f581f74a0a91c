//! Trying an upload: does it start?

use std::sync::Arc;

use super::Ground;
use super::config::{self, SERVICE_NAME, Storage};
use super::output::Output;
use super::process::{Process, StartError};
use crate::runner::Deployed;

/// Starts the version once, with storage in memory and nothing to reach, and ends it again.
///
/// # Errors
/// What Cloudflare would say with code 10021.
pub(super) async fn starts(
    ground: &Arc<Ground>,
    worker: &str,
    version: &Deployed,
) -> Result<(), String> {
    // What cannot be tried is taken as it is; the reason has been given.
    let Ok(binary) = ground.binary().await else {
        return Ok(());
    };
    let output = Arc::new(Output::new(worker));
    output.hide(version.bindings.iter().filter_map(|b| b.secret.clone()));
    let config = config::write(worker, version, Storage::Memory, None);
    let patience = ground.options.start_timeout;
    match Process::start(&binary, config, &output, patience).await {
        Ok(mut process) => {
            process.kill().await;
            Ok(())
        }
        Err(StartError::Ended) => Err(complaint(&output.lines())),
        Err(StartError::Slow(_)) => Err("Script startup exceeded CPU time limit.".to_owned()),
        Err(StartError::Spawn(error)) => {
            tracing::warn!(worker, %error, "an upload could not be tried");
            Ok(())
        }
    }
}

/// workerd's words about the Worker, without its own prefix. Indented lines go on with the one before. What it threw is
/// what counts; without that, everything that was said.
fn complaint(lines: &[String]) -> String {
    let prefix = format!("service {SERVICE_NAME}: ");
    let mut said: Vec<String> = Vec::new();
    for line in lines {
        match said.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line);
            }
            Some(_) | None => said.push(line.strip_prefix(&prefix).unwrap_or(line).to_owned()),
        }
    }
    let thrown = said.iter().position(|s| s.starts_with("Uncaught "));
    match thrown {
        Some(at) => said.swap_remove(at),
        None => said.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_what_was_thrown() {
        let lines = [
            "service worker: a flag is not needed",
            "service worker: Uncaught Error: no",
            "  at worker.js:1:7",
            "service worker: something else",
        ]
        .map(str::to_owned);
        assert_eq!(complaint(&lines), "Uncaught Error: no\n  at worker.js:1:7");
        assert_eq!(complaint(&lines[3..]), "something else");
    }
}
