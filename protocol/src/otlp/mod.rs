//! Export requests of OpenTelemetry from strangers, in protobuf of either wire version or JSON -> messages.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod fields;
mod version;

use prost::Message as _;
use serde_json::Value;

pub use crate::wire::otlp::v1::{
    AnyValue, ExportProfilesPartialSuccess, ExportProfilesServiceRequest,
    ExportProfilesServiceResponse, Function, KeyValue, KeyValueAndUnit, Line, Link, Location,
    Mapping, Profile, ProfilesDictionary, Resource, ResourceProfiles, Sample, Scope, ScopeProfiles,
    Stack, Status, ValueType, any_value,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("request has more messages than {limit_bytes} bytes can hold")]
    TooDense { limit_bytes: usize },
    #[error("cannot read the request: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("cannot read the request: {0}")]
    Json(#[from] serde_json::Error),
}

/// Fails where the messages would take more than a few times `max_bytes` of memory.
pub fn decode(body: &[u8], max_bytes: usize) -> Result<ExportProfilesServiceRequest, Error> {
    fields::check_budget(body, max_bytes)?;
    let mut body = body.to_vec();
    version::upgrade(&mut body);
    Ok(ExportProfilesServiceRequest::decode(body.as_slice())?)
}

/// Ids are hexadecimal in the JSON of OpenTelemetry, and base64 as generated code has it; their lengths tell which.
pub fn decode_json(body: &[u8]) -> Result<ExportProfilesServiceRequest, Error> {
    let mut value: Value = serde_json::from_slice(body)?;
    ids_to_base64(&mut value);
    Ok(crate::json::from_value(value)?)
}

const IDS: [&str; 6] = ["profileId", "profile_id", "traceId", "trace_id", "spanId", "span_id"];

// The depth is bounded: serde_json refuses nesting beyond 128.
fn ids_to_base64(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().and_then(unhex).filter(|_| IDS.contains(&name.as_str())) {
                    Some(id) => *member = Value::String(base64(&id)),
                    None => ids_to_base64(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(ids_to_base64),
        _ => {}
    }
}

/// 8 or 16 bytes.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let id = u128::from_str_radix(text, 16).ok()?.to_be_bytes();
    match text.len() {
        32 => Some(id.to_vec()),
        16 => id.get(8..).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        let index = usize::try_from(bits & 0x3f).unwrap_or_default();
        DIGITS.get(index).map_or('=', |digit| char::from(*digit))
    };
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if index <= group.len() { digit(bits >> shift) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
