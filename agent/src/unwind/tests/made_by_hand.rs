//! Small ELF files of which each byte is known, for what no compiler here makes.

use agent_common::unwind::rule::{Plain, Rule, Special};

use crate::unwind::{NoTable, Table, build};

/// Where the code of a made file is: in the file, and loaded. They differ, as in files by lld and mold.
const CODE_OFFSET: u64 = 0x1000;
const CODE_ADDRESS: u64 = 0x20_3000;

fn header(n_segments: u16, n_sections: u16) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend(2_u16.to_le_bytes());
    elf.extend(62_u16.to_le_bytes());
    elf.extend(1_u32.to_le_bytes());
    elf.extend(CODE_ADDRESS.to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    elf.extend(0_u64.to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    for number in [64, 56, n_segments, 64, n_sections, 0] {
        elf.extend(number.to_le_bytes());
    }
    elf
}

fn segment(kind: u32, flags: u32, offset: u64, address: u64, len: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    for number in [offset, address, address, len, len, 0x1000] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// A file with code and data, each a segment, without sections.
fn file(code: &[u8], data: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut elf = header(2 + others.len() as u16, 0);
    elf.extend(segment(1, 5, CODE_OFFSET, CODE_ADDRESS, code.len() as u64));
    elf.extend(segment(1, 4, DATA_OFFSET, DATA_ADDRESS, data.len() as u64));
    elf.extend(others.concat());
    elf.resize(CODE_OFFSET as usize, 0);
    elf.extend(code);
    elf.resize(DATA_OFFSET as usize, 0);
    elf.extend(data);
    elf
}

const DATA_OFFSET: u64 = 0x3000;
const DATA_ADDRESS: u64 = 0x40_5000;

/// A file whose `.eh_frame` has those bytes, found without sections.
pub(super) fn with_eh_frame(frame: &[u8]) -> Vec<u8> {
    let mut data = vec![1, 0x1b, 3, 0x3b];
    // The section begins 12 bytes behind this pointer, which is relative to itself.
    data.extend(12_u32.to_le_bytes());
    data.extend([0; 8]);
    data.extend(frame);
    let hdr = segment(0x6474_e550, 4, DATA_OFFSET, DATA_ADDRESS, 12);
    file(&[0x90; 64], &data, &[hdr])
}

fn table(file: &[u8]) -> Table {
    build(file, None).unwrap().0
}

fn plain(is_rbp: bool, slot: u32, cfa: u32) -> Rule {
    Rule::Plain(Plain { is_rbp, slot, cfa })
}

#[test]
fn a_signal_trampoline_is_known_by_its_code() {
    let patterns: [&[u8]; 2] = [b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", b"\xb8\x0f\0\0\0\x0f\x05"];
    for pattern in patterns {
        let mut code = vec![0x90; 64];
        code[17..17 + pattern.len()].copy_from_slice(pattern);
        let table = table(&file(&code, &[], &[]));
        for at in 0..64 {
            let is_trampoline = (16..17 + pattern.len() as u64).contains(&at);
            let expected = if is_trampoline { Special::Signal } else { Special::Unknown };
            assert_eq!(table.rule_at(CODE_OFFSET + at), Rule::Special(expected), "{at}");
        }
    }
}

/// `.eh_frame` found by `PT_GNU_EH_FRAME` alone, in a file whose addresses are not its offsets.
#[test]
fn a_file_without_sections() {
    let mut data = Vec::new();
    // A common entry: version 1, "zR", alignments 1 and -8, return address 16, pointers relative to themselves;
    // CFA = rsp + 8, return address at CFA - 8.
    data.extend(20_u32.to_le_bytes());
    data.extend(0_u32.to_le_bytes());
    data.extend(b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0");
    // A function of 32 bytes at the code's start: push rbp at 0, mov rbp, rsp at 1, and undefined r16 from 16 on.
    let entry_at = DATA_ADDRESS + 16 + data.len() as u64;
    data.extend(28_u32.to_le_bytes());
    data.extend((data.len() as u32).to_le_bytes());
    let pointer = CODE_ADDRESS.wrapping_sub(entry_at + 8) as u32;
    data.extend(pointer.to_le_bytes());
    data.extend(32_u32.to_le_bytes());
    data.extend(b"\0\x41\x0e\x10\x86\x02\x43\x0d\x06\x4c\x07\x10\0\0\0\0");
    data.extend([0; 4]);
    let table = table(&with_eh_frame(&data));
    for (range, expected) in [
        (0..1, plain(false, 0, 1)),
        (1..4, plain(false, 2, 2)),
        (4..16, plain(true, 2, 2)),
        (16..32, Rule::Special(Special::End)),
        (32..100, Rule::Special(Special::Unknown)),
    ] {
        for at in range {
            assert_eq!(table.rule_at(CODE_OFFSET + at), expected, "{at}");
        }
    }
}

/// Go's table in each of its versions, in a file without sections: a function with a frame, a frameless leaf, `goexit`.
#[test]
fn go_tables_of_all_versions() {
    for version in [2, 16, 18, 20] {
        let code_len = 0x60;
        let mut code = vec![0x90_u8; code_len];
        // sub rsp, 24; mov [rsp + 16], rbp … add rsp, 24; ret
        code[..9].copy_from_slice(b"\x48\x83\xec\x18\x48\x89\x6c\x24\x10");
        let table = table(&file(&code, &go_table(version), &[]));
        for (range, expected) in [
            (0..4, plain(false, 0, 1)),
            (4..9, plain(false, 0, 4)),
            (9..0x1c, plain(false, 2, 4)),
            (0x1c..0x20, plain(false, 0, 1)),
            (0x20..0x40, plain(false, 0, 1)),
            (0x40..0x60, Rule::Special(Special::End)),
            (0x60..0x70, Rule::Special(Special::Unknown)),
        ] {
            for at in range {
                assert_eq!(table.rule_at(CODE_OFFSET + at), expected, "version {version}, {at:#x}");
            }
        }
    }
}

/// Three functions of 32 bytes.
fn go_table(version: u8) -> Vec<u8> {
    const NAMES: &[u8] = b"main.framed\0main.leaf\0runtime.goexit\0";
    let names_at = [0, 12, 22];
    // (value + 1) zigzag, length: 0 for 4 bytes, 24 for 24, 0 for 4; then 0 for 32.
    let pc_tables = b"\0\x02\x04\x30\x18\x2f\x04\0\x02\x20\0";
    let pcsp = [1, 8, 8];
    let magic: u8 = match version {
        2 => 0xfb,
        16 => 0xfa,
        18 => 0xf0,
        _ => 0xf1,
    };
    let is_relative = version >= 18;
    let pair_len = if is_relative { 8 } else { 16 };
    let header_len = match version {
        2 => 16,
        16 => 64,
        _ => 72,
    };
    // Header, function table with its end, functions, names, tables of changes.
    let functions_at = 3 * pair_len + pair_len / 2 + if version == 2 { 4 } else { 0 };
    let base = if version == 2 { header_len } else { 0 };
    let names = header_len + functions_at + 3 * 48;
    let tables = names + NAMES.len();
    let mut bytes = vec![magic, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    bytes.extend(3_u64.to_le_bytes());
    if version != 2 {
        bytes.extend(0_u64.to_le_bytes());
        if is_relative {
            bytes.extend(CODE_ADDRESS.to_le_bytes());
        }
        for part in [names, names, names, tables, header_len] {
            bytes.extend((part as u64).to_le_bytes());
        }
    }
    assert_eq!(bytes.len(), header_len);
    for index in 0..4_u64 {
        let function = (base + functions_at) as u64 + index * 48;
        if is_relative {
            bytes.extend((index as u32 * 32).to_le_bytes());
            bytes.extend((function as u32).to_le_bytes());
        } else {
            bytes.extend((CODE_ADDRESS + index * 32).to_le_bytes());
            bytes.extend(function.to_le_bytes());
        }
    }
    bytes.truncate(header_len + functions_at);
    bytes.resize(header_len + functions_at, 0);
    for index in 0..3_usize {
        let mut function = Vec::new();
        if is_relative {
            function.extend((index as u32 * 32).to_le_bytes());
        } else {
            function.extend((CODE_ADDRESS + index as u64 * 32).to_le_bytes());
        }
        let offset = |part: usize, at: usize| (at + if version == 2 { part } else { 0 }) as u32;
        for number in [offset(names, names_at[index]), 0, 0, offset(tables, pcsp[index])] {
            function.extend(number.to_le_bytes());
        }
        function.resize(48, 0);
        // From 1.17 on `goexit` says itself that it is the outermost.
        let flags_at = if version == 18 { 37 } else { 41 };
        function[flags_at] = u8::from(index == 2 && version != 2);
        bytes.extend(function);
    }
    bytes.extend(NAMES);
    bytes.extend(pc_tables);
    bytes
}

#[test]
fn files_without_a_table() {
    assert_eq!(build(b"", None).unwrap_err(), NoTable::NotElf);
    assert_eq!(build(b"#!/bin/sh\n", None).unwrap_err(), NoTable::NotElf);
    let whole = file(&[0x90; 16], &[], &[]);
    assert!(build(&whole, None).unwrap().0.is_empty());
    let mut class32 = whole.clone();
    class32[4] = 1;
    assert_eq!(build(&class32, None).unwrap_err(), NoTable::Class32);
    let mut arm = whole.clone();
    arm[18] = 183;
    assert_eq!(build(&arm, None).unwrap_err(), NoTable::OtherMachine);
    let mut beyond = whole;
    beyond[0x20..0x28].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(build(&beyond, None).unwrap_err(), NoTable::Malformed);
}
