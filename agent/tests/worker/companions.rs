//! Stripped programs have their names by the files, sections and tables that are left.

use std::collections::HashMap;
use std::sync::Arc;

use agent::process::Executable;
use agent::symbolize::{Config, SymbolizedFrame};

use crate::fixture::{C_SOURCE, Program, Subject, Test, open, say, skip, tool};
use crate::programs::{addr2line, ours};

pub(crate) const TESTS: &[Test] = &[
    ("debug_link_is_followed", debug_link_is_followed),
    ("debug_link_by_checksum", debug_link_by_checksum),
    ("wrong_debug_file_is_refused", wrong_debug_file_is_refused),
    ("system_debug_files_are_found", system_debug_files_are_found),
    ("supplementary_file_is_read", supplementary_file_is_read),
    ("mini_debug_info_is_read", mini_debug_info_is_read),
    ("split_units_are_read", split_units_are_read),
    ("package_of_split_units_is_read", package_of_split_units_is_read),
    ("go_names_do_not_need_symbols", go_names_do_not_need_symbols),
    ("time_that_is_up_costs_lines_for_now", time_that_is_up_costs_lines_for_now),
];

type Places = HashMap<u64, Vec<(String, String)>>;

fn path(program: &Program) -> &str {
    program.path.to_str().expect("UTF-8")
}

/// What binutils say of every third address of the functions, while the program is whole.
fn expected(program: &Program, functions: &[&str]) -> Places {
    let symbols = program.symbols();
    let addresses = functions.iter().flat_map(|function| {
        let (start, size) = symbols[*function];
        (start..start + size).step_by(3)
    });
    addresses.map(|address| (address, addr2line(path(program), address))).collect()
}

fn check(subject: &mut Subject, program: &Program, expected: &Places) {
    let executable = open(&program.path);
    for (address, places) in expected {
        let frame = name(subject, program, &executable, *address);
        assert_eq!(bare(&ours(&frame)), bare(places), "at {address:#x}");
    }
}

/// Without the folders, which tools join in different ways.
fn bare(places: &[(String, String)]) -> Vec<(String, String)> {
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    places.iter().map(|(function, place)| (function.clone(), base(place))).collect()
}

fn name(
    subject: &mut Subject,
    program: &Program,
    executable: &Arc<Executable>,
    address: u64,
) -> Arc<SymbolizedFrame> {
    subject.name_offsets(executable, &[program.offset_of(address)]).remove(0)
}

/// Moves debug information and symbols out of the program into `debug`, and links there.
fn detach(program: &Program, debug: &str) {
    let link = format!("--add-gnu-debuglink={debug}");
    for arguments in [
        &["--only-keep-debug", path(program), debug][..],
        &["--strip-all", path(program)],
        &[&link, path(program)],
    ] {
        tool("objcopy", arguments).expect("objcopy is part of binutils");
    }
}

fn debug_link_is_followed() {
    let Some(program) = Program::c(&["-g", "-O2", "-Wl,--build-id=sha1"]) else { return };
    let expected = expected(&program, &["leaf", "caller"]);
    let folder = program.path.parent().expect("a folder").join(".debug");
    std::fs::create_dir(&folder).expect("creating");
    detach(&program, folder.join("x.debug").to_str().expect("UTF-8"));
    check(&mut Subject::new(), &program, &expected);
}

fn debug_link_by_checksum() {
    let flags = ["-g", "-O2", "-Wl,--build-id=none", "-gz=zlib"];
    let Some(program) = Program::c(&flags) else { return };
    let expected = expected(&program, &["leaf"]);
    let debug = format!("{}.debug", path(&program));
    detach(&program, &debug);
    check(&mut Subject::new(), &program, &expected);
    let mut bytes = std::fs::read(&debug).expect("it was written");
    bytes.push(0);
    std::fs::write(&debug, bytes).expect("writing");
    let address = *expected.keys().next().expect("some address");
    let frame = name(&mut Subject::new(), &program, &open(&program.path), address);
    assert!(frame.miss.is_some(), "the checksum is another's: {frame:?}");
}

