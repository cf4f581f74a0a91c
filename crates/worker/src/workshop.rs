//! Where built bundles are kept, and how one is built: by node and npm from pinned packages, in a folder of its own,
//! with nothing installed globally.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::{Bundle, BundleError, carried};

/// The oldest node that can build the runtime.
const OLDEST_NODE: u32 = 20;

/// How the folders of builds under way begin.
const BUILD: &str = "build-";

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// node or npm is missing or too old.
    #[error(
        "{0}. Building the agent runtime needs node {OLDEST_NODE} or newer with npm; or name a built bundle with --runtime-bundle"
    )]
    Tools(String),
    /// A step failed.
    #[error("building the agent runtime failed at `{step}`: {why}")]
    Step {
        /// The command.
        step: String,
        /// Its last words.
        why: String,
    },
    /// A folder or file could not be used.
    #[error("{what}: {error}")]
    Files {
        /// Which one.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The build left something that is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// A folder that keeps built bundles by the hash of their sources, and what their builds download.
#[derive(Debug, Clone)]
pub struct Workshop {
    root: PathBuf,
}

impl Workshop {
    /// In this folder, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The usual place: `talon-worker` in cargo's target folder for a binary that was started from there, else in the
    /// user's cache folder.
    pub fn usual() -> Result<Self, BuildError> {
        let target = std::env::current_exe().ok().and_then(|exe| {
            let mut above = exe.ancestors().skip(1);
            above
                .find(|dir| dir.join("CACHEDIR.TAG").is_file())
                .map(|dir| dir.join("talon-worker"))
        });
        let variable = |name| {
            std::env::var_os(name)
                .filter(|v: &OsString| !v.is_empty())
                .map(PathBuf::from)
        };
        let cache = || {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        };
        target
            .or_else(|| Some(cache()?.join("talon").join("worker")))
            .map(Self::at)
            .ok_or_else(|| BuildError::Files {
                what: "the cache for the agent runtime".to_owned(),
                error: io::Error::other("neither XDG_CACHE_HOME nor HOME is set"),
            })
    }

    /// Where the bundle of this binary's runtime sources is, once it was built.
    pub fn bundle_dir(&self) -> PathBuf {
        self.root.join(source_hash())
    }

    /// The bundle of this binary's runtime sources, if it was built and is sound.
    pub fn find(&self) -> Option<Bundle> {
        Bundle::load(&self.bundle_dir()).ok()
    }

    /// The bundle of this binary's runtime sources: found, or else built from the sources that the binary carries. `say`
    /// gets lines for people. Blocks, for about a minute where everything has to be downloaded. Two processes that
    /// build at once do it one after the other.
    pub fn find_or_build(&self, say: &mut dyn FnMut(&str)) -> Result<Bundle, BuildError> {
        if let Some(bundle) = self.find() {
            return Ok(bundle);
        }
        let _turn = self.turn()?;
        if let Some(bundle) = self.find() {
            return Ok(bundle);
        }
        say(
            "building the agent runtime from pinned npm packages (once; nothing is installed globally)",
        );
        check_tools()?;
        self.sweep();
        let home = self.root.join(format!("{BUILD}{}", std::process::id()));
        let done = self.build_apart(&home, say);
        let removed = fs::remove_dir_all(&home);
        let bundle = done?;
        removed.map_err(files(&home))?;
        Ok(bundle)
    }

    /// Builds in a checkout whose `node_modules` are in place (`cargo xtask worker`).
    pub fn build_in(&self, home: &Path, say: &mut dyn FnMut(&str)) -> Result<Bundle, BuildError> {
        check_tools()?;
        let _turn = self.turn()?;
        self.bundle_with(home, say)
    }

    fn build_apart(&self, home: &Path, say: &mut dyn FnMut(&str)) -> Result<Bundle, BuildError> {
        for (name, content) in carried::SOURCES {
            let file = home.join(name);
            let folder = file.parent().unwrap_or(home);
            fs::create_dir_all(folder).map_err(files(folder))?;
            fs::write(&file, content).map_err(files(&file))?;
        }
        say("npm ci (esbuild and OpenClaw's model layer, checked against the lock file)");
        run(
            Command::new("npm").current_dir(home).args([
                "ci",
                "--omit=dev",
                "--no-progress",
                "--loglevel=error",
            ]),
            say,
        )?;
        self.bundle_with(home, say)
    }

    fn bundle_with(&self, home: &Path, say: &mut dyn FnMut(&str)) -> Result<Bundle, BuildError> {
        let out = self.bundle_dir();
        run(
            Command::new("node")
                .arg(home.join("build").join("main.mjs"))
                .arg("--out")
                .arg(&out)
                .arg("--cache")
                .arg(self.root.join("packages"))
                .args(["--revision", &source_hash()]),
            say,
        )?;
        Ok(Bundle::load(&out)?)
    }

    /// Removes what builds left that were killed. Only for whoever has the turn.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten();
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(BUILD) {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Held while this process builds.
    fn turn(&self) -> Result<File, BuildError> {
        fs::create_dir_all(&self.root).map_err(files(&self.root))?;
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(files(&path))?;
        file.lock().map_err(files(&path))?;
        Ok(file)
    }
}

/// The bundle to deploy with: the one in `explicit` (`--runtime-bundle`), else the one that a release carries, else that of
/// the usual workshop, which is built if need be. `say` gets lines for people. Blocks; see [`Workshop::find_or_build`].
pub fn obtain(explicit: Option<&Path>, say: &mut dyn FnMut(&str)) -> Result<Bundle, BuildError> {
    if let Some(dir) = explicit {
        return Ok(Bundle::load(dir)?);
    }
    let embedded = Bundle::embedded();
    if !embedded.is_placeholder() {
        return Ok(embedded);
    }
    Workshop::usual()?.find_or_build(say)
}

/// 16 hex digits over the runtime's sources as this binary carries them.
pub fn source_hash() -> String {
    let mut h = Sha256::new();
    for (name, content) in carried::SOURCES {
        for part in [name.as_bytes(), content] {
            h.update((part.len() as u64).to_be_bytes());
            h.update(part);
        }
    }
    hex::encode(&h.finalize()[..8])
}

/// Checks that node and npm are there and new enough.
pub fn check_tools() -> Result<(), BuildError> {
    let version = |program: &str| {
        let out = Command::new(program).arg("--version").output();
        out.ok()
            .filter(|o| o.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
            .ok_or_else(|| BuildError::Tools(format!("{program} was not found")))
    };
    let node = version("node")?;
    let major = node
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    if major.is_none_or(|n| n < OLDEST_NODE) {
        return Err(BuildError::Tools(format!("node is {node}")));
    }
    version("npm").map(drop)
}

/// Runs a step, passes its error lines on, and keeps the last of them for the error.
fn run(command: &mut Command, say: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    let step = step_name(command);
    let failed = |why: String| BuildError::Step {
        step: step.clone(),
        why,
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let mut last: Vec<String> = Vec::new();
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            say(&line);
            last.push(line);
            if last.len() > 12 {
                last.remove(0);
            }
        }
    }
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!("{status}\n{}", last.join("\n"))))
}

