//! The body of a request, read within a limit, a time and a share of the memory.

use crate::api::Api;
use crate::api::error::{Code, Error};
use crate::api::metrics::Refused;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt as _;
use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Of zstd: 8 MiB, what its command makes without `--long`.
const MAX_WINDOW_LOG: u32 = 23;

/// A body as it came, and its share of the memory.
pub(super) struct RawBody {
    bytes: Bytes,
    encoding: Encoding,
    _share: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

pub(super) async fn read(api: &Api, headers: &HeaderMap, body: Body) -> Result<RawBody, Error> {
    read_within(api, headers, body, api.config.max_body_bytes).await
}

/// Where less than the settings allow is enough: no more of it is kept in memory.
pub(super) async fn read_within(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<RawBody, Error> {
    let encoding = Encoding::of(headers.get(header::CONTENT_ENCODING))?;
    let reading = collect(api, body, limit.min(api.config.max_body_bytes));
    let Ok(result) = timeout(api.config.body_timeout, reading).await else {
        return Err(Error::new(Code::DeadlineExceeded, "the request's body did not come in time"));
    };
    let (bytes, share) = result?;
    Ok(RawBody { bytes, encoding, _share: share })
}

async fn collect(
    api: &Api,
    body: Body,
    limit: usize,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Error> {
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|err| Error::invalid(format!("cannot read the request's body: {err}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(api, limit));
        }
        bytes.extend_from_slice(&chunk);
        let have_kib = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more_kib = bytes.len().div_ceil(1 << 10).saturating_sub(have_kib);
        let Ok(more) = Arc::clone(&api.bodies).try_acquire_many_owned(more_kib as u32) else {
            api.metrics.refuse(Refused::BodiesFull);
            return Err(Error::new(
                Code::Unavailable,
                "too many requests are being read; try again later",
            ));
        };
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
    }
    Ok((bytes.freeze(), share))
}

fn too_large(api: &Api, limit: usize) -> Error {
    if limit == api.config.max_body_bytes {
        return Error::too_large(limit);
    }
    Error { message: format!("request is larger than {limit} bytes"), ..Error::too_large(limit) }
}

impl Encoding {
    pub(super) fn of(value: Option<&HeaderValue>) -> Result<Encoding, Error> {
        let Some(value) = value else { return Ok(Encoding::Identity) };
        match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Encoding::Identity),
            "gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            other => Err(Error::new(
                Code::Unimplemented,
                format!("unknown compression '{other}': supported encodings are gzip, zstd"),
            )),
        }
    }

    /// At most `limit` bytes without their compression. Takes time: not for async tasks.
    pub(super) fn plain(self, bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Error> {
        let decoded = |result: std::io::Result<usize>, plain: Vec<u8>| match result {
            Err(err) => Err(Error::invalid(format!("cannot decompress the request's body: {err}"))),
            Ok(_) if plain.len() > limit => Err(Error::too_large(limit)),
            Ok(_) => Ok(Cow::Owned(plain)),
        };
        let mut plain = Vec::new();
        let take = limit as u64 + 1;
        match self {
            Encoding::Identity => Ok(Cow::Borrowed(bytes)),
            Encoding::Gzip => {
                let result = MultiGzDecoder::new(bytes).take(take).read_to_end(&mut plain);
                decoded(result, plain)
            }
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(bytes);
                let result = decoder.and_then(|mut decoder| {
                    decoder.window_log_max(MAX_WINDOW_LOG)?;
                    decoder.take(take).read_to_end(&mut plain)
                });
                decoded(result, plain)
            }
        }
    }
}

impl RawBody {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The body without its compression, in at most `limit` bytes. Takes time: not for async tasks.
    pub(super) fn plain(&self, limit: usize) -> Result<Cow<'_, [u8]>, Error> {
        self.encoding.plain(&self.bytes, limit)
    }
}
