//! Steps over stacks made by hand, and look-ups in tables made by hand.

use super::registers::{IN_LEAF, N_REGISTERS, Registers, UNKNOWN, rip_at, saved_at};
use super::rule::{
    Deref, General, MAX_CFA, MAX_SHARED, MAX_SLOT, NEVER, PackedRule, Plain, Rbp, ReturnAddress,
    Rule, Run, SharedRule, Special,
};
use super::step::Stepped;
use super::table::{
    CHUNK_WORDS, Chunk, DirectoryEntry, MAX_ROWS_IN_PAGE, Row, TableHeader, find, search,
    shared_rule, sign,
};
use crate::outcome::UnwindOutcome;

const STACK: u64 = 0x7ffc_0000_1000;
const CODE: u64 = 0x40_1000;
const SAVED_RBP: u64 = 0x7ffc_0000_2000;

/// A stack of which only the given words can be read; addresses are offsets from [`STACK`].
fn memory(words: &[(u64, u64)]) -> impl FnMut(u64) -> Option<u64> + '_ {
    |address| words.iter().find(|word| STACK + word.0 == address).map(|word| word.1)
}

/// The step by a rule, in the form that it has in a table.
fn step(regs: &mut Registers, rule: Rule, read: impl FnMut(u64) -> Option<u64>) -> Stepped {
    let shared = match rule {
        Rule::General(general) => SharedRule::general(general),
        Rule::Deref(deref) => SharedRule::deref(deref),
        Rule::Plt { threshold } => SharedRule::plt(threshold),
        Rule::Plain(_) | Rule::Special(_) => SharedRule::plt(0),
    };
    let packed = match rule {
        Rule::Plain(Plain { is_rbp, slot, cfa }) => PackedRule::plain(is_rbp, slot, cfa).unwrap(),
        Rule::Special(special) => PackedRule::special(special),
        _ => PackedRule::shared(7).unwrap(),
    };
    super::step::step(regs, packed, 0, |index| (index == 7).then_some(shared), read)
}

fn leaf() -> Registers {
    let mut leaf = [0; N_REGISTERS];
    leaf[10] = STACK + 0x40;
    leaf[3] = CODE + 7;
    Registers { rip: 0x40_0000, rsp: STACK, rbp: STACK + 0x20, is_exact: 1, others: IN_LEAF, leaf }
}

fn caller_of(regs: Registers, rip: u64, rsp: u64, rbp: u64) -> Registers {
    Registers { rip, rsp, rbp, is_exact: 0, others: UNKNOWN, leaf: regs.leaf }
}

fn general(register: u32, offset: i32, rbp: Rbp, return_address: ReturnAddress) -> Rule {
    Rule::General(General { register, offset, rbp, return_address })
}

/// The rule leads to a caller with these rip, rsp (from [`STACK`]) and rbp.
#[track_caller]
fn check(regs: Registers, rule: Rule, words: &[(u64, u64)], rip: u64, rsp: u64, rbp: u64) {
    let mut after = regs;
    assert_eq!(step(&mut after, rule, memory(words)), Stepped::Caller, "{rule:?}");
    assert_eq!(after, caller_of(regs, rip, STACK + rsp, rbp), "{rule:?}");
}

#[track_caller]
fn check_end(regs: Registers, rule: Rule, words: &[(u64, u64)], expected: Stepped) {
    assert_eq!(step(&mut regs.clone(), rule, memory(words)), expected, "{rule:?}");
}

#[test]
fn plain_rules() {
    let rbp = leaf().rbp;
    let plain = |is_rbp, slot, cfa| Rule::Plain(Plain { is_rbp, slot, cfa });
    check(leaf(), plain(false, 0, 1), &[(0, CODE)], CODE, 8, rbp);
    check(leaf(), plain(false, 0, 6), &[(40, CODE)], CODE, 48, rbp);
    check(leaf(), plain(false, 3, 6), &[(40, CODE), (24, SAVED_RBP)], CODE, 48, SAVED_RBP);
    check(leaf(), plain(true, 2, 2), &[(0x28, CODE), (0x20, 0)], CODE, 0x30, 0);
}