/// A file with another build id stands where the debug file should.
fn wrong_debug_file_is_refused() {
    let build = |id| Program::c(&["-g", "-O2", id]);
    let (Some(program), Some(other)) =
        (build("-Wl,--build-id=0xaaaaaaaa01"), build("-Wl,--build-id=0xaaaaaaaa02"))
    else {
        return;
    };
    let (address, _) = program.symbols()["leaf"];
    let debug = format!("{}.debug", path(&program));
    detach(&program, &debug);
    detach(&other, &debug);
    let frame = name(&mut Subject::new(), &program, &open(&program.path), address);
    assert!(frame.miss.is_some(), "{frame:?}");
}

/// Debian's libc6-dbg, which is compressed and shares parts with others.
fn system_debug_files_are_found() {
    let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    let notes = tool("readelf", &["-n", libc]).unwrap_or_default();
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    let id = id.map(str::to_owned).unwrap_or_default();
    let debug = format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    if !std::path::Path::new(&debug).exists() {
        return skip("libc6-dbg is not installed");
    }
    let listing = tool("nm", &["-D", "--defined-only", libc]).unwrap_or_default();
    let address = |name: &str| {
        let line = listing.lines().find(|line| line.ends_with(name)).expect("libc has it");
        u64::from_str_radix(line.split(' ').next().expect("an address"), 16).expect("hex")
    };
    let mut subject = Subject::new();
    let program = Program::at(libc);
    let executable = open(&program.path);
    for symbol in [" qsort@@GLIBC_2.2.5", " puts@@GLIBC_2.2.5", " regcomp@@GLIBC_2.2.5"] {
        for address in [address(symbol) + 4, address(symbol) + 60] {
            let frame = name(&mut subject, &program, &executable, address);
            let theirs = addr2line(&debug, address);
            assert_eq!(bare(&ours(&frame)), bare(&theirs), "{symbol} at {address:#x}");
            assert!(theirs[0].1.contains(".c:"), "{theirs:?}");
        }
    }
}

fn supplementary_file_is_read() {
    let text =
        format!("{C_SOURCE}\nint other_main(int argc, char **argv) {{ return main(argc, argv); }}");
    let flags = ["-g", "-O2", "-Wl,--build-id=sha1"];
    let (Some(program), Some(other)) =
        (Program::c(&flags), Program::build("gcc", "work.c", &text, &flags))
    else {
        return;
    };
    let expected = expected(&program, &["leaf", "caller"]);
    let common = format!("{}.common", path(&program));
    let multi = ["-m", &common, "-M", &common, path(&program), path(&other)];
    if tool("dwz", &multi).is_none() || !std::path::Path::new(&common).exists() {
        return skip("dwz is missing or finds nothing in common");
    }
    let file = std::fs::read(&program.path).expect("it is there");
    assert!(file.windows(17).any(|window| window == b".gnu_debugaltlink"), "dwz has linked");
    check(&mut Subject::new(), &program, &expected);
}

fn mini_debug_info_is_read() {
    let Some(program) = Program::c(&["-O2"]) else { return };
    let symbols = program.symbols();
    let mini = format!("{}.mini", path(&program));
    tool("objcopy", &["--only-keep-debug", path(&program), &mini]).expect("objcopy");
    if tool("xz", &["--force", &mini]).is_none() {
        return skip("xz is missing");
    }
    tool("strip", &["--strip-all", path(&program)]).expect("strip");
    let section = format!(".gnu_debugdata={mini}.xz");
    tool("objcopy", &["--add-section", &section, path(&program)]).expect("objcopy");
    let (mut subject, executable) = (Subject::new(), open(&program.path));
    for function in ["leaf", "caller", "main"] {
        let (start, size) = symbols[function];
        let frame = name(&mut subject, &program, &executable, start + size - 1);
        assert_eq!((&*frame.functions[0].name, frame.miss), (function, None));
    }
}

fn split_units_are_read() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        // `-c` and a link apart, so that the unit's file stays.
        let Some((program, expected)) = split_program(version) else { return };
        assert!(expected.values().any(|places| places.len() == 3), "{version}: {expected:?}");
        check(&mut Subject::new(), &program, &expected);
    }
}

