//! Rows from `.gopclntab` against the `.debug_frame` that Go's linker writes for the same functions, which says the CFA but
//! not where rbp is; and headers of all versions made by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_common::unwind::rule::{General, Plain, Rbp, Rule, Special};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, LittleEndian, UnwindContext, UnwindSection,
    X86_64,
};
use object::{Object, ObjectSymbol};

use crate::unwind::build;
use crate::unwind::elf::Elf;

const PROGRAM: &str = r#"package main

import ("fmt"; "os"; "sort"; "strings"; "time")

//go:noinline
func leaf(n int) int { return n*3 + 1 }

func main() {
	words := strings.Fields("the quick brown fox")
	sort.Slice(words, func(i, j int) bool { return words[i] < words[j] })
	defer func() { recover() }()
	go func() { time.Sleep(time.Millisecond) }()
	fmt.Fprintln(os.Stderr, words, leaf(len(words)))
}
"#;

/// A Go program, or why there is none.
fn build_program(folder: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf, String> {
    std::fs::write(folder.join("main.go"), PROGRAM).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test's own compiler")]
    let output = Command::new("go")
        .args(["build", "-o", name])
        .args(arguments)
        .arg("main.go")
        .env("CGO_ENABLED", "0")
        .current_dir(folder)
        .output()
        .map_err(|err| err.to_string())?;
    if output.status.success() {
        Ok(folder.join(name))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// CFA by (register, offset), as `.debug_frame` says it and as a rule says it.
fn cfa_of(rule: Rule) -> Option<(u32, i64)> {
    match rule {
        Rule::Plain(Plain { is_rbp, cfa, .. }) => {
            Some((if is_rbp { 6 } else { 7 }, i64::from(cfa) * 8))
        }
        Rule::General(General { register, offset, .. }) => Some((register, offset.into())),
        _ => None,
    }
}

fn saves_rbp(rule: Rule) -> bool {
    match rule {
        Rule::Plain(Plain { slot, .. }) => slot == 2,
        Rule::General(General { rbp, .. }) => rbp == Rbp::AtCfa(-16),
        _ => false,
    }
}

/// Compares all places where `.debug_frame` has a row; `stripped` is the same program without it.
fn compare(data: &[u8], stripped: &[u8]) -> BTreeMap<&'static str, u64> {
    let file = object::File::parse(data).unwrap();
    let elf = Elf::parse(data).unwrap();
    let (table, counts) = build(stripped, None).unwrap();
    let mut found = BTreeMap::from([("Go functions", counts.go_functions)]);
    let names: BTreeMap<u64, &str> =
        file.symbols().filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?))).collect();
    let section = elf.section(b".debug_frame").unwrap();
    let mut frame = DebugFrame::new(&section.data, LittleEndian);
    frame.set_address_size(8);
    let bases = BaseAddresses::default();
    let mut entries = frame.entries(&bases);
    let mut context = UnwindContext::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(DebugFrame::cie_from_offset).unwrap();
        let Some((start, _)) = elf.code_at(fde.initial_address()) else { continue };
        let mut rows = fde.rows(&frame, &bases, &mut context).unwrap();
        while let Ok(Some(row)) = rows.next_row() {
            if row.start_address() >= row.end_address() {
                continue;
            }
            for address in [row.start_address(), row.end_address() - 1] {
                let offset = u64::from(start) + (address - fde.initial_address());
                let rule = table.rule_at(offset);
                let CfaRule::RegisterAndOffset { register, offset: cfa } = *row.cfa() else {
                    unreachable!("Go has no expressions")
                };
                let kind = match rule {
                    Rule::Special(Special::End) => "outermost functions",
                    Rule::Special(Special::Signal) => "trampolines",
                    Rule::Special(Special::StackSwitch) => "functions that leave the stack",
                    Rule::Special(Special::Unknown) if cfa == 0 => "return addresses popped",
                    _ if cfa_of(rule) == Some((register.0.into(), cfa)) => "the same CFA",
                    _ => "DIFFERENT",
                };
                if register == X86_64::RSP && cfa > 16 && kind == "the same CFA" {
                    let kind =
                        if saves_rbp(rule) { "frames with rbp" } else { "frames without rbp" };
                    *found.entry(kind).or_default() += 1;
                }
                if kind == "DIFFERENT" {
                    let name = names.range(..=address).next_back();
                    println!("{name:?} at {address:#x}: {rule:x?}, .debug_frame says {row:x?}");
                }
                *found.entry(kind).or_default() += 1;
            }
        }
    }
    found
}

#[test]
fn go_programs() {
    let folder = tempfile::tempdir().unwrap();
    let data = match build_program(folder.path(), "whole", &[]) {
        Ok(path) => std::fs::read(path).unwrap(),
        Err(why) => {
            assert!(std::env::var_os("PILOTLIGHT_REQUIRE_ALL").is_none(), "{why}");
            println!("SKIPPED: go_programs: no Go compiler: {why}");
            return;
        }
    };
    // Without symbols and DWARF, and without even the sections' names: the table is searched for.
    let stripped = build_program(folder.path(), "stripped", &["-ldflags=-s -w"]).unwrap();
    let stripped = std::fs::read(stripped).unwrap();
    let mut nameless = stripped.clone();
    nameless[0x28..0x30].fill(0);
    nameless[0x3c..0x40].fill(0);
    for other in [&data, &stripped, &nameless] {
        let found = compare(&data, other);
        println!("{found:#?}");
        assert_eq!(found.get("DIFFERENT"), None);
        assert!(found["the same CFA"] > 20_000);
        assert!(found["outermost functions"] >= 6 && found["functions that leave the stack"] > 20);
        // Assembly may have a frame without rbp.
        assert!(
            found.get("frames without rbp").copied().unwrap_or(0) * 200 < found["frames with rbp"]
        );
    }
    let pie = build_program(folder.path(), "pie", &["-buildmode=pie", "-ldflags=-s -w"]).unwrap();
    let (table, counts) = build(&std::fs::read(pie).unwrap(), None).unwrap();
    assert!(counts.go_functions > 1000 && table.n_rows() > 5000, "{counts:?}");
}
