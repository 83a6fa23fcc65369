//! Programs to be named, and ways to ask about them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use agent::process::{Executable, ExecutableFile, ExecutableId, Identity, Process};
use agent::stack::{Frame, Stack};
use agent::symbolize::{
    Config, Metrics, Miss, MissLabel, Restart, RestartLabel, SampledStack, SymbolizedFrame,
    Symbolizer,
};
use agent_common::outcome::UnwindOutcome;
use tempfile::TempDir;

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// A symbolizer and what it counted.
pub(crate) struct Subject {
    pub(crate) symbolizer: Symbolizer,
    pub(crate) metrics: Metrics,
    /// Whose stacks are named.
    pub(crate) process: Arc<Process>,
}

impl Subject {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let metrics = Metrics::default();
        let symbolizer =
            Symbolizer::new(config, metrics.clone()).expect("the test program can be the worker");
        Self { symbolizer, metrics, process: process() }
    }

    /// Names the frames of one stack.
    pub(crate) fn name(&mut self, frames: Vec<Frame>) -> Vec<Arc<SymbolizedFrame>> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let n_frames = frames.len();
        let stack = Arc::new(Stack { id, frames: frames.into(), outcome: UnwindOutcome::Complete });
        let process = Arc::clone(&self.process);
        let mut named = self.symbolizer.symbolize(&[SampledStack { stack, process }]);
        let frames = named.pop().expect("each stack is answered").frames;
        assert_eq!(frames.len(), n_frames, "each frame is answered");
        assert!(
            frames
                .iter()
                .all(|frame| frame.functions.iter().all(|function| !function.name.is_empty()))
        );
        frames
    }

    /// Names offsets of a file.
    pub(crate) fn name_offsets(
        &mut self,
        executable: &Arc<Executable>,
        offsets: &[u64],
    ) -> Vec<Arc<SymbolizedFrame>> {
        let frame =
            |offset: &u64| Frame::Native { executable: Arc::clone(executable), offset: *offset };
        self.name(offsets.iter().map(frame).collect())
    }

    pub(crate) fn misses(&self, reason: Miss) -> u64 {
        self.metrics.misses.get_or_create(&MissLabel { reason }).get()
    }

    pub(crate) fn restarts(&self, reason: Restart) -> u64 {
        self.metrics.restarts.get_or_create(&RestartLabel { reason }).get()
    }

    pub(crate) fn worker_pid(&self) -> u32 {
        self.symbolizer.worker_pid().expect("a worker runs")
    }
}

/// A process of which nothing is known.
pub(crate) fn process() -> Arc<Process> {
    Arc::new(Process {
        identity: Identity { pid: 1, start_time_ns: 0, exec_generation: 0 },
        comm: "work".to_owned(),
        executable: None,
        exe_path: None,
        is_kernel_thread: false,
        own_command: None,
        cgroup_file: OnceLock::new(),
        root: None,
        jit_dump: None,
    })
}

/// An executable as the process table would have it.
pub(crate) fn executable(path: &str, file: Option<File>) -> Arc<Executable> {
    static IDS: AtomicU32 = AtomicU32::new(1);
    let file = Arc::new(file.map(ExecutableFile::from).unwrap_or_default());
    Arc::new(Executable {
        id: ExecutableId(IDS.fetch_add(1, Ordering::Relaxed)),
        path: path.to_owned(),
        file,
    })
}

pub(crate) fn open(path: &Path) -> Arc<Executable> {
    let file = File::open(path).expect("the file is there");
    executable(path.to_str().expect("test paths are UTF-8"), Some(file))
}

/// For whoever reads the test's output.
#[expect(clippy::print_stdout, reason = "the harness is not one that clippy knows as a test")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Says aloud that a test could not be made, for want of a tool.
pub(crate) fn skip(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Runs a tool; `None` if it is not there or fails.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests compile programs and compare with binutils"
)]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        say(&format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A compiled program in a directory of its own.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    _folder: TempDir,
}

