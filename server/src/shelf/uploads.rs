//! Uploaded profiles, as they came: one file each, `adhoc/_TENANT/ID-_NAME`.

use crate::shelf::{self, Error};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Of a name; as a file's it may have three times as many bytes, and file systems take 255.
const MAX_NAME_BYTES: usize = 70;
/// Of one tenant; the oldest goes when another one comes.
const MAX_UPLOADS: usize = 200;
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_DIGITS: u32 = 10;
const RANDOM_DIGITS: u32 = 16;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upload {
    /// A ULID: 48 bits of time and 80 random ones.
    pub id: String,
    pub name: String,
}

impl Upload {
    pub fn time_ms(&self) -> i64 {
        let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).unwrap_or_default();
        let time = self.id.bytes().take(TIME_DIGITS as usize);
        time.fold(0, |time_ms, byte| time_ms << 5 | digit(byte) as i64)
    }

    fn file_name(&self) -> String {
        format!("{}-{}", self.id, shelf::file_name(&self.name))
    }

    fn of_file(name: &str) -> Option<Upload> {
        let (id, name) = name.split_once("-_")?;
        let decoded = url::form_urlencoded::parse(name.as_bytes()).next();
        let name = decoded.map_or_else(String::new, |(name, _)| name.into_owned());
        is_id(id).then(|| Upload { id: id.to_owned(), name })
    }
}

fn is_id(text: &str) -> bool {
    text.len() == (TIME_DIGITS + RANDOM_DIGITS) as usize
        && text.bytes().all(|byte| DIGITS.contains(&byte))
}

fn new_id(now_ms: i64) -> io::Result<String> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let random = u128::from_le_bytes(random) >> 48;
    let bits = u128::from(now_ms.max(0) as u64 & ((1 << 48) - 1)) << 80 | random;
    let digit = |place: u32| DIGITS[(bits >> (5 * place)) as usize & 31] as char;
    Ok((0..TIME_DIGITS + RANDOM_DIGITS).rev().map(digit).collect())
}

pub struct Uploads {
    directory: PathBuf,
    /// One is added at a time.
    adding: Mutex<()>,
}

impl Uploads {
    pub fn new(directory: &Path) -> Uploads {
        Uploads { directory: directory.join("adhoc"), adding: Mutex::new(()) }
    }

    fn folder(&self, tenant: &str) -> PathBuf {
        self.directory.join(shelf::folder_name(tenant))
    }

    pub fn add(
        &self,
        tenant: &str,
        name: &str,
        profile: &[u8],
        now_ms: i64,
    ) -> Result<Upload, Error> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder(tenant);
        let failed = |err| Error::io("write", &folder, err);
        fs::create_dir_all(&folder).map_err(failed)?;
        let end = name.floor_char_boundary(MAX_NAME_BYTES);
        let name = name.get(..end).unwrap_or_default().to_owned();
        let upload = Upload { id: new_id(now_ms).map_err(failed)?, name };
        for oldest in self.list(tenant)?.into_iter().skip(MAX_UPLOADS - 1) {
            fs::remove_file(folder.join(oldest.file_name())).map_err(failed)?;
        }
        shelf::replace(&folder.join(upload.file_name()), profile).map_err(failed)?;
        Ok(upload)
    }

    /// The newest first.
    pub fn list(&self, tenant: &str) -> Result<Vec<Upload>, Error> {
        let folder = self.folder(tenant);
        let failed = |err| Error::io("list", &folder, err);
        let entries = match fs::read_dir(&folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut uploads = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            uploads.extend(name.to_str().and_then(Upload::of_file));
        }
        uploads.sort_by(|one, other| other.cmp(one));
        Ok(uploads)
    }

    pub fn get(&self, tenant: &str, id: &str) -> Result<(Upload, Vec<u8>), Error> {
        let missing = || Error::NoUpload(id.chars().take(64).collect());
        let found = self.list(tenant)?.into_iter().find(|upload| upload.id == id);
        let upload = found.ok_or_else(missing)?;
        let path = self.folder(tenant).join(upload.file_name());
        let bytes = shelf::read(&path).map_err(|err| Error::io("read", &path, err))?;
        Ok((upload, bytes.ok_or_else(missing)?))
    }
}