#[test]
fn general_rules() {
    let (rbp, at_minus_8) = (leaf().rbp, ReturnAddress::AtCfa(-8));
    check(leaf(), general(10, 8, Rbp::Unchanged, at_minus_8), &[(0x40, CODE)], CODE, 0x48, rbp);
    let words = [(0x40, CODE), (0x28, SAVED_RBP)];
    check(leaf(), general(7, 0x48, Rbp::AtCfa(-0x20), at_minus_8), &words, CODE, 0x48, SAVED_RBP);
    check(
        leaf(),
        general(7, 0x48, Rbp::AtRegister(6, 8), at_minus_8),
        &words,
        CODE,
        0x48,
        SAVED_RBP,
    );
    check(
        leaf(),
        general(7, 0x48, Rbp::InRegister(10), at_minus_8),
        &words,
        CODE,
        0x48,
        STACK + 0x40,
    );
    check(leaf(), general(7, 0x48, Rbp::Unknown, at_minus_8), &words, CODE, 0x48, 1);
    let at = ReturnAddress::AtCfa(-16);
    check(leaf(), general(7, 0x50, Rbp::Unchanged, at), &words, CODE, 0x50, rbp);
    // The return address was popped: nothing is left of the frame.
    check(
        leaf(),
        general(7, 0, Rbp::Unchanged, ReturnAddress::InRegister(3)),
        &[],
        CODE + 7,
        0,
        rbp,
    );
    // A negative offset from rbp.
    check(leaf(), general(6, -8, Rbp::Unchanged, at_minus_8), &[(0x10, CODE)], CODE, 0x18, rbp);
}

#[test]
fn aligned_and_openssl_frames() {
    // The CFA was stored at rbp - 8 before the stack was aligned; rbp is saved where rbp points.
    let drap = Rule::Deref(Deref { register: 6, offset: -8, add: 0, rbp: Rbp::AtRegister(6, 0) });
    let words = [(0x18, STACK + 0x80), (0x78, CODE), (0x20, SAVED_RBP)];
    check(leaf(), drap, &words, CODE, 0x80, SAVED_RBP);
    let openssl = Rule::Deref(Deref { register: 7, offset: 0x10, add: 8, rbp: Rbp::AtCfa(-16) });
    let words = [(0x10, STACK + 0x80), (0x80, CODE), (0x78, SAVED_RBP)];
    check(leaf(), openssl, &words, CODE, 0x88, SAVED_RBP);
    check_end(leaf(), openssl, &[], Stepped::Failed(UnwindOutcome::StackFault));
}

#[test]
fn procedure_linkage_tables() {
    let rule = Rule::Plt { threshold: 11 };
    let mut regs = leaf();
    for (rip, rsp) in [(0x40_1020, 8), (0x40_102a, 8), (0x40_102b, 16), (0x40_102f, 16)] {
        regs.rip = rip;
        check(regs, rule, &[(0, CODE), (8, CODE)], CODE, rsp, regs.rbp);
    }
}

#[test]
fn signal_frames_lead_to_what_was_interrupted() {
    let mut words = std::vec![(rip_at(0), CODE), (saved_at(0, 7), 0x7f00_0000_0000)];
    words.extend([(saved_at(0, 6), SAVED_RBP), (saved_at(0, 10), STACK + 0x30), (0x28, CODE + 1)]);
    let mut regs = Registers { others: UNKNOWN, is_exact: 0, ..leaf() };
    assert_eq!(step(&mut regs, Rule::Special(Special::Signal), memory(&words)), Stepped::Caller);
    let interrupted = Registers {
        rip: CODE,
        rsp: 0x7f00_0000_0000,
        rbp: SAVED_RBP,
        is_exact: 1,
        others: STACK,
        leaf: regs.leaf,
    };
    assert_eq!(regs, interrupted);
    // The interrupted frame may need any register: they are where the kernel has saved them.
    regs.rsp = STACK;
    let rule = general(10, 0, Rbp::Unchanged, ReturnAddress::AtCfa(-8));
    check(regs, rule, &words, CODE + 1, 0x30, SAVED_RBP);
    check_end(
        regs,
        Rule::Special(Special::Signal),
        &[],
        Stepped::Failed(UnwindOutcome::StackFault),
    );
}

