//! Complete stacks of programs without frame pointers, however they were built and whatever they do with their stacks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::child::{Child, command, output};
use tests::folded::Folded;
use tests::machine::{self, tool};
use tests::pilotlight::pilotlight;
use tests::{skip, workload};

const LEVELS: [&str; 10] = [
    "level1", "level2", "level3", "level4", "level5", "level6", "level7", "level8", "level9",
    "spin",
];
/// Share of a program's samples that must show its whole stack.
const ENOUGH: f64 = 0.99;

/// Whether a stack begins where stacks begin. C libraries without symbols do not name their outermost function: then it is
/// enough that nothing says that frames are missing.
fn is_root(function: &str) -> bool {
    let function = function.trim_start_matches("__GI_").trim_start_matches('_');
    ["start", "start_c", "clone", "clone3", "start_context", "runtime.goexit"].contains(&function)
        || function.starts_with("libc.so.6+0x")
}

/// Records a program that ends by itself after some seconds.
fn record(program: &Path, arguments: &[&str], seconds: u32) -> Result<Folded> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("stacks.folded");
    let mut record = pilotlight("record")?;
    record.arg("-o").arg(&file).arg("--").arg(program).args(arguments);
    let mut child = Child::start(record.env("SECONDS", seconds.to_string()))?;
    let status = child.wait(Duration::from_mins(2))?;
    ensure!(status.success(), "{status}:\n{}", child.printed());
    Folded::read(&file)
}

/// Checks that nearly all user stacks begin where programs begin, and that those with `expected` in them, one called by the
/// other, are nearly all.
fn check(name: &str, folded: &Folded, expected: &[&str]) -> Result<()> {
    let total = folded.total() as f64;
    ensure!(total > 100.0, "{name}: {total} samples: {folded:?}");
    let rooted = folded.count(|parts| parts.get(1).is_some_and(|root| is_root(root))) as f64;
    ensure!(rooted / total >= ENOUGH, "{name}: {} reach the root: {folded:?}", rooted / total);
    let whole =
        folded.count(|parts| parts.windows(expected.len()).any(|part| part == expected)) as f64;
    ensure!(whole / total >= 0.95, "{name}: {} have {expected:?}: {folded:?}", whole / total);
    Ok(())
}

/// A way to build `walks.c`.
struct Build {
    name: &'static str,
    compiler: &'static str,
    flags: &'static [&'static str],
}

const PLAIN: Build =
    Build { name: "plain", compiler: "gcc", flags: &["-O2", "-fomit-frame-pointer"] };

const BUILDS: [Build; 12] = [
    PLAIN,
    Build { name: "o0", flags: &["-O0", "-fomit-frame-pointer"], ..PLAIN },
    Build { name: "o3", flags: &["-O3", "-fomit-frame-pointer"], ..PLAIN },
    Build { name: "lto", flags: &["-O2", "-fomit-frame-pointer", "-flto"], ..PLAIN },
    Build { name: "no-pie", flags: &["-O2", "-fomit-frame-pointer", "-no-pie"], ..PLAIN },
    Build { name: "static", flags: &["-O2", "-fomit-frame-pointer", "-static"], ..PLAIN },
    Build { name: "static-pie", flags: &["-O2", "-fomit-frame-pointer", "-static-pie"], ..PLAIN },
    Build { name: "lld", flags: &["-O2", "-fomit-frame-pointer", "-fuse-ld=lld"], ..PLAIN },
    Build { name: "mold", flags: &["-O2", "-fomit-frame-pointer", "-fuse-ld=mold"], ..PLAIN },
    Build {
        name: "musl",
        compiler: "musl-gcc",
        flags: &["-O2", "-fomit-frame-pointer", "-static"],
    },
    Build {
        name: "debug-frame",
        flags: &[
            "-O2",
            "-g",
            "-fomit-frame-pointer",
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
        ],
        ..PLAIN
    },
    Build {
        name: "frame-pointers-only",
        flags: &[
            "-O2",
            "-g0",
            "-fno-omit-frame-pointer",
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
        ],
        ..PLAIN
    },
];

/// Compiles; `None` where the compiler or the linker is missing.
fn build(build: &Build) -> Result<Option<PathBuf>> {
    let Some(compiler) = tool(build.compiler) else { return Ok(None) };
    let linker = build.flags.iter().find_map(|flag| flag.strip_prefix("-fuse-ld="));
    if linker.is_some_and(|linker| tool(linker).or_else(|| tool(&format!("ld.{linker}"))).is_none())
    {
        return Ok(None);
    }
    workload::build("c/walks.c", &format!("walks-{}", build.name), |source, program| {
        let mut gcc = command(compiler);
        gcc.args(["-fno-optimize-sibling-calls", "-fno-ipa-icf"]).args(build.flags);
        gcc.arg("-o").arg(program).arg(source).arg("-lpthread");
        Ok(gcc)
    })
    .map(Some)
}

fn plain() -> Result<PathBuf> {
    build(&PLAIN)?.context("no gcc")
}

