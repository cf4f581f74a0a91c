//! `cargo xtask worker`: builds the Worker bundle; checks and tests its sources on request.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use talon_worker::workshop::{self, Workshop};
use talon_worker::{BUNDLE_VARIABLE, MANIFEST_FILE};

use crate::{node, shell};

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
    node::install(&home)?;
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
        let bundle = (BUNDLE_VARIABLE, dir.as_os_str());
        let filter = args.filter.as_deref();
        node::test(
            &home,
            &home.join("test"),
            "the runtime in workerd",
            bundle,
            filter,
        )?;
    }
    Ok(())
}

/// The runtime's sources.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/runtime")
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
