//! Profiles in; acknowledged requests to a server, or a file, out.

mod secret;
mod credentials;
mod backoff;
mod queue;
mod metrics;
mod answer;
mod pyroscope;
mod log_limit;
mod exporter;
pub mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderMap;
use url::Url;

pub use self::credentials::{Authorization, SecretSource};
pub use self::exporter::{Exporter, Flushed, Handle};
pub use self::metrics::Metrics;
pub use self::secret::Secret;

/// Settings of the push to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server's address; `push.v1.PusherService/Push` goes below its path.
    pub url: Url,
    /// Who we are.
    pub authorization: Option<Authorization>,
    /// Headers of every request, the tenant's among them.
    pub headers: HeaderMap,
    /// The only certificates (PEM) that a server may be signed by; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, connection included.
    pub timeout: Duration,
    /// Bound of the profiles that wait in memory.
    pub queue_bytes: usize,
}

/// Why the exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with certificates cannot be read.
    #[error("cannot read the certificates in {path} (server.ca_file): {source}")]
    ReadCaFile { path: PathBuf, source: io::Error },
    /// It holds no certificates.
    #[error("{path} (server.ca_file) holds no certificate in PEM format")]
    NoCertificate { path: PathBuf },
    /// What it holds is no usable certificate.
    #[error("cannot use the certificates in {path} (server.ca_file): {reason}")]
    BadCertificate { path: PathBuf, reason: String },
    /// The HTTP client could not be made: mostly the system's certificates are missing.
    #[error(
        "cannot set up requests to {url}: {reason}; install the system's ca-certificates or set server.ca_file"
    )]
    Client { url: Url, reason: String },
    /// The thread could not be started.
    #[error("cannot start the export thread: {source}")]
    Thread { source: io::Error },
}
