//! Both wire versions and JSON mean the same; damage is an error.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use super::*;
use proptest::prelude::{any, proptest};

/// The sample of version 1.9.
#[derive(Clone, PartialEq, prost::Message)]
struct OldSample {
    #[prost(int32, tag = "1")]
    stack_index: i32,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(int32, repeated, tag = "3")]
    attribute_indices: Vec<i32>,
    #[prost(int32, tag = "4")]
    link_index: i32,
    #[prost(fixed64, repeated, tag = "5")]
    timestamps_unix_nano: Vec<u64>,
}

fn old(sample: &Sample) -> OldSample {
    OldSample {
        stack_index: sample.stack_index,
        values: sample.values.clone(),
        attribute_indices: sample.attribute_indices.clone(),
        link_index: sample.link_index,
        timestamps_unix_nano: sample.timestamps_unix_nano.clone(),
    }
}

fn sample(values: &[i64], attributes: &[i32], link_index: i32, timestamps: &[u64]) -> Sample {
    Sample {
        stack_index: 1,
        values: values.to_vec(),
        attribute_indices: attributes.to_vec(),
        link_index,
        timestamps_unix_nano: timestamps.to_vec(),
    }
}

fn request(samples: Vec<Sample>) -> ExportProfilesServiceRequest {
    let profile = Profile { samples, profile_id: vec![0xab; 16], ..Profile::default() };
    let scope = ScopeProfiles { profiles: vec![profile], ..ScopeProfiles::default() };
    let resource = ResourceProfiles { scope_profiles: vec![scope], ..ResourceProfiles::default() };
    ExportProfilesServiceRequest { resource_profiles: vec![resource], dictionary: None }
}

fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut message);
    message.extend(bytes);
    message
}

/// The same request as a client of version 1.9 writes it.
fn old_bytes(request: &ExportProfilesServiceRequest) -> Vec<u8> {
    let profile = &request.resource_profiles[0].scope_profiles[0].profiles[0];
    let samples: Vec<u8> = profile
        .samples
        .iter()
        .flat_map(|sample| delimited(2, &old(sample).encode_to_vec()))
        .collect();
    let rest = Profile { samples: Vec::new(), ..profile.clone() }.encode_to_vec();
    delimited(1, &delimited(2, &delimited(2, &[samples, rest].concat())))
}

#[test]
fn both_versions_are_read() {
    for samples in [
        vec![sample(&[5], &[1, 2], 0, &[])],
        vec![sample(&[5], &[], 0, &[]), sample(&[6], &[1], 3, &[])],
        vec![sample(&[5, 6], &[], 2, &[7, 8])],
        vec![sample(&[300, 1], &[], 1, &[])],
    ] {
        let request = request(samples);
        assert_eq!(decode(&request.encode_to_vec(), 1 << 20).unwrap(), request);
        assert_eq!(decode(&old_bytes(&request), 1 << 20).unwrap(), request, "of version 1.9");
    }
    // Nothing but values, or nothing but timestamps with their attributes.
    let values = request(vec![sample(&[5], &[], 0, &[])]);
    assert_eq!(decode(&old_bytes(&values), 1 << 20).unwrap(), values);
    let timestamps = request(vec![sample(&[], &[1], 0, &[9])]);
    assert_eq!(decode(&timestamps.encode_to_vec(), 1 << 20).unwrap(), timestamps);
}

#[test]
fn json_has_hexadecimal_ids_or_base64() {
    let json = r#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"profileId":"abababababababababababababababab",
        "samples":[{"stackIndex":1,"values":["5"],"attributeIndices":[1,2]}]}]}]}],"somethingNew":{"a":[1]}}"#;
    let expected = request(vec![sample(&[5], &[1, 2], 0, &[])]);
    assert_eq!(decode_json(json.as_bytes()).unwrap(), expected);
    let base64_id = json.replace(&"ab".repeat(16), "q6urq6urq6urq6urq6urqw==");
    assert_eq!(decode_json(base64_id.as_bytes()).unwrap(), expected);
    for wrong in [&b"{"[..], b"[]", br#"{"dictionary":{"linkTable":[{"traceId":"?"}]}}"#] {
        decode_json(wrong).unwrap_err();
    }
    for (bytes, text) in [
        (&b""[..], ""),
        (b"f", "Zg=="),
        (b"fo", "Zm8="),
        (b"foo", "Zm9v"),
        (b"\xff\xfe\xfd\xfc", "//79/A=="),
    ] {
        assert_eq!(base64(bytes), text);
    }
}

#[test]
fn empty_messages_cannot_fill_the_memory() {
    let many = |path: &[u8]| {
        let empty = [0x12_u8, 0].repeat(1 << 19);
        path.iter().rev().fold(empty, |inner, number| delimited(*number, &inner))
    };
    for path in [&[2][..], &[1, 2], &[1, 2, 2], &[1, 1]] {
        assert!(matches!(decode(&many(path), 1 << 20), Err(Error::TooDense { .. })), "{path:?}");
    }
    let packed = [0x32_u8, 0].repeat(1 << 19);
    let nested = delimited(2, &delimited(6, &delimited(2, &packed)));
    assert!(matches!(decode(&nested, 1 << 20), Err(Error::TooDense { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(body: Vec<u8>) {
        drop(decode(&body, 1 << 20));
    }

    #[test]
    fn damaged_requests_are_a_request_or_an_error(flips in proptest::collection::vec((any::<usize>(), 0_u8..8), 1..4)) {
        let mut body = old_bytes(&request(vec![sample(&[5], &[1, 2], 3, &[4])]));
        for (at, bit) in flips {
            let len = body.len();
            body[at % len] ^= 1 << bit;
        }
        drop(decode(&body, 1 << 20));
    }
}
