//! `cargo xtask worker`: builds the Worker bundle; checks and tests its sources on request.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use talon_worker::workshop::{self, Workshop};
use talon_worker::{BUNDLE_VARIABLE, MANIFEST_FILE};

use crate::shell;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check types and style too, then test the runtime in workerd
    #[arg(long)]
    test: bool,
    /// With --test: run only tests whose name matches this pattern
    #[arg(requires = "test")]
    filter: Option<String>,
}

/// Builds the bundle into cargo's target folder, from packages that are installed beside the sources. Installs nothing
/// globally.
pub fn run(args: &Args) -> Result<()> {
    let home = home();
    workshop::check_tools()?;
    install(&home)?;
    if args.test {
        check(&home)?;
    }
    let shop = Workshop::usual()?;
    let bundle = shop.build_in(&home, &mut |line| eprintln!("{line}"))?;
    let dir = shop.bundle_dir();
    println!(
        "{}: {}",
        bundle.manifest.engine,
        dir.join(MANIFEST_FILE).display()
    );
    if args.test {
        test(&home, &dir, args.filter.as_deref())?;
    }
    Ok(())
}

/// The runtime's sources.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/runtime")
}

/// `npm ci`, unless what is installed is what the lock file says.
fn install(home: &Path) -> Result<()> {
    let lock = fs::read(home.join("package-lock.json")).context("package-lock.json")?;
    let stamp = home.join("node_modules/.installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    shell::run(Command::new("npm").current_dir(home).args([
        "ci",
        "--no-progress",
        "--loglevel=error",
    ]))?;
    fs::write(&stamp, lock).context("node_modules")
}

/// Types, style and lints. The tools are pinned like everything else, for Linux on x86-64 as the tests are.
fn check(home: &Path) -> Result<()> {
    let program = |path: &str| {
        let mut command = Command::new(home.join("node_modules").join(path));
        command.current_dir(home);
        command
    };
    shell::run(program(".bin/tsc").arg("--noEmit"))?;
    let mut biome = program("@biomejs/cli-linux-x64/biome");
    shell::run(biome.args(["check", "--error-on-warnings", "."]))
}

/// Runs the tests against the built bundle, and closes with a line as Rust's test runner prints it.
fn test(home: &Path, bundle: &Path, filter: Option<&str>) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(home.join("test"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    let mut node = Command::new("node");
    node.current_dir(home)
        .args(["--test", "--test-reporter=spec"])
        .args(filter.map(|f| format!("--test-name-pattern={f}")))
        .args(&files)
        .env(BUNDLE_VARIABLE, bundle);
    eprintln!("xtask: node --test ({} files)", files.len());
    let output = node
        .stderr(Stdio::inherit())
        .output()
        .context("node could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let (passed, failed) = (counted(&text, "pass"), counted(&text, "fail"));
    let word = if output.status.success() {
        "ok"
    } else {
        "FAILED"
    };
    println!("test result: {word}. {passed} passed; {failed} failed; the runtime in workerd");
    if !output.status.success() {
        bail!("tests of the runtime failed");
    }
    if passed == 0 {
        bail!("no test of the runtime was run");
    }
    Ok(())
}

/// The number in node's closing lines: `ℹ pass 12`.
fn counted(text: &str, word: &str) -> u64 {
    text.lines()
        .rev()
        .filter_map(|line| line.split_once(&format!(" {word} ")))
        .find_map(|(_, number)| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn nodes_own_lines_are_read() {
        let text = "✔ they pass 7 times\nℹ tests 3\nℹ pass 2\nℹ fail 1\n";
        assert_eq!((counted(text, "pass"), counted(text, "fail")), (2, 1));
        assert_eq!(counted("", "pass"), 0);
    }
}
