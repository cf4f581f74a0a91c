//! Cloudflare's own tools, as published on npm: miniflare, wrangler and the Node they need, pinned by a lock file.
//!
//! The first test that wants them installs them with `npm ci` below the target directory, says so, and leaves them for
//! the next. Nothing of the machine's own Node is used but npm.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// An installation.
pub struct References {
    folder: PathBuf,
}

impl References {
    /// Finds or installs them.
    pub fn installed() -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
        let lock_file = fs::read(sources.join("package-lock.json")).unwrap();
        let name = format!(
            "references-{}",
            &hex::encode(Sha256::digest(&lock_file))[..12]
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        // Several test processes may want it at once.
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        for entry in fs::read_dir(&sources).unwrap() {
            let from = entry.unwrap().path();
            if !from.is_file() {
                continue;
            }
            fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
        }
        let done = folder.join("installed");
        if !done.exists() {
            println!(
                "installing miniflare, wrangler and Node from npm into {}",
                folder.display()
            );
            let npm = Command::new("npm")
                .arg("ci")
                .current_dir(&folder)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&npm.stderr).into_owned();
            assert!(npm.status.success(), "npm ci failed: {said}");
            fs::write(&done, "").unwrap();
        }
        Self { folder }
    }

    /// Node with one of the installed files as its program.
    pub fn node(&self, program: &str) -> Command {
        let arch = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        let mut node = Command::new(
            self.folder
                .join(format!("node_modules/node-linux-{arch}/bin/node")),
        );
        node.arg(self.folder.join(program));
        node
    }
}
