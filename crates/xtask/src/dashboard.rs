//! `cargo xtask dashboard`: tests the dashboard in Debian's Chromium, and leaves pictures of every page.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use talon_worker::workshop;

use crate::test::{CHROMIUM, install};
use crate::{node, shell};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only tests whose name matches this pattern
    filter: Option<String>,
}

/// Installs what is missing and says so, builds the stage, and plays on it.
pub fn run(args: &Args) -> Result<()> {
    install(&[CHROMIUM])?;
    workshop::check_tools()?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard/e2e");
    node::install(&home)?;
    shell::run(shell::cargo().args([
        "build",
        "--package",
        "talon-dashboard",
        "--example",
        "stage",
    ]))?;
    let browser = ("TALON_CHROMIUM", OsStr::new("/usr/bin/chromium"));
    let filter = args.filter.as_deref();
    node::test(&home, &home, "the dashboard in Chromium", browser, filter)?;
    println!("pictures of every page: target/dashboard-pictures");
    Ok(())
}
