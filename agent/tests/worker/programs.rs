//! Programs in several languages and layouts have the names that binutils gives them.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use agent::stack::Frame;
use agent::symbolize::{Miss, SymbolizedFrame};
use agent_common::frame::FrameKind;

use crate::fixture::{Program, Subject, Test, executable, open, skip, tool};

pub(crate) const TESTS: &[Test] = &[
    ("c_program_agrees_with_addr2line", c_program_agrees_with_addr2line),
    ("rust_program_agrees_with_addr2line", rust_program_agrees_with_addr2line),
    ("cpp_names_are_demangled", cpp_names_are_demangled),
    ("a_callers_line_is_the_calls_line", a_callers_line_is_the_calls_line),
    ("addresses_differ_from_offsets", addresses_differ_from_offsets),
    ("compressed_debug_sections_are_read", compressed_debug_sections_are_read),
    ("stripped_program_gives_visible_misses", stripped_program_gives_visible_misses),
    ("deleted_file_is_named", deleted_file_is_named),
    ("vdso_is_named", vdso_is_named),
    ("kernel_is_named", kernel_is_named),
    ("gaps_and_jit_are_visible", gaps_and_jit_are_visible),
    ("second_window_asks_nobody", second_window_asks_nobody),
];

/// What addr2line says: `(function, file:line)`, innermost first.
pub(crate) fn addr2line(path: &str, address: u64) -> Vec<(String, String)> {
    let text = tool("addr2line", &["-fiCe", path, &format!("{address:#x}")]).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let place = |place: &str| place.split(" (discriminator").next().unwrap_or_default().to_owned();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), place(pair[1]))).collect()
}

pub(crate) fn ours(frame: &SymbolizedFrame) -> Vec<(String, String)> {
    let place = |function: &agent::symbolize::Function| match &function.file {
        Some(file) if function.line > 0 => format!("{file}:{}", function.line),
        Some(file) => format!("{file}:?"),
        None => "??:0".to_owned(),
    };
    frame.functions.iter().map(|function| (function.name.to_string(), place(function))).collect()
}

/// Every address of the functions is called as addr2line calls it.
fn compare(program: &Program, functions: &[&str], depth: usize) {
    let symbols = program.symbols();
    let executable = open(&program.path);
    let mut subject = Subject::new();
    let mut deepest = 0;
    for function in functions {
        let (start, size) = symbols[*function];
        let addresses: Vec<_> = (start..start + size).step_by(3).collect();
        let offsets: Vec<_> = addresses.iter().map(|address| program.offset_of(*address)).collect();
        for (frame, address) in subject.name_offsets(&executable, &offsets).iter().zip(addresses) {
            let expected = addr2line(program.path.to_str().expect("UTF-8"), address);
            assert_eq!(ours(frame), expected, "at {address:#x} of {function}");
            assert_eq!((frame.address, frame.kind, frame.miss), (address, FrameKind::Native, None));
            deepest = deepest.max(frame.functions.len());
        }
    }
    assert_eq!(deepest, depth, "functions at one address");
}

fn c_program_agrees_with_addr2line() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    compare(&program, &["leaf", "caller", "main"], 3);
}

fn rust_program_agrees_with_addr2line() {
    let text = r#"
#[inline(always)]
fn inlined(x: u64) -> u64 {
    x.rotate_left(3) ^ 5
}
#[inline(never)]
#[unsafe(no_mangle)]
pub fn outer(x: u64) -> u64 {
    let mut sum = x;
    for i in 0..x {
        sum = sum.wrapping_add(inlined(i ^ sum));
    }
    sum
}
mod deep {
    #[inline(never)]
    pub fn mangled<T: Into<u64>>(x: T) -> u64 {
        let x = x.into();
        std::hint::black_box(x) + 1
    }
}
fn main() {
    let x = std::env::args().count() as u64;
    println!("{} {}", outer(x), deep::mangled(7_u32));
}
"#;
    let flags = ["-g", "-O", "--edition=2024"];
    let Some(program) = Program::build("rustc", "work.rs", text, &flags) else { return };
    let symbols = program.symbols();
    let executable = open(&program.path);
    let mut subject = Subject::new();
    let (start, size) = symbols["outer"];
    let mut n_inlined = 0;
    for address in (start..start + size).step_by(2) {
        let [frame] = &subject.name_offsets(&executable, &[program.offset_of(address)])[..] else {
            panic!()
        };
        let expected = addr2line(program.path.to_str().expect("UTF-8"), address);
        let places = |all: &[(String, String)]| {
            all.iter().map(|(_, place)| place.clone()).collect::<Vec<_>>()
        };
        assert_eq!(places(&ours(frame)), places(&expected), "at {address:#x}");
        n_inlined +=
            usize::from(frame.functions.iter().any(|function| function.name.ends_with("inlined")));
    }
    assert!(n_inlined > 0, "some address is in the inlined function");
    let mangled =
        symbols.iter().find(|(name, _)| name.contains("mangled")).expect("the generic function");
    let [frame] = &subject.name_offsets(&executable, &[program.offset_of(mangled.1.0)])[..] else {
        panic!()
    };
    let function = frame.functions.last().expect("never empty");
    assert_eq!(
        &*function.name,
        "work::deep::mangled::<u32>".replace("::<u32>", function_suffix(&function.name))
    );
}

