//! protojson: bytes of a JSON object -> message, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads one message. A member that is null counts as absent, as protojson has it; unknown members are ignored.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    from_value(serde_json::from_slice(body)?)
}

/// The same from what was parsed already.
pub fn from_value<T: DeserializeOwned>(mut value: Value) -> Result<T, serde_json::Error> {
    drop_nulls(&mut value);
    serde_json::from_value(value)
}

/// Writes one message: lowerCamel names, 64-bit integers as strings, zero fields left out.
pub fn to_vec<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(message)
}

// The depth is bounded: serde_json refuses nesting beyond 128.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
