//! npm packages as the lock file pins them, and node's test runner.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// `npm ci`, unless what is installed is what the lock file says.
pub fn install(home: &Path) -> Result<()> {
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

/// Runs the tests of a folder (`*.test.mjs`), and closes with a line as Rust's test runner prints it. `what`: whose tests
/// they are; `variable`: what they need to know.
pub fn test(
    home: &Path,
    folder: &Path,
    what: &str,
    variable: (&str, &OsStr),
    filter: Option<&str>,
) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    let mut node = Command::new("node");
    node.current_dir(home)
        .args(["--test", "--test-reporter=spec"])
        .args(filter.map(|f| format!("--test-name-pattern={f}")))
        .args(&files)
        .env(variable.0, variable.1);
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
    println!("test result: {word}. {passed} passed; {failed} failed; {what}");
    if !output.status.success() {
        bail!("tests failed: {what}");
    }
    if passed == 0 {
        bail!("no test was run: {what}");
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
