//! The real `talon` binary: found beside the test that runs it, started, killed, stopped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The binary of the profile this program was built with: `target/debug/talon`, `target/release/talon`.
pub fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let folder = own.parent().context("this program lies in no folder")?;
    let folder = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().context("a folder above deps")?,
        _ => folder,
    };
    let found = folder.join("talon");
    if !found.is_file() {
        let release = folder.file_name().is_some_and(|name| name == "release");
        let flag = if release { " --release" } else { "" };
        bail!(
            "these tests run the real daemon, which is not built: cargo build -p talon{flag} (looked for {})",
            found.display()
        );
    }
    Ok(found)
}

/// How to start the binary: in which folder, with which environment and nothing else of this process's own.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// In this folder, with an empty environment.
    pub fn new(folder: &Path) -> Result<Self> {
        Ok(Self {
            program: binary()?,
            folder: folder.to_owned(),
            environment: Vec::new(),
        })
    }

    /// Sets a variable; the last one of a name wins.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.environment.iter().map(|(n, v)| (n, v)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("talon {}", arguments.join(" ")))
    }

    /// Runs a command to its end, with this on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let what = || format!("talon {}", arguments.join(" "));
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(what)?;
        let mut stdin = child.stdin.take().context("standard input")?;
        // A command that refuses before it reads has said why.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().with_context(what)
    }

    /// Starts `talon run`; what it says is appended to the log.
    pub fn daemon(&self, log: &Path) -> Result<Daemon> {
        let mut file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{}", log.display()))?;
        let child = self
            .command(&["run"])
            .stdout(file.try_clone()?)
            .stderr(file.try_clone()?)
            .spawn()
            .with_context(|| format!("{} run", self.program.display()))?;
        writeln!(file, "---- started as process {}", child.id())?;
        Ok(Daemon {
            child,
            since: Instant::now(),
        })
    }
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    since: Instant,
}

impl Daemon {
    /// Its process id, with which the name begins under which it holds leases.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long it has been there.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// `kill -9`: nothing of it runs on when this returns.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("the daemon ended by itself: {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; how it ended and how long that took. Fails after `patience`.
    pub async fn terminate(mut self, patience: Duration) -> Result<(ExitStatus, Duration)> {
        let begun = Instant::now();
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        while begun.elapsed() < patience {
            if let Some(status) = self.ended()? {
                return Ok((status, begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the daemon still runs {patience:?} after SIGTERM");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