impl Program {
    /// Compiles a source text, which is written to `source` in the program's directory.
    pub(crate) fn build(compiler: &str, source: &str, text: &str, flags: &[&str]) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary directory");
        let source = folder.path().join(source);
        std::fs::write(&source, text).expect("writing the source");
        let path = folder.path().join("program");
        let mut arguments = vec![source.to_str()?, "-o", path.to_str()?];
        arguments.extend(flags);
        let built = tool(compiler, &arguments);
        if built.is_none() {
            skip(&format!("{compiler} {} is missing or fails", flags.join(" ")));
        }
        built.map(|_| Self { path, _folder: folder })
    }

    /// Compiles a Go program with the linker's flags.
    pub(crate) fn go(text: &str, ldflags: &str) -> Option<Self> {
        let compiler = std::env::var("PILOTLIGHT_GO").unwrap_or_else(|_| "go".to_owned());
        let folder = TempDir::new().expect("a temporary directory");
        let source = folder.path().join("work.go");
        std::fs::write(&source, text).expect("writing the source");
        let path = folder.path().join("program");
        let flags = format!("-ldflags={ldflags}");
        let arguments = ["build", &flags, "-o", path.to_str()?, source.to_str()?];
        let built = tool(&compiler, &arguments);
        if built.is_none() {
            skip("go is missing or fails");
        }
        built.map(|_| Self { path, _folder: folder })
    }

    /// One with much debug information: the same functions `uN_fM` in each of many units.
    pub(crate) fn of_units(n_units: usize, n_functions: usize) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name).to_str().map(str::to_owned);
        let mut text = String::new();
        for n in 0..n_functions {
            write!(
                text,
                "struct state_of_f{n} {{ long first_{n}; int second_{n}; struct state_of_f{n} *next_{n}; }};\n\
                 static inline __attribute__((always_inline)) long in{n}(struct state_of_f{n} *state, long argument) {{\n\
                 long product_{n} = argument * {n} + state->first_{n}; return product_{n} ^ state->second_{n}; }}\n\
                 long f{n}(long argument) {{ struct state_of_f{n} state = {{ argument, {n}, 0 }};\n\
                 long result = 0; for (long round = 0; round < 3; round++) result += in{n}(&state, round);\n\
                 return result; }}\n"
            )
            .expect("writing to a string cannot fail");
        }
        std::fs::write(folder.path().join("unit.c"), text).expect("writing the source");
        std::fs::write(folder.path().join("main.c"), "int main(void) { return 0; }\n").ok()?;
        let (unit, program) = (path("unit.o")?, path("program")?);
        tool("gcc", &["-g", "-O1", "-fno-var-tracking", "-c", "-o", &unit, &path("unit.c")?])?;
        let mut link = vec!["-o".to_owned(), program.clone(), path("main.c")?];
        for n in 0..n_units {
            let object = path(&format!("unit{n}.o"))?;
            tool("objcopy", &[&format!("--prefix-symbols=u{n}_"), &unit, &object])?;
            link.push(object);
        }
        tool("gcc", &link.iter().map(String::as_str).collect::<Vec<_>>())?;
        Some(Self { path: program.into(), _folder: folder })
    }

    /// One that is there.
    pub(crate) fn at(path: &str) -> Self {
        Self { path: path.into(), _folder: TempDir::new().expect("a temporary directory") }
    }

    pub(crate) fn c(flags: &[&str]) -> Option<Self> {
        Self::build("gcc", "work.c", C_SOURCE, flags)
    }

    /// Address and size of the functions, by name.
    pub(crate) fn symbols(&self) -> HashMap<String, (u64, u64)> {
        let listing = tool("nm", &["-S", self.path.to_str().expect("UTF-8")]).unwrap_or_default();
        let symbol = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let [address, size, "t" | "T" | "W", name] = words.as_slice() else { return None };
            let hex = |word| u64::from_str_radix(word, 16).ok();
            Some(((*name).to_owned(), (hex(address)?, hex(size)?)))
        };
        listing.lines().filter_map(symbol).collect()
    }

    /// The file offset of a virtual address, by readelf's table of segments.
    pub(crate) fn offset_of(&self, address: u64) -> u64 {
        let listing =
            tool("readelf", &["-lW", self.path.to_str().expect("UTF-8")]).unwrap_or_default();
        let segment = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["LOAD", offset, start, _, size, ..] = words.as_slice() else { return None };
            let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
            let (offset, start, size) = (hex(offset)?, hex(start)?, hex(size)?);
            (start..start + size).contains(&address).then(|| address - start + offset)
        };
        listing.lines().find_map(segment).expect("the address is in a segment")
    }
}

pub(crate) const C_SOURCE: &str = r#"#include <stdio.h>
#ifndef FAR
#define FAR
#endif
static volatile unsigned long sink;
static inline __attribute__((always_inline)) unsigned long innermost(unsigned long x) {
    for (int i = 0; i < 3; i++)
        x = x * 31 + sink;
    return x;
}
static inline __attribute__((always_inline)) unsigned long middle(unsigned long x) {
    x += 7;
    return innermost(x) ^ sink;
}
__attribute__((noinline)) unsigned long leaf(unsigned long x) {
    sink += x;
    return middle(x) + 1;
}
FAR __attribute__((noinline)) unsigned long caller(unsigned long x) {
    unsigned long y = x + 3;
    y += leaf(y);
    return y * 2;
}
int main(int argc, char **argv) {
    unsigned long total = 0;
    for (int i = 0; i < argc; i++)
        total += caller(i);
    printf("%lu\n", total);
    return 0;
}
"#;
