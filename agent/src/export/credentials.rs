//! The settings of authentication in; requests with the header `Authorization` out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;

use super::Secret;

/// Tokens are far shorter; a larger file is not one.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where a password or token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// From the settings.
    Value(Secret),
    /// From a file, which is read again when it changes.
    File(PathBuf),
}

/// How the agent says to the server who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// HTTP Basic: Grafana Cloud takes the instance's number and an API key.
    Basic { username: String, password: SecretSource },
    /// A bearer token.
    Bearer(SecretSource),
}

/// Why there is no header to send.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file is not readable.
    #[error("cannot read the secret in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// The secret has line breaks or other bytes that no header can hold.
    #[error("the secret for the server has characters that no HTTP header can hold")]
    NotAHeader,
}

/// Changes when the file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    n_bytes: u64,
}

/// Gives requests their credentials, and reads the file behind them again when that has changed.
#[derive(Debug)]
pub(super) struct Credentials {
    authorization: Option<Authorization>,
    cached: Option<(Option<Version>, Secret)>,
}

impl Credentials {
    pub(super) fn new(authorization: Option<Authorization>) -> Self {
        Self { authorization, cached: None }
    }

    /// The request with the credentials as of now.
    pub(super) fn apply(&mut self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let Some(authorization) = self.authorization.clone() else { return Ok(request) };
        Ok(match authorization {
            Authorization::Bearer(source) => request.bearer_auth(self.secret(&source)?.expose()),
            Authorization::Basic { username, password } => {
                request.basic_auth(username, Some(self.secret(&password)?.expose()))
            }
        })
    }

    fn secret(&mut self, source: &SecretSource) -> Result<Secret, Error> {
        let version = source.version();
        if let Some((cached_version, secret)) = &self.cached
            && *cached_version == version
        {
            return Ok(secret.clone());
        }
        let secret = source.read()?;
        if HeaderValue::from_str(secret.expose()).is_err() {
            return Err(Error::NotAHeader);
        }
        self.cached = Some((version, secret.clone()));
        Ok(secret)
    }
}

impl SecretSource {
    fn version(&self) -> Option<Version> {
        let Self::File(path) = self else { return None };
        let metadata = fs::metadata(path).ok()?;
        Some(Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            n_bytes: metadata.len(),
        })
    }

    fn read(&self) -> Result<Secret, Error> {
        let path = match self {
            Self::Value(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        Ok(text.trim().to_owned().into())
    }
}
