//! Damaged files: no panic, no unbounded time, and a table that is valid whatever they say.

use std::time::{Duration, Instant};

use super::{Random, SAMPLE};
use crate::unwind::elf::Elf;
use crate::unwind::{Table, build};

/// How long the test tries, and how long one file may take on a machine with much else to do: without bounds they take hours.
const TRIES_FOR: Duration = Duration::from_secs(3);
const AT_MOST: Duration = Duration::from_mins(1);

/// Changes some bytes, most of them where it matters: in headers, and in the sections that are parsed.
fn damage(data: &mut Vec<u8>, places: &[std::ops::Range<usize>], random: &mut Random) {
    for _ in 0..=random.below(12) {
        let place = &places[random.below(places.len())];
        let at = place.start + random.below(place.len());
        let value = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => data[at] ^ (1 << random.below(8)),
            _ => random.next() as u8,
        };
        // Whole numbers, too: lengths and counts are four or eight bytes.
        let n = [1, 1, 4, 8][random.below(4)].min(data.len() - at);
        data[at..at + n].fill(value);
    }
    if random.below(8) == 0 {
        data.truncate(random.below(data.len()));
    }
}

/// The sections that are parsed, and the headers.
fn places(data: &[u8]) -> Vec<std::ops::Range<usize>> {
    let elf = Elf::parse(data).unwrap();
    let start = data.as_ptr() as usize;
    let mut found = vec![0..64.min(data.len()), 64..1024.min(data.len())];
    for name in [&b".eh_frame"[..], b".eh_frame_hdr", b".gopclntab", b".debug_frame", b".dynamic"] {
        if let Some(std::borrow::Cow::Borrowed(bytes)) =
            elf.section(name).map(|section| section.data)
        {
            let from = bytes.as_ptr() as usize - start;
            found.push(from..from + bytes.len());
            // The first entries decide about the rest.
            found.push(from..from + bytes.len().min(512));
        }
    }
    found
}

#[test]
fn damaged_files() {
    let mut random = Random(0x5eed);
    let files: Vec<Vec<u8>> = SAMPLE
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .filter(|data| data.len() < 400 << 10)
        .collect();
    assert!(!files.is_empty(), "no ELF files were found");
    let begun = Instant::now();
    let mut n_tables = 0;
    let mut n = 0;
    while begun.elapsed() < TRIES_FOR {
        let whole = &files[n % files.len()];
        n += 1;
        let mut data = whole.clone();
        damage(&mut data, &places(whole), &mut random);
        let begun = Instant::now();
        if let Ok((table, _)) = build(&data, None) {
            n_tables += 1;
            assert!(Table::decode(&table.encode()) == Ok(table), "file {n}");
        }
        assert!(begun.elapsed() < AT_MOST, "file {n} took {:?}", begun.elapsed());
    }
    println!("{n} damaged files, {n_tables} tables");
    assert!(n_tables > 0);
}

/// Every function runs a long common entry again; every length, count and loop is as large as it may be said.
#[test]
fn amplification_is_bounded() {
    let mut frame = Vec::new();
    let mut common = b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01".to_vec();
    // A megabyte of DW_CFA_nop.
    common.resize(1 << 20, 0);
    frame.extend((common.len() as u32 + 4).to_le_bytes());
    frame.extend(0_u32.to_le_bytes());
    frame.extend(&common);
    for _ in 0..100_000 {
        frame.extend(16_u32.to_le_bytes());
        frame.extend((frame.len() as u32).to_le_bytes());
        frame.extend(0_u32.to_le_bytes());
        frame.extend(16_u32.to_le_bytes());
        frame.extend([0; 4]);
    }
    let data = super::made_by_hand::with_eh_frame(&frame);
    let begun = Instant::now();
    build(&data, None).unwrap();
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
}
