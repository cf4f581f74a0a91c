//! The install key: 32 random bytes from which every control token is derived.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use talon_core::AgentId;
use talon_core::callback::CallbackSecrets;
use talon_core::secret::{SecretValue, keyed_bytes, keyed_hex};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What the operator's token starts with, so that scanners and people recognise one.
pub const OPERATOR_PREFIX: &str = "talon_op_";

/// The root of control tokens. Wiped when dropped; `Debug` shows nothing.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct InstallKey([u8; 32]);

/// Why there is no install key. Messages name the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum InstallKeyError {
    /// There is a file already; it is never overwritten.
    #[error("the install key file {} exists already: it is not overwritten", .0.display())]
    Exists(PathBuf),
    /// There is no file.
    #[error("the install key file {} does not exist: restore it from your backup, or start with a new database", .0.display())]
    Missing(PathBuf),
    /// Others may read it.
    #[error("the install key file {path} can be read by others: run chmod 600 {path}", path = .0.display())]
    Exposed(PathBuf),
    /// Somebody else owns it, and could put another key in its place.
    #[error(
        "the install key file {path} belongs to user {owner}, neither to this process's user ({user}) nor to root: run \
         this as user {owner} if the daemon does; else chown {user} {path} as root, after making sure that it is the key you \
         think it is", path = path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Id of the user it belongs to.
        owner: u32,
        /// Id of the user the process acts for.
        user: u32,
    },
    /// It is no regular file.
    #[error("the install key file {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It does not hold 64 hex digits.
    #[error("the install key must be 64 hex digits: restore it from your backup")]
    Malformed,
    /// Reading or writing failed.
    #[error("the install key file {}: {kind}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
}

impl InstallKey {
    /// Takes these bytes as the key and writes them, as hex, into a new file that only its owner may read. The file and
    /// its directory entry are on disk when this returns; if writing fails, no file is left.
    pub fn create(path: &Path, bytes: [u8; 32]) -> Result<Self, InstallKeyError> {
        let key = Self(bytes);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => InstallKeyError::Exists(path.to_owned()),
                _ => io(path, &e),
            })?;
        let mut text = Zeroizing::new(hex::encode(key.0));
        text.push('\n');
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_directory(path));
        match written {
            Ok(()) => Ok(key),
            Err(e) => {
                // The error that is reported is the first one.
                let _ = std::fs::remove_file(path);
                Err(io(path, &e))
            }
        }
    }

    /// Reads the key from its file. Refuses a file that its group or others may use in any way, and one that belongs
    /// neither to the process's user nor to root.
    pub fn load(path: &Path) -> Result<Self, InstallKeyError> {
        Self::load_as(path, nix::unistd::geteuid().as_raw())
    }

    fn load_as(path: &Path, user: u32) -> Result<Self, InstallKeyError> {
        let file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => InstallKeyError::Missing(path.to_owned()),
            _ => io(path, &e),
        })?;
        let meta = file.metadata().map_err(|e| io(path, &e))?;
        if !meta.is_file() {
            return Err(InstallKeyError::NotAFile(path.to_owned()));
        }
        let owner = meta.uid();
        if owner != user && owner != 0 {
            return Err(InstallKeyError::NotOurs {
                path: path.to_owned(),
                owner,
                user,
            });
        }
        if meta.mode() & 0o077 != 0 {
            return Err(InstallKeyError::Exposed(path.to_owned()));
        }
        let mut text = Zeroizing::new(String::with_capacity(256));
        file.take(200)
            .read_to_string(&mut text)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidData => InstallKeyError::Malformed,
                _ => io(path, &e),
            })?;
        Self::from_hex(&text)
    }

    /// Takes the key from its text form: 64 hex digits, white space around them ignored.
    pub fn from_hex(text: &str) -> Result<Self, InstallKeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| InstallKeyError::Malformed)?;
        Ok(Self(bytes))
    }

    /// `HMAC(key, "talon-check")` in hex: kept in the database, tells whether a key is the right one.
    pub fn check(&self) -> String {
        keyed_hex(&self.0, &[b"talon-check"])
    }

    /// The agent's control token, `HMAC(key, "wake:" + agent id)` in hex; derivable at any time, stored nowhere.
    pub fn control_token(&self, agent: AgentId) -> SecretValue {
        SecretValue::new(keyed_hex(
            &self.0,
            &[b"wake:", agent.to_string().as_bytes()],
        ))
    }

    /// `HMAC(key, "callback:" + agent id)`, base64 behind `whsec_`: what an agent's deployment callbacks are signed with.
    pub fn callback_secret(&self, agent: AgentId) -> SecretValue {
        let bytes = Zeroizing::new(keyed_bytes(
            &self.0,
            &[b"callback:", agent.to_string().as_bytes()],
        ));
        let text = Zeroizing::new(BASE64.encode(&*bytes));
        SecretValue::new(format!("whsec_{}", *text))
    }

    /// `HMAC(key, "hub-signing-key")`: signs the short tokens that the Hub gives for API keys, and nothing else.
    pub fn hub_signing_key(&self) -> [u8; 32] {
        keyed_bytes(&self.0, &[b"hub-signing-key"])
    }

    /// `HMAC(key, "dashboard-session")`: signs the cookies of the dashboard, and nothing else.
    pub fn session_key(&self) -> [u8; 32] {
        keyed_bytes(&self.0, &[b"dashboard-session"])
    }

    /// The operator's token at the HTTP API, `HMAC(key, "operator-token")` in hex behind [`OPERATOR_PREFIX`]: whoever can
    /// read the key can make it, and it is stored nowhere.
    pub fn operator_token(&self) -> SecretValue {
        let hex = Zeroizing::new(keyed_hex(&self.0, &[b"operator-token"]));
        SecretValue::new(format!("{OPERATOR_PREFIX}{}", *hex))
    }
}

impl CallbackSecrets for InstallKey {
    fn callback_secret(&self, agent: AgentId) -> SecretValue {
        Self::callback_secret(self, agent)
    }
}

impl fmt::Debug for InstallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstallKey(…)")
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn io(path: &Path, e: &std::io::Error) -> InstallKeyError {
    InstallKeyError::Io {
        path: path.to_owned(),
        kind: e.kind(),
    }
}

#[cfg(test)]
#[path = "install_key_tests.rs"]
mod tests;
