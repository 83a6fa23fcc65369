//! Valid profiles come back as they were; anything else is an error, never a panic.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use super::*;
use crate::profile::{Function, Line, Location, Mapping, Sample, ValueType};
use proptest::prelude::{any, proptest};

pub(crate) fn small() -> Profile {
    Profile {
        string_table: ["", "cpu", "nanoseconds", "main", "main.rs"].map(String::from).to_vec(),
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        period_type: Some(ValueType { r#type: 1, unit: 2 }),
        period: 10_000_000,
        mapping: vec![Mapping { id: 1, has_functions: true, ..Mapping::default() }],
        function: vec![Function { id: 7, name: 3, filename: 4, ..Function::default() }],
        location: vec![Location {
            id: 9,
            mapping_id: 1,
            line: vec![Line { function_id: 7, line: 12, column: 0 }],
            ..Location::default()
        }],
        sample: vec![Sample { location_id: vec![9], value: vec![5], label: vec![] }],
        ..Profile::default()
    }
}

#[test]
fn plain_gzip_and_many_members_decode() {
    let profile = small();
    let plain = profile.encode_to_vec();
    let (front, back) = plain.split_at(plain.len() / 2);
    let members = [gzip(front), gzip(back)].concat();
    for raw in [plain.clone(), encode(&profile), members] {
        assert_eq!(decode(&raw, 1 << 20).unwrap(), profile);
    }
}

#[test]
fn output_is_bounded_while_it_is_decompressed() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert!(matches!(gunzip(&bomb, 1 << 20), Err(Error::TooLarge { limit_bytes: 0x0010_0000 })));
    assert!(matches!(gunzip(&[1, 2, 3], 2), Err(Error::TooLarge { .. })));
    assert!(matches!(gunzip(&bomb[..100], 1 << 30), Err(Error::Gzip(_))));
}

#[test]
fn empty_messages_cannot_fill_the_memory() {
    let samples: Vec<u8> = [0x12, 0x00].repeat(1 << 19);
    assert!(matches!(decode(&samples, 1 << 20), Err(Error::TooDense { .. })));
    let in_one_location = [0x22, 0x00].repeat(1 << 19);
    let location = [vec![0x22, 0x80, 0x80, 0x40], in_one_location].concat();
    assert!(matches!(decode(&location, location.len()), Err(Error::TooDense { .. })));
}

#[test]
fn each_broken_reference_is_named() {
    let check = |broken: fn(&mut Profile), message: &str| {
        let mut profile = small();
        broken(&mut profile);
        assert_eq!(
            decode(&encode(&profile), 1 << 20).unwrap_err().to_string(),
            format!("malformed profile: {message}")
        );
    };
    check(|p| p.string_table.clear(), "the first string is not empty");
    check(|p| p.string_table[0] = "x".into(), "the first string is not empty");
    check(|p| p.function[0].name = 5, "a string is out of range");
    check(|p| p.function[0].name = -1, "a string is out of range");
    check(|p| p.default_sample_type = 99, "a string is out of range");
    check(|p| p.function[0].id = 0, "a function id is 0");
    check(|p| p.mapping.push(p.mapping[0]), "a mapping id is repeated");
    check(|p| p.location[0].id = 0, "a location id is 0");
    check(|p| p.location[0].mapping_id = 2, "a location's mapping is missing");
    check(|p| p.location[0].line[0].function_id = 1, "a line's function is missing");
    check(|p| p.sample[0].location_id.push(1), "a sample's location is missing");
    check(|p| p.sample[0].value.push(1), "a sample has not one value for each sample type");
}

#[test]
fn every_flipped_bit_is_a_profile_or_an_error() {
    for raw in [small().encode_to_vec(), encode(&small())] {
        for bit in 0..raw.len() * 8 {
            let mut flipped = raw.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(profile) = decode(&flipped, 1 << 16) {
                check(&profile).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_profile_or_an_error(raw: Vec<u8>, gzipped in any::<bool>()) {
        let raw = if gzipped { gzip(&raw) } else { raw };
        if let Ok(profile) = decode(&raw, 1 << 16) {
            check(&profile).unwrap();
        }
    }
}
