//! Reads one file of a directory, and no file that is elsewhere.
//!
//! The name has no separator (references allow none, and it is checked here again), and the file is opened relative to
//! the directory's own descriptor with `O_NOFOLLOW`: no symlink is followed, so nothing can be swapped in between.
//! Kubernetes mounts secrets as symlinks through `..data`; those are followed only if they end inside the directory.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use zeroize::Zeroize;

use super::{MAX_VALUE_BYTES, SecretReadError};

/// The file's bytes. `what` names the reference in errors.
pub(super) fn read(directory: &Path, name: &str, what: &str) -> Result<Vec<u8>, SecretReadError> {
    let plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    if !plain {
        return Err(SecretReadError::OutOfScope(
            "a file: reference is one plain name inside the owner's directory".to_owned(),
        ));
    }
    let root = File::open(directory).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => SecretReadError::Missing(format!(
            "{what}: the owner's directory of secrets does not exist: create it, or correct secretScopes in talon.yaml"
        )),
        _ => unavailable(what, "the owner's directory cannot be opened"),
    })?;
    let file = match open_beneath(&root, Path::new(name)) {
        Err(Errno::ELOOP) => linked(directory, &root, name, what)?,
        other => other.map_err(|e| failed(e, what))?,
    };
    let stat = fstat(&file).map_err(|e| failed(e, what))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(SecretReadError::Unsupported(format!(
            "{what} is not a regular file: put the key into a plain file"
        )));
    }
    // One byte more than allowed tells a file that is too long; the buffer never grows, so nothing is left behind.
    let mut bytes = Vec::with_capacity(MAX_VALUE_BYTES + 3);
    let limit = MAX_VALUE_BYTES as u64 + 2;
    if file.take(limit + 1).read_to_end(&mut bytes).is_err() {
        bytes.zeroize();
        return Err(unavailable(what, "the file cannot be read"));
    }
    Ok(bytes)
}

/// Opens without following a symlink at the end, and without waiting for the other end of a pipe.
fn open_beneath(root: &impl AsFd, name: &Path) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    openat(root, name, flags, Mode::empty()).map(File::from)
}

/// Follows a symlink that ends inside the directory, by opening each part of the resolved path without following.
fn linked(directory: &Path, root: &File, name: &str, what: &str) -> Result<File, SecretReadError> {
    let outside = || {
        SecretReadError::OutOfScope(format!(
            "{what} is a symlink that leads out of the owner's directory: put the file itself there"
        ))
    };
    let resolve = |path: &Path| {
        path.canonicalize().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => failed(Errno::ENOENT, what),
            _ => unavailable(what, "the symlink cannot be resolved"),
        })
    };
    let base = resolve(directory)?;
    let target = resolve(&directory.join(name))?;
    let inside: PathBuf = target
        .strip_prefix(&base)
        .map_err(|_| outside())?
        .to_owned();
    let mut parts: Vec<_> = inside.components().collect();
    let last = parts.pop().ok_or_else(outside)?;
    let mut at = root
        .try_clone()
        .map_err(|_| unavailable(what, "no file descriptor is free"))?;
    for part in parts {
        // A part that has become a symlink since is refused, not followed.
        at = open_beneath(&at, Path::new(part.as_os_str())).map_err(|_| outside())?;
    }
    open_beneath(&at, Path::new(last.as_os_str())).map_err(|e| match e {
        Errno::ELOOP => outside(),
        e => failed(e, what),
    })
}

fn failed(e: Errno, what: &str) -> SecretReadError {
    match e {
        Errno::ENOENT => SecretReadError::Missing(format!(
            "{what} does not exist in the owner's directory: write the key into a file of that name"
        )),
        Errno::EACCES | Errno::EPERM => {
            unavailable(what, "the daemon's user may not read the file")
        }
        Errno::ENXIO => SecretReadError::Unsupported(format!(
            "{what} is not a regular file: put the key into a plain file"
        )),
        _ => unavailable(what, "the file cannot be opened"),
    }
}

fn unavailable(what: &str, why: &str) -> SecretReadError {
    SecretReadError::Unavailable(format!("{what}: {why}: check the path and its permissions"))
}
