//! One daemon per database file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use talon_store::{StoreError, StoreResult};

/// The right to be the daemon of a database file, for as long as this lives. The operating system takes it back when
/// the process ends, however it ends; the file `<database>.lock` stays and means nothing by itself.
#[derive(Debug)]
pub struct DaemonLock {
    file: File,
}

impl DaemonLock {
    /// Takes the lock beside the database, or says who has it.
    pub(crate) fn take(database: &Path) -> StoreResult<Self> {
        let path = lock_path(database);
        let failed = |e: std::io::Error| {
            StoreError::Unavailable(format!("cannot open the lock file {}: {e}", path.display()))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What it says is only for the message.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim().parse::<u32>();
                let who = holder.map_or_else(|_| String::new(), |pid| format!(" (process {pid})"));
                return Err(StoreError::Unavailable(format!(
                    "another talon{who} already serves {}; one daemon per SQLite file. Stop it, or use PostgreSQL for several.",
                    database.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for DaemonLock {
    fn drop(&mut self) {
        // Closing the file gives the lock back as well; an emptied file names no process that is gone.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}
