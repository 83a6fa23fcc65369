//! Speaks `push.v1` to a Pyroscope or Pilotlight server: profiles in, requests and their answers out.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use protocol::push::{PushRequest, RawProfileSeries, RawSample};
use protocol::types::LabelPair;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, redirect};
use url::Url;
use uuid::Uuid;

use crate::profile::SeriesProfile;

use super::answer::{Answer, Response};
use super::credentials::Credentials;
use super::metrics::{DropReason, RetryReason};
use super::queue::Entry;
use super::{Config, Error};

/// More than any answer to a push has to say.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const PUSH: &str = "push.v1.PusherService/Push";

/// Encodes a profile under a new id, which stays the same in all attempts to send it.
pub(super) fn entry(profile: &SeriesProfile) -> Entry {
    let label =
        |name: &str, value: &str| LabelPair { name: name.to_owned(), value: value.to_owned() };
    let mut labels = vec![label("__name__", profile.name)];
    labels.extend(profile.labels.iter().map(|(name, value)| label(name, value)));
    let sample = RawSample {
        raw_profile: gzip(&profile.profile.encode_to_vec()).into(),
        id: Uuid::new_v4().to_string(),
    };
    let series = RawProfileSeries { labels, samples: vec![sample], annotations: Vec::new() };
    Entry {
        message: Bytes::from(PushRequest { series: vec![series] }.encode_to_vec()),
        n_samples: profile.n_samples,
        window_start_ns: profile.profile.time_nanos,
    }
}

/// Fast rather than small: the agent's CPU is dearer than the wire.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all bytes")
}

/// A connection to one server.
#[derive(Debug)]
pub(super) struct PushClient {
    http: Client,
    push_url: Url,
    ready_url: Url,
    headers: HeaderMap,
    credentials: Credentials,
}

impl PushClient {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let builder = Client::builder()
            .user_agent(concat!("pilotlight/", env!("CARGO_PKG_VERSION")))
            // Elsewhere could be anybody, and the requests bear credentials.
            .redirect(redirect::Policy::none())
            .http1_only()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout);
        let builder = trust(without_proxy_to_self(builder, &config.url), config)?;
        let http = builder.build().map_err(|err| client_error(config, root_cause(&err)))?;
        Ok(Self {
            http,
            push_url: below(&config.url, PUSH),
            ready_url: below(&config.url, "ready"),
            headers: config.headers.clone(),
            credentials: Credentials::new(config.authorization.clone()),
        })
    }

    /// Opens a connection and asks for nothing that matters: whether there is a server at all.
    pub(super) fn probe(&self) -> impl Future<Output = Answer> + Send + use<> {
        let request = self.http.get(self.ready_url.clone());
        async { receive(request).await.map_or_else(|failure| failure, |_any| Answer::Accepted) }
    }

    /// Sends one `PushRequest`.
    pub(super) fn push(&mut self, request: &[u8]) -> impl Future<Output = Answer> + Send + use<> {
        let request = self
            .http
            .post(self.push_url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/proto")
            .header(CONTENT_ENCODING, "gzip")
            .header("connect-protocol-version", "1")
            .body(gzip(request));
        let request = self.credentials.apply(request);
        async {
            let request = request.map_err(|err| Answer::Retry {
                reason: RetryReason::Credentials,
                after: None,
                message: err.to_string(),
            });
            match request {
                Ok(request) => receive(request).await.unwrap_or_else(|failure| failure),
                Err(failure) => failure,
            }
        }
    }
}

/// The meaning of the answer, or of its absence.
async fn receive(request: RequestBuilder) -> Result<Answer, Answer> {
    let mut response = request.send().await.map_err(|err| transport_failure(&err))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|err| transport_failure(&err))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            // The connection is closed with the rest unread.
            let message =
                format!("an answer of more than {MAX_ANSWER_BYTES} bytes: not a profile store");
            return Ok(
                match (Response { status: response.status().as_u16(), ..Response::default() })
                    .judge()
                {
                    Answer::Accepted => {
                        Answer::Refused { reason: DropReason::UnexpectedAnswer, message }
                    }
                    other => other,
                },
            );
        }
        body.extend_from_slice(&chunk);
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let response = Response {
        status: response.status().as_u16(),
        content_type: header(CONTENT_TYPE),
        retry_after: header(RETRY_AFTER),
        location: header(LOCATION),
        body: &body,
    };
    Ok(response.judge())
}

fn transport_failure(err: &reqwest::Error) -> Answer {
    let reason = match err {
        err if err.is_connect() => RetryReason::Connect,
        err if err.is_timeout() => RetryReason::Timeout,
        _ => RetryReason::Transport,
    };
    Answer::Retry { reason, after: None, message: root_cause(err) }
}

/// The innermost error says what happened; the outer ones say that a request failed, and to where.
fn root_cause(err: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if err.is_timeout() {
        return "no answer in time".to_owned();
    }
    match cause.downcast_ref::<io::Error>() {
        Some(err) if err.raw_os_error().is_some() => err.kind().to_string(),
        _ => cause.to_string(),
    }
}

fn below(url: &Url, path: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    below
}

fn client_error(config: &Config, reason: String) -> Error {
    match config.ca_file.clone() {
        Some(path) => Error::BadCertificate { path, reason },
        None => Error::Client { url: config.url.clone(), reason },
    }
}

/// A proxy from the environment would be asked for its own loopback.
fn without_proxy_to_self(builder: ClientBuilder, url: &Url) -> ClientBuilder {
    let is_self = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if is_self { builder.no_proxy() } else { builder }
}

/// Sets whom to trust. Without TLS nobody: reading the system's certificates costs more CPU than a minute of profiling.
fn trust(builder: ClientBuilder, config: &Config) -> Result<ClientBuilder, Error> {
    // Somebody else in this process may have installed it already, which is as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    if config.url.scheme() != "https" {
        return Ok(builder.tls_certs_only([]));
    }
    match &config.ca_file {
        Some(path) => Ok(builder.tls_certs_only(read_certificates(path)?)),
        None => Ok(builder),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let pem =
        fs::read(path).map_err(|source| Error::ReadCaFile { path: path.to_owned(), source })?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}
