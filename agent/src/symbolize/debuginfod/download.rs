//! The address of a debug file in; its bytes, up to a cap and in time, out.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use reqwest::{StatusCode, redirect};
use tokio::runtime::Runtime;
use url::Url;

use super::Config;

/// Redirects that are followed, on the same server.
const MAX_REDIRECTS: usize = 5;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The server does not have it.
    #[error("the server does not have it")]
    Missing,
    /// The server says something else.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// It is larger than the cap.
    #[error("it is larger than {0} bytes (symbolize.debuginfod.file_bytes)")]
    TooLarge(u64),
    /// The connection.
    #[error("{0}")]
    Transport(#[from] reqwest::Error),
    /// The cache.
    #[error("cannot write it: {0}")]
    Write(#[from] io::Error),
}

/// Asks servers. The thread that it is used on waits.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Runtime,
    urls: Vec<Url>,
    file_bytes: u64,
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, super::Error> {
        let failed = |why: String| super::Error::Client(why);
        // Where one is installed already, it is the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .user_agent(concat!("pilotlight/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::custom(|attempt| {
                let is_same =
                    attempt.previous().iter().all(|url| url.origin() == attempt.url().origin());
                if !is_same {
                    attempt.error("it redirects to another server")
                } else if attempt.previous().len() > MAX_REDIRECTS {
                    attempt.error("it redirects without end")
                } else {
                    attempt.follow()
                }
            }))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout)
            .build()
            .map_err(|err| failed(err.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| failed(err.to_string()))?;
        Ok(Self { http, runtime, urls: config.urls.clone(), file_bytes: config.file_bytes })
    }

    /// Where the debug file of a build id may be.
    pub(super) fn urls(&self, id: &str) -> impl Iterator<Item = Url> {
        self.urls.iter().filter_map(move |url| {
            let mut url = url.clone();
            url.path_segments_mut().ok()?.pop_if_empty().extend(["buildid", id, "debuginfo"]);
            Some(url)
        })
    }

    /// Writes what the server has to `file`.
    pub(super) fn download(&self, url: Url, file: &mut File) -> Result<(), Error> {
        self.runtime.block_on(async {
            let mut response = self.http.get(url).send().await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Err(Error::Missing),
                other => return Err(Error::Status(other)),
            }
            if response.content_length().is_some_and(|len| len > self.file_bytes) {
                return Err(Error::TooLarge(self.file_bytes));
            }
            let mut n_written: u64 = 0;
            while let Some(piece) = response.chunk().await? {
                n_written = n_written.saturating_add(piece.len() as u64);
                if n_written > self.file_bytes {
                    return Err(Error::TooLarge(self.file_bytes));
                }
                file.write_all(&piece)?;
            }
            Ok(())
        })
    }
}