#[test]
fn frame_pointers_where_nothing_else_is_known() {
    let record = [(0x28, CODE), (0x20, SAVED_RBP)];
    for special in [Special::Unknown, Special::UnsupportedCfa, Special::StackSwitch] {
        check(leaf(), Rule::Special(special), &record, CODE, 0x30, SAVED_RBP);
    }
    let outermost = Registers { rbp: 0, ..leaf() };
    check_end(outermost, Rule::Special(Special::Unknown), &[], Stepped::End);
    let below = Registers { rsp: STACK + 0x1000, ..leaf() };
    let failed = |outcome| Stepped::Failed(outcome);
    let invalid = failed(UnwindOutcome::FramePointerInvalid);
    check_end(below, Rule::Special(Special::Unknown), &record, invalid);
    let unsupported = failed(UnwindOutcome::RuleUnsupported);
    check_end(below, Rule::Special(Special::UnsupportedReturnAddress), &record, unsupported);
    // Another stack may lie anywhere.
    check(below, Rule::Special(Special::StackSwitch), &record, CODE, 0x30, SAVED_RBP);
}

#[test]
fn ends_and_failures() {
    let failed = |outcome| Stepped::Failed(outcome);
    let entry = Rule::Plain(Plain { is_rbp: false, slot: 0, cfa: 1 });
    check_end(leaf(), Rule::Special(Special::End), &[], Stepped::End);
    check_end(leaf(), entry, &[(0, 0)], Stepped::End);
    check_end(leaf(), entry, &[], failed(UnwindOutcome::StackFault));
    for not_code in [1, 4095, 1 << 47, u64::MAX] {
        let expected = failed(UnwindOutcome::ReturnAddressInvalid);
        check_end(leaf(), entry, &[(0, not_code)], expected);
    }
    // The saved rbp is not resident.
    let saved = Rule::Plain(Plain { is_rbp: false, slot: 2, cfa: 6 });
    check_end(leaf(), saved, &[(40, CODE)], failed(UnwindOutcome::StackFault));
    // A CFA must rise, or a wrong rule would turn in a circle.
    let by_rbp = Rule::Plain(Plain { is_rbp: true, slot: 2, cfa: 2 });
    let record = [(0x28, CODE), (0x20, SAVED_RBP)];
    let at_cfa = Registers { rsp: STACK + 0x30, ..leaf() };
    check_end(at_cfa, by_rbp, &record, failed(UnwindOutcome::CfaInvalid));
    let no_cfa = Rule::Plain(Plain { is_rbp: false, slot: 0, cfa: 0 });
    check_end(leaf(), no_cfa, &[], failed(UnwindOutcome::CfaInvalid));
    let far = Registers { rsp: u64::MAX - 3, ..leaf() };
    check_end(far, entry, &[], failed(UnwindOutcome::CfaInvalid));
    // Registers that nobody knows.
    let lost = Registers { rbp: 1, ..leaf() };
    check_end(lost, by_rbp, &record, failed(UnwindOutcome::RegisterUnknown));
    let caller = Registers { others: UNKNOWN, ..leaf() };
    let at_minus_8 = ReturnAddress::AtCfa(-8);
    let by_r10 = general(10, 8, Rbp::Unchanged, at_minus_8);
    check_end(caller, by_r10, &[], failed(UnwindOutcome::RegisterUnknown));
    // A caller's rbp at a register that is unknown: the step succeeds, rbp is lost.
    let rule = general(7, 0x30, Rbp::AtRegister(10, 0), at_minus_8);
    check(caller, rule, &record, CODE, 0x30, 1);
}

