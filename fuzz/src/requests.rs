//! Bodies of requests to the server, in each of the formats that it reads.

use prost::Message as _;
use protocol::push::PushRequest;
use server::ingest::form::{self, Query};
use server::ingest::{Config, NormalizedProfile, otlp as otlp_profiles};

/// 2026-11-25.
const NOW_NS: i64 = 1_795_600_000_000_000_000;
/// Small, so that what exceeds it is found fast.
const MAX_BYTES: usize = 1 << 20;
const BOUNDARY: &str = "multipart/form-data; boundary=b";

fn config() -> Config {
    Config { max_profile_bytes: MAX_BYTES, ..Config::default() }
}

pub(crate) fn pprof(bytes: &[u8]) {
    if let Ok(profile) = protocol::pprof::decode(bytes, MAX_BYTES) {
        let again = protocol::pprof::decode(&protocol::pprof::encode(&profile), usize::MAX);
        assert!(again.is_ok_and(|again| again == profile), "what was read can be said again");
    }
    ingest("pprof", "", bytes);
}

/// The agent's own way of sending.
pub(crate) fn push(bytes: &[u8]) {
    if let Ok(request) = PushRequest::decode(bytes) {
        for result in server::ingest::push::read(request, &config(), NOW_NS) {
            result.iter().for_each(check);
        }
    }
}

pub(crate) fn otlp(bytes: &[u8]) {
    if let Ok(request) = protocol::otlp::decode(bytes, MAX_BYTES) {
        otlp_profiles::read(&request, &config(), NOW_NS).iter().flatten().for_each(check);
    }
}

pub(crate) fn otlp_json(bytes: &[u8]) {
    if let Ok(request) = protocol::otlp::decode_json(bytes) {
        otlp_profiles::read(&request, &config(), NOW_NS).iter().flatten().for_each(check);
    }
}

pub(crate) fn stacks(bytes: &[u8]) {
    ingest("lines", "", bytes);
    ingest("folded", "", bytes);
}

pub(crate) fn trie(bytes: &[u8]) {
    ingest("trie", "", bytes);
}

pub(crate) fn tree(bytes: &[u8]) {
    ingest("tree", "", bytes);
}

pub(crate) fn speedscope(bytes: &[u8]) {
    ingest("speedscope", "", bytes);
}

pub(crate) fn jfr(bytes: &[u8]) {
    ingest("jfr", "", bytes);
}

/// A form whose parts are pprofs or recordings.
pub(crate) fn form(bytes: &[u8]) {
    ingest("", BOUNDARY, bytes);
    ingest("jfr", BOUNDARY, bytes);
}

fn ingest(format: &str, content_type: &str, body: &[u8]) {
    let query = Query {
        name: "app.cpu{region=eu}".to_owned(),
        from: "1795599990".to_owned(),
        format: format.to_owned(),
        ..Query::default()
    };
    if let Ok(profiles) = form::read(&query, content_type, body, &config(), NOW_NS) {
        profiles.iter().for_each(check);
    }
}

/// What the store relies on.
fn check(profile: &NormalizedProfile) {
    for series in &profile.series {
        let is_rising = series.rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(is_rising, "rows are not in order");
        assert!(series.rows.iter().all(|(_, value)| *value > 0), "a value is not above 0");
    }
}