#[test]
fn however_it_was_built() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let mut missing = Vec::new();
    for way in &BUILDS {
        match build(way)? {
            // musl's own start has neither call frame information nor frame pointers: the walk ends there, and says so.
            Some(program) if way.name == "musl" => {
                let folded = record(&program, &["chain"], 3)?;
                let from_main = |parts: &[&str]| parts.windows(11).any(|part| part[1..] == LEVELS);
                let share = folded.count(from_main) as f64 / folded.total() as f64;
                ensure!(share >= ENOUGH, "musl: {share} have all levels: {folded:?}");
            }
            Some(program) => {
                // The compiler gives the leaf's frame record up before its loop: without rows its caller is not to be seen.
                let n_levels = if way.name == "frame-pointers-only" { 8 } else { LEVELS.len() };
                check(way.name, &record(&program, &["chain"], 3)?, &LEVELS[..n_levels])?;
            }
            None => missing.push(way.name),
        }
    }
    if !missing.is_empty() {
        skip!("no compiler or linker for {missing:?}");
    }
    Ok(())
}

#[test]
fn whatever_it_does_with_its_stack() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = plain()?;
    let cases: [(&[&str], &[&str]); 8] = [
        (&["qsort"], &["main", "run", "sort_some"]),
        (&["read"], &["main", "run", "read_some"]),
        (&["vdso"], &["main", "run", "ask_the_time"]),
        (&["varying"], &["main", "run", "varying", "spin"]),
        (&["aligned"], &["main", "run", "aligned", "spin"]),
        (&["signal"], &["main", "run", "raise_some"]),
        (&["coroutine"], &["coroutine", "level1"]),
        (&["threads", "100"], &["thread_main", "level1"]),
    ];
    for (arguments, expected) in cases {
        // The first samples are walked from copies, which hold one stack only, not the one that a signal came to.
        let seconds = if arguments[0] == "signal" { 8 } else { 3 };
        check(arguments[0], &record(&program, arguments, seconds)?, expected)?;
    }
    Ok(())
}

#[test]
fn deep_stacks_are_whole_or_say_what_was_cut() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = plain()?;
    for depth in [60, 190, 400, 490] {
        let folded = record(&program, &["recurse", &depth.to_string()], 3)?;
        let is_whole = |parts: &[&str]| {
            is_root(parts[1]) && parts.iter().filter(|part| **part == "recurse").count() == depth
        };
        let share = folded.count(is_whole) as f64 / folded.total() as f64;
        // The others were on their way down or up.
        ensure!(share >= 0.9, "{share} of {depth} frames are whole: {folded:?}");
        let rooted = folded.count(|parts| is_root(parts[1])) as f64 / folded.total() as f64;
        ensure!(rooted >= ENOUGH, "{rooted} of {depth} frames reach the root: {folded:?}");
    }
    let folded = record(&program, &["recurse", "2000"], 3)?;
    let is_cut = |parts: &[&str]| {
        let n_cut = parts.iter().find_map(|part| {
            part.strip_prefix('[')?
                .strip_suffix("_frames_cut]")
                .or(part.strip_prefix('[')?.strip_suffix(" frames cut]"))?
                .parse::<usize>()
                .ok()
        });
        let n_left = parts.iter().filter(|part| **part == "recurse").count();
        is_root(parts[1]) && n_cut.is_some_and(|n_cut| (1990..2010).contains(&(n_cut + n_left)))
    };
    // Others were on their way down or up, and the copies that first samples are walked from hold a part of such a stack.
    let share = folded.count(is_cut) as f64 / folded.total() as f64;
    ensure!(share >= 0.6, "{share} of 2000 frames are cut in the middle: {folded:?}");
    let rooted = folded.count(|parts| is_root(parts[1])) as f64 / folded.total() as f64;
    ensure!(rooted >= 0.85, "{rooted} of 2000 frames reach the root: {folded:?}");
    Ok(())
}

#[test]
fn short_processes_are_attributed_and_complete() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = plain()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("stacks.folded");
    let script = format!(
        "i=0; while [ $i -lt 40 ]; do SECONDS_=1 SECONDS=0.1 {} chain; i=$((i+1)); done",
        program.display()
    );
    let mut record: Command = pilotlight("record")?;
    record.arg("-o").arg(&file).args(["--", "sh", "-c", &script]);
    let mut child = Child::start(&mut record)?;
    ensure!(child.wait(Duration::from_mins(2))?.success(), "{}", child.printed());
    let folded = Folded::read(&file)?;
    let own = |parts: &[&str]| parts[0].starts_with("walks-plain");
    let n_own = folded.count(own) as f64;
    ensure!(n_own > 200.0, "{n_own} samples: {folded:?}");
    let whole = folded.count(|parts| {
        own(parts) && is_root(parts[1]) && parts.windows(LEVELS.len()).any(|part| part == LEVELS)
    });
    ensure!(whole as f64 / n_own >= 0.95, "{} are whole: {folded:?}", whole as f64 / n_own);
    Ok(())
}

#[test]
fn a_deleted_binary_is_walked_and_named() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("walks-deleted");
    output(command("cp").arg(plain()?).arg(&copy))?;
    let script = format!("{copy} chain & sleep 0.3; rm {copy}; wait", copy = copy.display());
    let folded = record(Path::new("/bin/sh"), &["-c", &script], 4)?;
    let own = |parts: &[&str]| parts[0].starts_with("walks-deleted");
    let whole = |parts: &[&str]| {
        own(parts) && is_root(parts[1]) && parts.windows(LEVELS.len()).any(|part| part == LEVELS)
    };
    let share = folded.count(whole) as f64 / folded.count(own) as f64;
    ensure!(share >= 0.95, "{share} are whole: {folded:?}");
    Ok(())
}