/// `push r15; push r14; push rbp; push rbx` and, with `base_at`, `mov rbp, rsp` in between.
#[test]
fn a_run_has_a_rule_for_each_byte() {
    let run = Run {
        cfa: 1,
        mask: 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5,
        shrinks: false,
        slot_before: 0,
        slot_after: 4,
        slot_at: 5,
        base_at: NEVER,
    };
    let grows = [(1, 0), (1, 0), (2, 0), (2, 0), (3, 0), (4, 4), (5, 4), (5, 4)];
    for (distance, (cfa, slot)) in grows.into_iter().enumerate() {
        let expected = Rule::Plain(Plain { is_rbp: false, slot, cfa });
        assert_eq!(SharedRule::run(run).resolve(distance as u32), expected, "{distance}");
    }
    assert_eq!(run.at(4095), Plain { is_rbp: false, slot: 4, cfa: 5 });

    let pops = Run { cfa: 5, shrinks: true, slot_before: 4, slot_after: 0, slot_at: 3, ..run };
    let shrinks = [(5, 4), (5, 4), (4, 4), (4, 0), (3, 0), (2, 0), (1, 0), (1, 0)];
    for (distance, (cfa, slot)) in shrinks.into_iter().enumerate() {
        assert_eq!(pops.at(distance as u32), Plain { is_rbp: false, slot, cfa }, "{distance}");
    }

    let framed = Run { mask: 1, slot_before: 0, slot_after: 2, slot_at: 1, base_at: 4, ..run };
    let bases = [(false, 0, 1), (false, 2, 2), (false, 2, 2), (false, 2, 2), (true, 2, 2)];
    for (distance, (is_rbp, slot, cfa)) in bases.into_iter().enumerate() {
        assert_eq!(framed.at(distance as u32), Plain { is_rbp, slot, cfa }, "{distance}");
    }
    // The last byte that a mask can name.
    let longest = Run { mask: 1 << 31, slot_at: 0, ..run };
    assert_eq!([31, 32, 33].map(|distance| longest.at(distance).cfa), [1, 2, 2]);
}

#[test]
fn packed_rules_say_what_went_in() {
    for is_rbp in [false, true] {
        for slot in [0, 1, MAX_SLOT] {
            for cfa in [0, 1, MAX_CFA] {
                let packed = PackedRule::plain(is_rbp, slot, cfa).unwrap();
                let expected = Rule::Plain(Plain { is_rbp, slot, cfa });
                assert_eq!(packed.resolve(|_| None, 9), Some(expected));
                assert!(packed.is_valid(0) && packed.bits() < 1 << 20);
            }
        }
    }
    assert_eq!(PackedRule::plain(false, MAX_SLOT + 1, 1), None);
    assert_eq!(PackedRule::plain(false, 0, MAX_CFA + 1), None);
    assert_eq!(PackedRule::shared(MAX_SHARED), None);
    for special in Special::ALL {
        let packed = PackedRule::special(special);
        assert_eq!(packed.resolve(|_| None, 0), Some(Rule::Special(special)));
        assert!(packed.is_valid(0));
    }
    let shared = PackedRule::shared(MAX_SHARED - 1).unwrap();
    assert_eq!(shared.shared_index(), Some(MAX_SHARED - 1));
    assert!(shared.is_valid(MAX_SHARED) && !shared.is_valid(MAX_SHARED - 1));
    assert_eq!(shared.resolve(|_| None, 0), None);
    assert!(!PackedRule::from_low_bits(3 << 18).is_valid(MAX_SHARED));
    assert!(!PackedRule::from_low_bits(2 << 18 | 7).is_valid(MAX_SHARED));
}

#[test]
fn shared_rules_say_what_went_in() {
    let rbps = [
        Rbp::Unchanged,
        Rbp::AtCfa(-16),
        Rbp::AtRegister(15, i32::MIN),
        Rbp::InRegister(8),
        Rbp::Unknown,
    ];
    for rbp in rbps {
        for return_address in [ReturnAddress::AtCfa(-8), ReturnAddress::InRegister(15)] {
            let general = General { register: 15, offset: i32::MIN, rbp, return_address };
            let packed = SharedRule::general(general);
            assert_eq!(packed.resolve(3), Rule::General(general));
            assert!(packed.is_valid() && !packed.is_run());
        }
        let deref = Deref { register: 10, offset: -8, add: 8, rbp };
        assert_eq!(SharedRule::deref(deref).resolve(0), Rule::Deref(deref));
        assert!(SharedRule::deref(deref).is_valid());
    }
    assert_eq!(SharedRule::plt(11).resolve(0), Rule::Plt { threshold: 11 });
    assert!(SharedRule::plt(15).is_valid());
    let run = Run {
        cfa: 9,
        mask: 0x8000_0101,
        shrinks: true,
        slot_before: 31,
        slot_after: 0,
        slot_at: 200,
        base_at: 7,
    };
    assert!(SharedRule::run(run).is_valid() && SharedRule::run(run).is_run());
    assert!(!SharedRule::run(Run { cfa: 2, ..run }).is_valid(), "the CFA would fall below 0");
    for invalid in
        [[4, 0, 0, 0], [2, 1, 0, 0], [3 | 32 << 8, 0, 0, 0], [3, 0, 0, 1], [0x500, 0, 0, 1]]
    {
        let is_valid = SharedRule(invalid).is_valid();
        assert_eq!(is_valid, invalid == [0x500, 0, 0, 1], "{invalid:x?}");
    }
}

