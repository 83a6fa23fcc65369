//! pprof bytes from strangers -> checked `Profile`; `Profile` -> gzip. Output, memory and references are bounded while reading.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod budget;
mod check;

use crate::profile::Profile;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use prost::Message as _;
use std::borrow::Cow;
use std::io;
use std::io::Read as _;
use std::io::Write as _;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("profile is larger than {limit_bytes} bytes uncompressed")]
    TooLarge { limit_bytes: usize },
    #[error("profile has more messages than {limit_bytes} bytes can hold")]
    TooDense { limit_bytes: usize },
    #[error("cannot decompress the profile")]
    Gzip(#[source] io::Error),
    #[error("profile is not a pprof: {0}")]
    Protobuf(#[source] prost::DecodeError),
    #[error("malformed profile: {0}")]
    Malformed(&'static str),
}

/// Decompresses, decodes and checks a profile; it holds at most `max_bytes` uncompressed.
pub fn decode(raw: &[u8], max_bytes: usize) -> Result<Profile, Error> {
    let profile = parse(raw, max_bytes)?;
    check(&profile)?;
    Ok(profile)
}

/// Decompresses and decodes only, for formats that are repaired before they are checked.
pub fn parse(raw: &[u8], max_bytes: usize) -> Result<Profile, Error> {
    let plain = gunzip(raw, max_bytes)?;
    budget::check(&plain, max_bytes)?;
    Profile::decode(plain.as_ref()).map_err(Error::Protobuf)
}

/// Every id is unique and not 0, every reference is in range, every sample has one value for each sample type.
pub fn check(profile: &Profile) -> Result<(), Error> {
    check::check(profile).map_err(Error::Malformed)
}

/// Bytes that begin as gzip (of one or many members) are decompressed, others are given back as they are.
pub fn gunzip(raw: &[u8], max_bytes: usize) -> Result<Cow<'_, [u8]>, Error> {
    let too_large = || Error::TooLarge { limit_bytes: max_bytes };
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return if raw.len() > max_bytes { Err(too_large()) } else { Ok(Cow::Borrowed(raw)) };
    }
    let mut plain = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(raw).take(limit).read_to_end(&mut plain).map_err(Error::Gzip)?;
    if plain.len() > max_bytes { Err(too_large()) } else { Ok(Cow::Owned(plain)) }
}

/// Encodes and compresses a profile.
pub fn encode(profile: &Profile) -> Vec<u8> {
    gzip(&profile.encode_to_vec())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("a vector takes every byte");
    encoder.finish().expect("a vector takes every byte")
}

#[cfg(test)]
mod tests;
