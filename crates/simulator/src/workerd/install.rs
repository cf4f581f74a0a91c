//! Where the workerd binary comes from: `TALON_WORKERD`, the cache, or npm, once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use sha2::{Digest, Sha512};

/// The version that is used when none is named.
const VERSION: &str = "1.20261117.1";

/// The npm packages that hold it, by this crate's target, with the hash of the packed file.
const PACKAGES: [(&str, &str, &str, &str); 2] = [
    (
        "linux",
        "x86_64",
        "@cloudflare/workerd-linux-64",
        "gZLA8X11m/luZwn+YA3+mDu61vdxNJzpksP/QZqjydKTQ+VUCulsK5gtn9Bqst1p3KJu2kafQpJ1nDQv4B23jA==",
    ),
    (
        "linux",
        "aarch64",
        "@cloudflare/workerd-linux-arm64",
        "gxWngFojq41ULKNKb9rpWYvKotN5hT2I/xot+Bpy31cXzrwcTgtDLSMb2t75sW5BJxH7hihFvikgYb577kB3Zg==",
    ),
];

/// Says to people what is going on.
pub type Announce = dyn Fn(&str) + Send + Sync;

/// Finds workerd, or fetches it. Takes as long as a download the first time: not for an async thread.
///
/// # Errors
/// Why there is none, in words for people.
pub(super) fn binary(
    named: Option<&Path>,
    cache: Option<&Path>,
    announce: &Announce,
) -> Result<PathBuf, String> {
    if let Some(named) = named {
        return if named.is_file() {
            Ok(named.to_owned())
        } else {
            Err(format!(
                "TALON_WORKERD names {}, which is no file",
                named.display()
            ))
        };
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let (_, _, package, sha512) = PACKAGES
        .iter()
        .find(|p| (p.0, p.1) == (os, arch))
        .ok_or_else(|| format!("there is no workerd for {os} on {arch} that this program knows"))?;
    let cache = cache.ok_or("neither TALON_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set")?;
    let folder = cache.join("workerd").join(VERSION);
    let binary = folder.join("workerd");
    if binary.is_file() {
        return Ok(binary);
    }
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("{what}: {e}");
    std::fs::create_dir_all(&folder).map_err(|e| failed("no cache directory", &e))?;
    // One download at a time, however many processes want it.
    let lock = File::create(folder.join("lock")).map_err(|e| failed("no lock in the cache", &e))?;
    lock.lock()
        .map_err(|e| failed("no lock in the cache", &e))?;
    if binary.is_file() {
        return Ok(binary);
    }
    announce(&format!(
        "fetching workerd {VERSION} from npm (once, into {})",
        folder.display()
    ));
    let scratch = tempfile::tempdir_in(&folder).map_err(|e| failed("no scratch directory", &e))?;
    fetch(package, sha512, scratch.path())?;
    // Whole or not at all: others look for this name without the lock.
    std::fs::rename(scratch.path().join("package/bin/workerd"), &binary)
        .map_err(|e| failed("workerd could not be put into the cache", &e))?;
    announce(&format!("workerd {VERSION} is ready"));
    Ok(binary)
}

fn fetch(package: &str, sha512: &str, into: &Path) -> Result<(), String> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts"])
        .arg(format!("{package}@{VERSION}"))
        .arg("--pack-destination")
        .arg(into)
        .current_dir(into);
    run(&mut npm, "npm (it fetches workerd)")?;
    let packed = std::fs::read_dir(into)
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "tgz"))
        .ok_or("npm packed nothing")?;
    if hash(&packed).map_err(|e| e.to_string())? != sha512 {
        return Err(format!(
            "what npm delivered as {package}@{VERSION} is not what was published: its hash differs"
        ));
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(&packed)
        .arg("-C")
        .arg(into)
        .arg("package/bin/workerd");
    run(&mut tar, "tar (it unpacks workerd)")
}

fn run(command: &mut Command, name: &str) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|e| format!("{name} cannot be started: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|l| !l.trim().is_empty());
    Err(format!(
        "{name} failed: {}",
        last.unwrap_or("it says nothing")
    ))
}

fn hash(file: &Path) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut hash = Sha512::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(BASE64.encode(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// `TALON_CACHE_DIR`, else the user's cache directory for this program.
pub(super) fn default_cache() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    named("TALON_CACHE_DIR").or_else(|| {
        named("XDG_CACHE_HOME")
            .or_else(|| Some(named("HOME")?.join(".cache")))
            .map(|cache| cache.join("talon"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_binary_must_be_there() {
        let missing = Path::new("/nowhere/workerd");
        let refused = binary(Some(missing), None, &|_| {}).unwrap_err();
        assert!(refused.contains("/nowhere/workerd"), "{refused}");
    }

    #[test]
    fn a_cached_binary_is_used_without_npm() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("workerd").join(VERSION);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("workerd"), "x").unwrap();
        let found = binary(None, Some(cache.path()), &|_| panic!("nothing to say"));
        assert_eq!(found.unwrap(), folder.join("workerd"));
    }
}