fn plain(cfa: u32) -> PackedRule {
    PackedRule::plain(false, 0, cfa).unwrap()
}

#[test]
fn a_search_finds_the_row_in_effect() {
    for n_rows in [0, 1, 2, 3, 100, 1000, MAX_ROWS_IN_PAGE] {
        let gap = MAX_ROWS_IN_PAGE / n_rows.max(1);
        let row = |index| {
            assert!(index < n_rows, "{index} of {n_rows} rows");
            Row::new((index + 1) * gap, plain((index + 1) & MAX_CFA))
        };
        for offset in 0..4096 {
            let number = (offset / gap).min(n_rows);
            let distance = if number == 0 { 0 } else { offset - number * gap };
            assert_eq!(
                search(n_rows, plain(0), offset, row, sign),
                (plain(number & MAX_CFA), distance),
                "{n_rows} rows, offset {offset}"
            );
        }
    }
}

#[test]
fn directory_entries_say_what_went_in() {
    let entry = DirectoryEntry {
        chunk: 0xfedc,
        first_row: 0x3210,
        n_rows: MAX_ROWS_IN_PAGE,
        rule_before: PackedRule::special(Special::End),
    };
    assert_eq!(DirectoryEntry::from_words(entry.to_words()), entry);
}

#[test]
fn a_table_is_found_by_file_offset() {
    let mut directory: std::boxed::Box<Chunk> = std::vec![0; CHUNK_WORDS].try_into().unwrap();
    let mut rows = directory.clone();
    let run = Run {
        cfa: 1,
        mask: 1,
        shrinks: false,
        slot_before: 0,
        slot_after: 2,
        slot_at: 1,
        base_at: 4,
    };
    let shared = PackedRule::shared(0).unwrap();
    // Page 3 has two rows, page 4 none.
    let entry = DirectoryEntry { chunk: 8, first_row: 40, n_rows: 2, rule_before: plain(7) };
    directory[20..22].copy_from_slice(&entry.to_words());
    let end = DirectoryEntry { n_rows: 0, rule_before: PackedRule::special(Special::End), ..entry };
    directory[22..24].copy_from_slice(&end.to_words());
    rows[40..42].copy_from_slice(&[Row::new(0x100, shared).0, Row::new(0x200, plain(9)).0]);
    rows[4 * 5..4 * 6].copy_from_slice(&SharedRule::run(run).0);
    let mut header = TableHeader {
        first_page: 3,
        n_pages: 2,
        first_entry: 10,
        first_shared: 5,
        directory: [7; 64],
        shared: [8; 64],
    };
    let look_up = |header: &TableHeader, offset| {
        let chunk = |number| match number {
            7 => Some(&*directory),
            8 => Some(&*rows),
            _ => None,
        };
        let (rule, distance) = find(header, offset, chunk, sign)?;
        rule.resolve(|index| shared_rule(header, index, chunk), distance)
    };
    let is = |is_rbp, slot, cfa| Some(Rule::Plain(Plain { is_rbp, slot, cfa }));
    let unknown = Some(Rule::Special(Special::Unknown));
    for (offset, expected) in [
        (0x2fff, unknown),
        (0x3000, is(false, 0, 7)),
        (0x30ff, is(false, 0, 7)),
        (0x3100, is(false, 0, 1)),
        (0x3101, is(false, 2, 2)),
        (0x3104, is(true, 2, 2)),
        (0x31ff, is(true, 2, 2)),
        (0x3200, is(false, 0, 9)),
        (0x3fff, is(false, 0, 9)),
        (0x4000, Some(Rule::Special(Special::End))),
        (0x4fff, Some(Rule::Special(Special::End))),
        (0x5000, unknown),
        (u64::MAX, unknown),
        (0x1000_0000_3100, unknown),
    ] {
        assert_eq!(look_up(&header, offset), expected, "{offset:#x}");
    }
    // A chunk that was given away: nothing is known, not a wrong rule.
    header.shared = [9; 64];
    assert_eq!(look_up(&header, 0x3100), None);
    header.directory = [9; 64];
    assert_eq!(look_up(&header, 0x3200), None);
}
