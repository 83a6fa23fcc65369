//! What people put aside on pages: settings, and profiles that were uploaded to be looked at. Kept in files beside the store's.

pub mod settings;
pub mod uploads;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use url::form_urlencoded::byte_serialize;

/// File systems take 255.
const MAX_FOLDER_BYTES: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not what this server writes ({what}); move it away to start without it")]
    Unreadable { path: PathBuf, what: String },
    #[error("the setting was changed by somebody else after it was read; read it again")]
    Changed,
    #[error("{what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    #[error("there are {limit} settings, and no more are kept; delete one first")]
    TooMany { limit: usize },
    #[error("the settings of {whose} have {limit} bytes, and no more are kept; delete one first")]
    Full { whose: &'static str, limit: usize },
    #[error("a setting has no name")]
    NoName,
    #[error("there is no profile with id '{0}'")]
    NoUpload(String),
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), source }
    }
}

/// The name of a file or folder for what somebody else has named: no `/`, not hidden, never `.` or `..`.
fn file_name(text: &str) -> String {
    format!("_{}", byte_serialize(text.as_bytes()).collect::<String>())
}

/// For what is longer than file systems take as a name, a hash: `~` is in no other name.
fn folder_name(text: &str) -> String {
    let name = file_name(text);
    if name.len() <= MAX_FOLDER_BYTES {
        return name;
    }
    format!("_~{}", URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}

/// The file has either what it had before or all of this, whenever the machine stops. Nobody else can read it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

/// None where there is no such file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests;