/// Legacy mangling does not tell the types of a generic function, v0 mangling does.
fn function_suffix(name: &str) -> &'static str {
    if name.contains('<') { "::<u32>" } else { "" }
}

fn cpp_names_are_demangled() {
    let text = "namespace space { template <class T> __attribute__((noinline)) T work(T x) { return x * x + 1; }\n\
                struct Thing { int field; __attribute__((noinline)) int method(const char *s) { return field + *s; } }; }\n\
                int main(int n, char **v) { space::Thing t{n}; return space::work<long>(n) + t.method(v[0]); }\n";
    let Some(program) = Program::build("g++", "work.cpp", text, &["-g", "-O1"]) else { return };
    let executable = open(&program.path);
    let mut subject = Subject::new();
    let mut names = Vec::new();
    for (name, (address, _)) in program.symbols() {
        if name.starts_with("_ZN5space") {
            let frames = subject.name_offsets(&executable, &[program.offset_of(address)]);
            names.push(frames[0].functions[0].name.to_string());
        }
    }
    names.sort();
    assert_eq!(
        names,
        ["long space::work<long>(long)", "space::Thing::method(char const*)"].map(str::to_owned)
    );
}

fn a_callers_line_is_the_calls_line() {
    let Some(program) = Program::c(&["-g", "-O1"]) else { return };
    let path = program.path.to_str().expect("UTF-8");
    let Some(code) = tool("objdump", &["-d", "--no-show-raw-insn", path]) else {
        return skip("objdump is missing");
    };
    // The line after the call begins with the return address.
    let mut lines = code.lines().skip_while(|line| !line.ends_with("<caller>:"));
    lines.find(|line| line.contains("call") && line.contains("<leaf>")).expect("caller calls leaf");
    let next =
        lines.next().and_then(|line| line.trim().split(':').next()).expect("a next instruction");
    let return_address = u64::from_str_radix(next, 16).expect("hex");
    let offset = program.offset_of(return_address - 1);
    let frames = Subject::new().name_offsets(&open(&program.path), &[offset]);
    let call = &frames[0].functions[0];
    assert_eq!((&*call.name, call.line), ("caller", 21));
    assert!(call.file.as_ref().is_some_and(|file| file.ends_with("/work.c")), "{call:?}");
}

/// The second executable segment stands elsewhere in memory than in the file, as lld lays programs out.
fn addresses_differ_from_offsets() {
    let far = "-DFAR=__attribute__((section(\".far\")))";
    let flags = ["-g", "-O2", "-no-pie", far, "-Wl,--section-start=.far=0x7a3000"];
    let Some(program) = Program::c(&flags) else { return };
    let symbols = program.symbols();
    let gap = |name: &str| symbols[name].0.wrapping_sub(program.offset_of(symbols[name].0));
    assert_ne!(gap("leaf"), gap("caller"), "two segments with different distances: {symbols:x?}");
    compare(&program, &["leaf", "caller"], 3);
}

fn compressed_debug_sections_are_read() {
    let Some(program) = Program::c(&["-g", "-O2", "-gz=zlib"]) else { return };
    compare(&program, &["leaf"], 3);
}

fn stripped_program_gives_visible_misses() {
    let Some(program) = Program::c(&["-O2", "-Wl,--build-id=0xdeadbeef01"]) else { return };
    let (address, _) = program.symbols()["leaf"];
    let offset = program.offset_of(address);
    tool("strip", &[program.path.to_str().expect("UTF-8")]).expect("strip is part of binutils");
    let mut subject = Subject::new();
    let frame = subject.name_offsets(&open(&program.path), &[offset]).remove(0);
    assert_eq!(&*frame.functions[0].name, format!("program+{address:#x}"));
    assert_eq!((frame.address, &*frame.module.build_id), (address, "deadbeef01"));
    assert!(matches!(frame.miss, Some("no_symbols" | "unknown_address")), "{frame:?}");
    assert_eq!(subject.misses(Miss::NoSymbols) + subject.misses(Miss::UnknownAddress), 1);
}

