//! Compressed bytes in; what they stand for out, never more than was said and never more than a cap.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::Read;

/// Why there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// It would be larger than the cap.
    TooLarge,
    /// The bytes do not make sense.
    Malformed,
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Zlib,
    Zstd,
}

/// Expands to at most `cap` bytes.
pub(super) fn expand(format: Format, bytes: &[u8], cap: u64) -> Result<Vec<u8>, Error> {
    match format {
        Format::Zlib => read(flate2::read::ZlibDecoder::new(bytes), cap),
        Format::Zstd => {
            let decoder =
                zstd::stream::read::Decoder::new(bytes).map_err(|_io| Error::Malformed)?;
            read(decoder, cap)
        }
    }
}

fn read(decoder: impl Read, cap: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    decoder.take(cap.saturating_add(1)).read_to_end(&mut out).map_err(|_io| Error::Malformed)?;
    if out.len() as u64 > cap {
        return Err(Error::TooLarge);
    }
    out.shrink_to_fit();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Error, Format, expand};
    use std::io::Write;

    #[test]
    fn what_was_compressed_comes_back_up_to_the_cap() {
        let text = b"some text ".repeat(1000);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&text).unwrap();
        for (format, bytes) in [
            (Format::Zlib, zlib.finish().unwrap()),
            (Format::Zstd, zstd::encode_all(text.as_slice(), 3).unwrap()),
        ] {
            assert_eq!(expand(format, &bytes, 10_000).as_deref(), Ok(&*text), "{format:?}");
            assert_eq!(expand(format, &bytes, 9_999), Err(Error::TooLarge), "{format:?}");
            let half = bytes.get(..bytes.len() / 2).unwrap();
            assert_eq!(expand(format, half, 10_000), Err(Error::Malformed), "{format:?}");
        }
    }
}
