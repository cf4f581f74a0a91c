//! Notices a database that was set back: the highest change ever seen is kept beside the install key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads the mark; 0 if there is none.
pub fn read(path: &Path) -> i64 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0)
}

/// Raises the mark.
pub fn raise(path: &Path, seq: i64) -> std::io::Result<()> {
    if read(path) >= seq {
        return Ok(());
    }
    replace(path, seq)
}

/// Sets the mark to what the database has now, whatever it was: the restored database was accepted.
pub fn reset(path: &Path, seq: i64) -> std::io::Result<()> {
    replace(path, seq)
}

/// Writes a sibling that was not there before and puts it in place: a crash leaves the old mark or the new one, and a
/// link that somebody laid under either name is replaced, never followed.
fn replace(path: &Path, seq: i64) -> std::io::Result<()> {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".new");
    let sibling = Path::new(&sibling);
    match std::fs::remove_file(sibling) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(sibling)?
        .write_all(format!("{seq}\n").as_bytes())?;
    std::fs::rename(sibling, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_under_our_names_are_replaced_and_not_followed() {
        let folder = std::env::temp_dir().join(format!("talon-mark-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let [mark, new, theirs] = ["k.seen", "k.seen.new", "theirs"].map(|n| folder.join(n));
        std::fs::write(&theirs, "precious").unwrap();
        symlink(&theirs, &new).unwrap();
        symlink(&theirs, &mark).unwrap();
        raise(&mark, 7).unwrap();
        assert_eq!(read(&mark), 7);
        raise(&mark, 5).unwrap();
        assert_eq!(read(&mark), 7);
        reset(&mark, 5).unwrap();
        assert_eq!(read(&mark), 5);
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "precious");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
