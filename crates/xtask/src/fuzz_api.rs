//! `cargo xtask fuzz-api`: schemathesis against a real server, made of the API's own document.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo};

/// The one version that is used.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Seconds that one answer may take; nothing on this server takes longer than one.
const ANSWER_SECONDS: &str = "30";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At least so many requests
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Seed of the first round; each round has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Installs schemathesis into target/, starts a server and asks it, round by round, until there were enough requests.
pub fn run(args: &Args) -> Result<()> {
    let place = target()?.join("fuzz-api");
    fs::create_dir_all(&place)?;
    let schemathesis = install(&place)?;
    // With the features of the whole workspace, so that nothing is built twice beside the tests.
    shell::run(cargo().args(["build", "--workspace", "--example", "serve"]))?;
    let mut server = Server::start()?;
    let mut done = 0;
    let mut seed = args.seed;
    let mut failed = Vec::new();
    while done < args.cases {
        let (name, token) = server.tokens[usize::try_from(seed)? % server.tokens.len()].clone();
        let log = place.join(format!("round-{seed}.log"));
        let left = args.cases - done;
        let mut round = Command::new(&schemathesis);
        // It keeps what it found beside where it runs.
        round
            .current_dir(&place)
            .arg("--config-file")
            .arg(workspace().join("crates/factory/tests/schemathesis.toml"))
            .args(["run", &format!("{}/openapi.json", server.address)])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--checks", "all", "--continue-on-failure"])
            .args(["--request-timeout", ANSWER_SECONDS])
            .args(["--max-examples", &(left / 100).clamp(5, 100).to_string()])
            .args(["--seed", &seed.to_string()])
            .stdout(File::create(&log)?)
            .stderr(Stdio::inherit());
        let passed = round
            .status()
            .context("schemathesis could not be started")?
            .success();
        let said = fs::read_to_string(&log)?;
        let cases = generated(&said)
            .with_context(|| format!("{} tells no number of cases", log.display()))?;
        done += cases;
        eprintln!("xtask: round {seed} as {name}: {cases} requests, {done} in all");
        if !passed {
            eprintln!("{said}");
            failed.push(log.display().to_string());
        }
        server.must_run()?;
        seed += 1;
    }
    if !failed.is_empty() {
        bail!("something was found; see {}", failed.join(", "));
    }
    println!("fuzz-api: {done} requests, nothing found");
    Ok(())
}

/// The number before "generated" in what schemathesis says at its end.
fn generated(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .rev()
        .find(|line| line.contains(" generated"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The program, in an environment of its own.
fn install(place: &Path) -> Result<PathBuf> {
    let environment = place.join("venv");
    let program = environment.join("bin/schemathesis");
    let marker = environment.join("talon-installed");
    if fs::read_to_string(&marker).is_ok_and(|version| version == SCHEMATHESIS) {
        return Ok(program);
    }
    shell::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )
    .context("python3 with its venv module is needed (apt-get install python3-venv)")?;
    shell::run(Command::new(environment.join("bin/pip")).args([
        "install",
        "--quiet",
        SCHEMATHESIS,
    ]))?;
    fs::write(marker, SCHEMATHESIS)?;
    Ok(program)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn target() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    fs::create_dir_all(&target)?;
    Ok(target.canonicalize()?)
}

/// The server under test. Ends when its input does, so with this process at the latest.
struct Server {
    child: Child,
    address: String,
    /// Name and token of every caller there is.
    tokens: Vec<(String, String)>,
}

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new(target()?.join("debug/examples/serve"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server could not be started")?;
        let out = child.stdout.take().context("the server says nothing")?;
        let mut address = None;
        let mut tokens = Vec::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["address", url] => address = Some(url.to_owned()),
                ["token", name, token] => tokens.push((name.to_owned(), token.to_owned())),
                _ => bail!("the server said something unexpected"),
            }
            if tokens.last().is_some_and(|(name, _)| name == "ann-admin") {
                break;
            }
        }
        let address = address.context("the server told no address")?;
        Ok(Self {
            child,
            address,
            tokens,
        })
    }

    fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself ({status})"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself; how, is of no interest any more.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cases_is_read() {
        let said =
            "Test cases:\n  2161 generated, 2 found 2 unique failures, 44 skipped\n\nSeed: 1\n";
        assert_eq!(generated(said), Some(2161));
        assert_eq!(generated("nothing"), None);
    }
}
