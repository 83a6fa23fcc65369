//! `push.v1`: series of raw pprofs -> normalized profiles, each judged alone.

use crate::ingest::labels::{self, Labels};
use crate::ingest::normalize::UNKNOWN_SERVICE;
use crate::ingest::{Config, Error, NormalizedProfile, normalize};
use protocol::{pprof, push};

/// One result for each profile of the request; a bad one does not keep the good ones out.
pub fn read(
    request: push::PushRequest,
    config: &Config,
    now_ns: i64,
) -> Vec<Result<NormalizedProfile, Error>> {
    let mut results = Vec::new();
    for series in request.series {
        let mut labels = Labels::new(series.labels.into_iter().map(|pair| (pair.name, pair.value)));
        // Before the labels of samples are looked at, which may have one of that name.
        labels.set_if_absent(labels::SERVICE, UNKNOWN_SERVICE);
        for sample in series.samples {
            results.push(one(&labels, &sample, config, now_ns));
        }
    }
    if results.is_empty() {
        results.push(Err(Error::NoProfiles));
    }
    results
}

fn one(
    labels: &Labels,
    sample: &push::RawSample,
    config: &Config,
    now_ns: i64,
) -> Result<NormalizedProfile, Error> {
    let profile = pprof::decode(&sample.raw_profile, config.max_profile_bytes)
        .map_err(|source| Error::Profile { labels: labels.clone(), source })?;
    normalize::normalize(&profile, labels, profile_id(&sample.id), config, now_ns)
}

/// A UUID's bits; other texts are hashed (FNV-1a), for all that counts is that a retry gives the same.
fn profile_id(text: &str) -> Option<u128> {
    if text.is_empty() {
        return None;
    }
    let digits: String = text.chars().filter(|char| *char != '-').collect();
    if digits.len() == 32
        && let Ok(id) = u128::from_str_radix(&digits, 16)
    {
        return Some(id);
    }
    let hash = |hash: u128, byte: u8| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    };
    Some(text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, hash))
}