fn deleted_file_is_named() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let (address, _) = program.symbols()["caller"];
    let offset = program.offset_of(address);
    let executable = open(&program.path);
    std::fs::remove_file(&program.path).expect("removing");
    let frame = Subject::new().name_offsets(&executable, &[offset]).remove(0);
    assert_eq!((&*frame.functions[0].name, frame.miss), ("caller", None));
}

fn vdso_is_named() {
    let Some(image) = vdso_image() else { return skip("this process has no vDSO") };
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let copy = folder.path().join("vdso.so");
    std::fs::write(&copy, &image).expect("writing");
    let listing = tool("nm", &["-D", copy.to_str().expect("UTF-8")]).unwrap_or_default();
    let line = listing
        .lines()
        .find(|line| line.contains("__vdso_clock_gettime"))
        .expect("every vDSO has it");
    let address =
        u64::from_str_radix(line.split(' ').next().expect("an address"), 16).expect("hex");
    let memory = rustix::fs::memfd_create("vdso", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    let mut file = File::from(memory);
    file.write_all(&image).expect("writing");
    let frame =
        Subject::new().name_offsets(&executable("[vdso]", Some(file)), &[address + 1]).remove(0);
    assert!(frame.functions[0].name.ends_with("clock_gettime"), "{frame:?}");
    assert_eq!((&*frame.module.path, frame.module.build_id.is_empty()), ("[vdso]", false));
}

fn vdso_image() -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let range = maps.lines().find(|line| line.ends_with("[vdso]"))?.split(' ').next()?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let mut image = vec![0; (end - start) as usize];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut image, start).ok()?;
    Some(image)
}

fn kernel_is_named() {
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let address_of = |name: &str| {
        let line = kallsyms.lines().find(|line| line.ends_with(&format!(" {name}")))?;
        u64::from_str_radix(line.split(' ').next()?, 16).ok().filter(|address| *address > 0)
    };
    let Some(schedule) = address_of("schedule") else {
        return skip("the kernel hides its addresses");
    };
    let mut subject = Subject::new();
    let frames = subject
        .name(vec![Frame::Kernel { address: schedule + 1 }, Frame::Kernel { address: 0xfff }]);
    assert_eq!((&*frames[0].functions[0].name, frames[0].address), ("schedule", schedule + 1));
    assert_eq!((&*frames[0].module.path, frames[0].kind), ("[kernel.kallsyms]", FrameKind::Kernel));
    assert_eq!(&*frames[1].functions[0].name, "[kernel.kallsyms]+0xfff");
    assert_eq!(subject.misses(Miss::KernelUnknown), 1);
    // The worker reads what only the agent may open.
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", subject.worker_pid())).expect("it runs");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
}

fn gaps_and_jit_are_visible() {
    let mut subject = Subject::new();
    let unopened = executable("/opt/app/tool", None);
    let frames = subject.name(vec![
        Frame::Anonymous { address: 0x7f00_1234 },
        Frame::Miss { reason: "stack_fault" },
        Frame::Native { executable: Arc::clone(&unopened), offset: 0x1000 },
    ]);
    let names: Vec<_> = frames.iter().map(|frame| frame.functions[0].name.to_string()).collect();
    assert_eq!(names, ["[jit]", "[stack_fault]", "tool+0x1000"]);
    let modules: Vec<_> = frames.iter().map(|frame| frame.module.path.to_string()).collect();
    assert_eq!(modules, ["[jit]", "[unknown]", "/opt/app/tool"]);
    assert_eq!((subject.misses(Miss::Jit), subject.misses(Miss::FileUnreadable)), (1, 1));
    assert_eq!(subject.symbolizer.worker_pid(), None, "nothing of it needs the worker");
}

fn second_window_asks_nobody() {
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let executable = open(&program.path);
    let offset = program.offset_of(program.symbols()["leaf"].0);
    let mut subject = Subject::new();
    let first = subject.name_offsets(&executable, &[offset]).remove(0);
    let pid = rustix::process::Pid::from_raw(subject.worker_pid() as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP)
        .expect("stopping our own child");
    let second = subject.name_offsets(&executable, &[offset]).remove(0);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(subject.metrics.cache_entries.get(), 1);
    assert!(executable.file.get().is_some_and(|file| file.as_raw_fd() > 2));
}
