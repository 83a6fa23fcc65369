//! A Java flight recording -> pprofs, one for each kind of event that a profiler is interested in.
//!
//! A recording is a chain of chunks. Each has a header, events, a description of their types, and constants to which events
//! refer by key. Everything is read by that description, for versions of the JVM and of profilers differ in it.

mod reader;
mod metadata;
mod constants;
mod snapshot;
mod events;

use crate::ingest::builder::{Bounds, TooMany};
use crate::ingest::jfr::constants::Constants;
use crate::ingest::jfr::events::Events;
use crate::ingest::jfr::metadata::Classes;
use crate::ingest::jfr::reader::Reader;
use crate::ingest::jfr::snapshot::Snapshot;
use prost::Message as _;
use protocol::profile::Profile;
use std::cell::Cell;

const MAGIC: &[u8] = b"FLR\0";
const HEADER_LEN: usize = 68;
/// Steps of the reader for each byte of the recording, and what a small one may take.
const FUEL_PER_BYTE: u64 = 64;
const MIN_FUEL: u64 = 1 << 20;
const TYPE_METADATA: i64 = 0;
const TYPE_CONSTANTS: i64 = 1;
/// Recordings have one event of constants a flush.
const MAX_CONSTANT_EVENTS: usize = 100_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body is no flight recording")]
    NotARecording,
    #[error("the recording has format version {0}, this server reads 1 and 2")]
    Version(u16),
    #[error("the recording is not compressed in itself, as every JVM writes it")]
    NotCompressedIntegers,
    #[error("the recording ends in the middle of something")]
    Truncated,
    #[error("the recording has a string that cannot be read")]
    String,
    #[error("the recording has a value of type {0}, which it does not describe")]
    UnknownType(i64),
    #[error("the recording takes too long to read")]
    TooLong,
    #[error("part 'labels' cannot be read: {0}")]
    Labels(prost::DecodeError),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// A profile, and the `__name__` of its series.
pub(super) struct Named {
    pub name: &'static str,
    pub profile: Profile,
}

/// All profiles of a recording, and what sampled its CPU: `itimer`, `cpu`, `wall` …
pub(super) struct Recording {
    pub event: String,
    pub profiles: Vec<Named>,
}

/// `period_ns` is the time that one sample of the CPU stands for.
pub(super) fn read(
    body: &[u8],
    labels: &[u8],
    period_ns: i64,
    bounds: Bounds,
) -> Result<Recording, Error> {
    let snapshot = Snapshot::decode(labels).map_err(Error::Labels)?;
    let len = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let fuel = Cell::new(len.saturating_mul(FUEL_PER_BYTE).max(MIN_FUEL));
    let mut events = Events::new(&snapshot, period_ns, bounds);
    let mut rest = body;
    while !rest.is_empty() {
        let len = chunk_len(rest)?;
        let (chunk, next) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
        read_chunk(chunk, &fuel, &mut events)?;
        rest = next;
    }
    Ok(events.finish())
}

fn chunk_len(bytes: &[u8]) -> Result<usize, Error> {
    if !bytes.starts_with(MAGIC) {
        return Err(Error::NotARecording);
    }
    let fuel = Cell::new(MIN_FUEL);
    let mut reader = Reader::new(bytes, MAGIC.len(), &fuel);
    let major = reader.u16_be()?;
    if !(1..=2).contains(&major) {
        return Err(Error::Version(major));
    }
    reader.u16_be()?;
    let len = usize::try_from(reader.i64_be()?).ok().ok_or(Error::Truncated)?;
    if len < HEADER_LEN { Err(Error::Truncated) } else { Ok(len) }
}

fn read_chunk(chunk: &[u8], fuel: &Cell<u64>, events: &mut Events<'_>) -> Result<(), Error> {
    let mut header = Reader::new(chunk, 16, fuel);
    let constants_at = header.i64_be()?;
    let metadata_at = header.i64_be()?;
    // The chunk's start and duration.
    header.i64_be()?;
    header.i64_be()?;
    header.i64_be()?;
    let ticks_per_second = header.i64_be()?;
    if header.i32_be()? & 1 == 0 {
        return Err(Error::NotCompressedIntegers);
    }
    let mut metadata = event_at(chunk, metadata_at, TYPE_METADATA, fuel)?;
    let classes = Classes::read(&mut metadata)?;
    let mut constants = Constants::default();
    let mut at = constants_at;
    for _ in 0..MAX_CONSTANT_EVENTS {
        let mut reader = event_at(chunk, at, TYPE_CONSTANTS, fuel)?;
        let delta = constants.read(&mut reader, &classes)?;
        if delta == 0 {
            break;
        }
        at = at.checked_add(delta).ok_or(Error::Truncated)?;
    }
    events.begin_chunk(ticks_per_second);
    let mut at = HEADER_LEN;
    while at < chunk.len() {
        let mut reader = Reader::new(chunk, at, fuel);
        let len = usize::try_from(reader.long()?).ok().ok_or(Error::Truncated)?;
        let end = at.checked_add(len).filter(|_| len > 0).ok_or(Error::Truncated)?;
        let mut reader = reader.within(end)?;
        let id = reader.long()?;
        // Those without a description are of no profiler.
        if let Some(class) = classes.get(id).filter(|_| id > TYPE_CONSTANTS) {
            events.event(&mut reader, class, &classes, &constants)?;
        }
        at = end;
    }
    events.end_chunk(&constants)
}

/// A reader that stands after the size and the type of the event, which must be `expected`.
fn event_at<'a>(
    chunk: &'a [u8],
    at: i64,
    expected: i64,
    fuel: &'a Cell<u64>,
) -> Result<Reader<'a>, Error> {
    let at = usize::try_from(at).ok().ok_or(Error::Truncated)?;
    let mut reader = Reader::new(chunk, at, fuel);
    let len = usize::try_from(reader.long()?).ok().ok_or(Error::Truncated)?;
    let end = at.checked_add(len).ok_or(Error::Truncated)?;
    let mut reader = reader.within(end)?;
    reader.burn()?;
    if reader.long()? == expected { Ok(reader) } else { Err(Error::NotARecording) }
}

#[cfg(test)]
mod tests;
