//! Notices a database that was set back: the highest change ever seen is kept beside the install key.

use std::path::Path;

/// Reads the mark; 0 if there is none.
pub fn read(path: &Path) -> i64 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0)
}

/// Raises the mark. Written to a sibling first, so that a crash leaves the old or the new one.
pub fn raise(path: &Path, seq: i64) -> std::io::Result<()> {
    if read(path) >= seq {
        return Ok(());
    }
    let sibling = path.with_extension("new");
    std::fs::write(&sibling, format!("{seq}\n"))?;
    std::fs::rename(sibling, path)
}

/// Sets the mark to what the database has now, whatever it was: the restored database was accepted.
pub fn reset(path: &Path, seq: i64) -> std::io::Result<()> {
    std::fs::write(path, format!("{seq}\n"))
}
