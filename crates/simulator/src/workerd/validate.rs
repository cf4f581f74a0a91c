//! Trying an upload: does it start?

use std::sync::Arc;

use super::Ground;
use super::config::{self, SERVICE_NAME, Storage};
use super::output::Output;
use super::process::{Process, StartError};
use crate::runner::{Complaint, Deployed};

/// Starts the version once, with storage in memory and nothing to reach, and ends it again.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn starts(
    ground: &Arc<Ground>,
    worker: &str,
    version: &Deployed,
) -> Result<(), Complaint> {
    // What cannot be tried is taken as it is; the reason has been given.
    let Ok(binary) = ground.binary().await else {
        return Ok(());
    };
    let output = Arc::new(Output::new(worker, None));
    output.hide(version.bindings.iter().filter_map(|b| b.secret.clone()));
    let config = config::write(worker, version, Storage::Memory, None);
    let patience = ground.options.start_timeout;
    match Process::start(&binary, config, &output, patience).await {
        Ok(mut process) => {
            process.kill().await;
            output
                .lines()
                .iter()
                .find_map(|l| lacking(l))
                .map_or(Ok(()), Err)
        }
        Err(StartError::Ended) => Err(Complaint::DoesNotStart(thrown(&output.lines()))),
        Err(StartError::Slow(_)) => Err(Complaint::DoesNotStart(
            "Script startup exceeded CPU time limit.".to_owned(),
        )),
        Err(StartError::Spawn(error)) => {
            tracing::warn!(worker, %error, "an upload could not be tried");
            Ok(())
        }
    }
}

/// workerd only warns of a class that is not exported; Cloudflare refuses.
fn lacking(line: &str) -> Option<Complaint> {
    let (_, rest) = line.split_once("referenced the class \"")?;
    let (class, rest) = rest.split_once('"')?;
    rest.contains("no such Durable Object class is exported")
        .then(|| Complaint::LacksClass(class.to_owned()))
}

/// workerd's words about the Worker, without its own prefix. Indented lines go on with the one before. What it threw is
/// what counts; without that, everything that was said.
fn thrown(lines: &[String]) -> String {
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
    fn what_was_thrown_counts() {
        let lines = [
            "service worker: a flag is not needed",
            "service worker: Uncaught Error: no",
            "  at worker.js:1:7",
            "service worker: something else",
        ]
        .map(str::to_owned);
        assert_eq!(thrown(&lines), "Uncaught Error: no\n  at worker.js:1:7");
        assert_eq!(thrown(&lines[3..]), "something else");
    }
}