fn package_of_split_units_is_read() {
    // The dwp of binutils knows version 4 only, and llvm-dwp 14 never ends.
    let Some((program, expected)) = split_program("-gdwarf-4") else { return };
    let package = format!("{}.dwp", path(&program));
    if tool("dwp", &["-e", path(&program), "-o", &package]).is_none() {
        return skip("binutils' dwp is missing");
    }
    let folder = program.path.parent().expect("a folder");
    for entry in std::fs::read_dir(folder).expect("reading").flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "dwo") {
            std::fs::remove_file(entry.path()).expect("removing");
        }
    }
    check(&mut Subject::new(), &program, &expected);
}

/// A program whose debug information stays with the objects, and what binutils say of the same program with all in it.
fn split_program(version: &str) -> Option<(Program, Places)> {
    let whole = Program::c(&["-g", "-O2", version])?;
    let flags = ["-c", "-g", "-O2", version, "-gsplit-dwarf"];
    let program = Program::build("gcc", "work.c", C_SOURCE, &flags)?;
    let object = format!("{}.o", path(&program));
    std::fs::rename(&program.path, &object).expect("renaming");
    tool("gcc", &[&object, "-o", path(&program)])?;
    assert_eq!(whole.symbols()["leaf"], program.symbols()["leaf"], "the same code");
    Some((program, expected(&whole, &["leaf", "caller"])))
}

const GO_SOURCE: &str = r#"package main

import "os"

var sink uint64

func inlined(x uint64) uint64 {
	return x*31 + sink
}

//go:noinline
func outer(x uint64) uint64 {
	y := inlined(x)
	return y ^ sink
}

func main() {
	sink = outer(uint64(len(os.Args)))
	println(sink)
}
"#;

/// The runtime's table says of a stripped program what debug information says of a whole one.
fn go_names_do_not_need_symbols() {
    let whole = Program::go(GO_SOURCE, "");
    let stripped = Program::go(GO_SOURCE, "-s -w");
    let (Some(whole), Some(stripped)) = (whole, stripped) else { return };
    let symbols = whole.symbols();
    let (start, size) = symbols["main.outer"];
    let (mut subject, executable) = (Subject::new(), open(&whole.path));
    let (mut bare_subject, stripped_file) = (Subject::new(), open(&stripped.path));
    let bare_of = |frame: &SymbolizedFrame| bare(&ours(frame));
    let mut deepest = 0;
    for address in start..start + size {
        let theirs = name(&mut subject, &whole, &executable, address);
        let ours_bare = name(&mut bare_subject, &stripped, &stripped_file, address);
        assert_eq!(bare_of(&ours_bare), bare_of(&theirs), "at {address:#x}");
        deepest = deepest.max(ours_bare.functions.len());
        for function in &*ours_bare.functions {
            let known = [("main.outer", 12..=14), ("main.inlined", 8..=8)];
            let is_known = |(name, lines): &(&str, std::ops::RangeInclusive<u32>)| {
                *function.name == **name && lines.contains(&function.line)
            };
            assert!(known.iter().any(is_known), "at {address:#x}: {function:?}");
            let file = function.file.as_deref().unwrap_or_default();
            assert!(file.ends_with("/work.go"), "{file}");
        }
    }
    assert_eq!(deepest, 2, "a call was inlined");
}

/// Without time for debug information names come from symbols, and lines later.
fn time_that_is_up_costs_lines_for_now() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let symbols = program.symbols();
    let (address, _) = symbols["leaf"];
    let config = Config { cpu_percent: Some(2), ..Config::default() };
    let (mut subject, executable) = (Subject::with(config), open(&program.path));
    // The worker runs by now, so that the next answer comes soon.
    name(&mut subject, &program, &executable, symbols["caller"].0);
    subject.symbolizer.exhaust_quota();
    let first = name(&mut subject, &program, &executable, address);
    assert_eq!((&*first.functions[0].name, first.functions[0].line, first.miss), ("leaf", 0, None));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let second = name(&mut subject, &program, &executable, address);
    assert_eq!((&*second.functions[0].name, second.functions[0].line > 0), ("leaf", true));
    say("named by symbols first, by debug information later");
}
