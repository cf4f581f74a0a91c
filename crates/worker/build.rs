//! Puts the runtime's sources into the binary, so that an installed `talon` can build the bundle anywhere, and the built
//! bundle too where `TALON_WORKER_BUNDLE_DIR` names one (releases).

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// What the build of the bundle reads; tests and their tools stay out.
const SOURCES: [&str; 5] = [
    ".npmrc",
    "build",
    "package-lock.json",
    "package.json",
    "src",
];

fn main() -> Result<()> {
    let runtime = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("runtime");
    let mut files = Vec::new();
    for name in SOURCES {
        let path = runtime.join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut out = String::from("pub(crate) const SOURCES: &[(&str, &[u8])] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&runtime).map_err(Error::other)?;
        let name = name.to_string_lossy().replace('\\', "/");
        line(
            &mut out,
            &format!("    ({name:?}, include_bytes!({file:?})),"),
        )?;
    }
    out.push_str("];\n");

    println!("cargo::rerun-if-env-changed=TALON_WORKER_BUNDLE_DIR");
    match env::var_os("TALON_WORKER_BUNDLE_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => {
            let dir = fs::canonicalize(dir)?;
            let (manifest, module) = (dir.join("manifest.json"), dir.join("worker.js"));
            for file in [&manifest, &module] {
                println!("cargo::rerun-if-changed={}", file.display());
            }
            line(
                &mut out,
                &format!(
                    "pub(crate) const PREBUILT: Option<(&str, &str)> =\n    Some((include_str!({manifest:?}), include_str!({module:?})));"
                ),
            )?;
        }
        None => line(
            &mut out,
            "pub(crate) const PREBUILT: Option<(&str, &str)> = None;",
        )?,
    }
    fs::write(PathBuf::from(variable("OUT_DIR")?).join("carried.rs"), out)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

fn line(out: &mut String, text: &str) -> Result<()> {
    writeln!(out, "{text}").map_err(Error::other)
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| Error::other(format!("cargo did not set {name}")))
}