/// Program and arguments without folders, for people.
fn step_name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let short = words.map(|w| Path::new(w).file_name().unwrap_or(w).to_string_lossy());
    short.take(3).collect::<Vec<_>>().join(" ")
}

fn files(what: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let what = what.display().to_string();
    move |error| BuildError::Files { what, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_carries_all_that_a_build_reads_and_nothing_else() {
        let names: Vec<&str> = carried::SOURCES.iter().map(|(name, _)| *name).collect();
        for needed in [
            "package.json",
            "package-lock.json",
            "build/main.mjs",
            "src/worker.ts",
        ] {
            assert!(names.contains(&needed), "{needed} is missing: {names:?}");
        }
        assert!(
            names
                .iter()
                .all(|n| !n.contains("node_modules") && !n.starts_with("test")),
            "{names:?}"
        );
    }

    #[test]
    fn the_lock_file_pins_by_integrity_and_names_no_registry() {
        let lock = carried::SOURCES
            .iter()
            .find(|(name, _)| *name == "package-lock.json");
        let lock: serde_json::Value =
            serde_json::from_slice(lock.expect("carried").1).expect("JSON");
        let packages = lock["packages"].as_object().expect("packages");
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["resolved"].is_null(), "{name} names a registry");
            let pin = package["integrity"].as_str().unwrap_or_default();
            assert!(pin.starts_with("sha512-"), "{name} is not pinned");
        }
    }

    #[test]
    fn a_named_folder_without_a_bundle_is_an_error_and_builds_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut said = Vec::new();
        let got = obtain(Some(dir.path()), &mut |line| said.push(line.to_owned()));
        assert!(matches!(got, Err(BuildError::Bundle(_))), "{got:?}");
        assert!(said.is_empty(), "{said:?}");
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["build-4711/src", "packages", "0123456789abcdef"] {
            fs::create_dir_all(dir.path().join(name)).expect("a folder");
        }
        Workshop::at(dir.path()).sweep();
        let left = fs::read_dir(dir.path()).expect("the folder").count();
        assert_eq!(left, 2);
    }

    #[test]
    fn an_empty_workshop_has_no_bundle() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Workshop::at(dir.path()).find().is_none());
    }
}
