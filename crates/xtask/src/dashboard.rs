//! `cargo xtask dashboard`: tests the dashboard in Debian's Chromium, and leaves pictures of every page. `--bench` measures it,
//! `--lighthouse` has it judged, instead.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use talon_worker::workshop;

use crate::test::{CHROMIUM, Needed, install};
use crate::{node, shell};

/// Where Debian puts the browser.
const BROWSER: (&str, &str) = ("TALON_CHROMIUM", "/usr/bin/chromium");

/// Commits to the database by another program.
const SQLITE: Needed = ("sqlite3", "sqlite3");

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only tests whose name matches this pattern
    filter: Option<String>,
    /// Measure instead, with a release build: first page of a large fleet, and commit to pixel
    #[arg(long, conflicts_with = "filter")]
    bench: bool,
    /// Ask Lighthouse instead what it thinks of the accessibility of every page (brings some 200 npm packages; takes minutes)
    #[arg(long, conflicts_with_all = ["filter", "bench"])]
    lighthouse: bool,
    /// How many agents the fleet has that is measured
    #[arg(long, default_value_t = 10_000, requires = "bench")]
    agents: u32,
}

/// Installs what is missing and says so, builds the stage, and plays on it.
pub fn run(args: &Args) -> Result<()> {
    install(&[CHROMIUM])?;
    workshop::check_tools()?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard/e2e");
    node::install(&home)?;
    if args.bench {
        return bench(&home, args.agents);
    }
    build(&[])?;
    if args.lighthouse {
        let own = home.join("lighthouse");
        node::install(&own)?;
        let mut node = Command::new("node");
        return shell::run(
            node.current_dir(&own)
                .arg("run.mjs")
                .env(BROWSER.0, BROWSER.1),
        );
    }
    let browser = (BROWSER.0, OsStr::new(BROWSER.1));
    let filter = args.filter.as_deref();
    node::test(&home, &home, "the dashboard in Chromium", browser, filter)?;
    println!("pictures of every page: target/dashboard-pictures");
    Ok(())
}

fn build(how: &[&str]) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args([
        "build",
        "--package",
        "talon-dashboard",
        "--example",
        "stage",
    ]);
    shell::run(cargo.args(how))
}

/// Prints what it measures; no number fails it, for they are the machine's as much as ours.
fn bench(home: &Path, agents: u32) -> Result<()> {
    install(&[SQLITE])?;
    build(&["--release"])?;
    let stage = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/examples/stage");
    let mut node = Command::new("node");
    node.current_dir(home)
        .args(["bench.mjs", &agents.to_string()])
        .env(BROWSER.0, BROWSER.1)
        .env("TALON_STAGE", stage);
    shell::run(&mut node)
}
