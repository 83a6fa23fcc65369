//! Functions, files and lines of programs that were built, stripped and started in the ways that people do it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use protocol::profile::Profile;
use tests::child::{Child, command, output};
use tests::machine::tool;
use tests::pilotlight::pilotlight;
use tests::stacks::{Frame, Stacks, is_function};
use tests::workload::marked_line;
use tests::{machine, skip, workload};

/// Records a command for its whole life.
fn record(program: &mut Command) -> Result<Stacks> {
    record_with(program, &[])
}

fn record_with(program: &mut Command, settings: &[(&str, &str)]) -> Result<Stacks> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("profile.pb.gz");
    let mut recording = pilotlight("record")?;
    recording.envs(settings.iter().copied()).arg("-o").arg(&file).arg("--");
    recording.arg(program.get_program()).args(program.get_args());
    let mut child = Child::start(&mut recording)?;
    let status = child.wait(Duration::from_mins(2))?;
    ensure!(status.success(), "{status}:\n{}", child.printed());
    read(&file)
}

fn read(file: &Path) -> Result<Stacks> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file)?).read_to_end(&mut bytes)?;
    Stacks::of(&Profile::decode(bytes.as_slice())?, 0)
}

/// The leaf frames of a module's samples: the function that stands there, and what was inlined into it.
fn leaves<'a>(stacks: &'a Stacks, module: &'a str) -> impl Iterator<Item = (&'a [Frame], i64)> {
    stacks.0.iter().filter_map(move |stack| {
        let start = stack.frames.iter().rposition(|frame| !frame.is_inlined)?;
        let leaf = &stack.frames[start..];
        (leaf[0].module == module).then_some((leaf, stack.value))
    })
}

/// The share of a module's samples whose leaf satisfies `is_right`, in percent.
fn percent(stacks: &Stacks, module: &str, is_right: impl Fn(&[Frame]) -> bool) -> Result<f64> {
    let total: i64 = leaves(stacks, module).map(|(_, value)| value).sum();
    ensure!(total > 0, "no samples in {module}: {}", stacks.shown());
    let right: i64 =
        leaves(stacks, module).filter(|(leaf, _)| is_right(leaf)).map(|(_, value)| value).sum();
    Ok(100.0 * right as f64 / total as f64)
}

/// Samples are in `burn_*`, with `mix` inlined on its own line of its own file.
fn check_split(stacks: &Stacks, module: &str, source: &str) -> Result<()> {
    let line = marked_line(source, "mix")?;
    let file = source.rsplit('/').next().unwrap_or_default();
    let burners = ["burn_60", "burn_30", "burn_10", "burn60", "burn30", "burn10"];
    let in_mix = percent(stacks, module, |leaf| {
        let (outer, inner) = (&leaf[0], &leaf[leaf.len() - 1]);
        burners.iter().any(|burner| is_function(&outer.function, burner))
            && inner.is_inlined
            && is_function(&inner.function, "mix")
            && (inner.line, inner.file.as_str()) == (line, file)
    })?;
    // The rest is spent asking for the time, which is a system call on some machines.
    ensure!(in_mix >= 15.0, "{in_mix:.1} % in mix at {file}:{line}\n{}", stacks.shown());
    let named = percent(stacks, module, |leaf| {
        !leaf[0].function.contains("+0x") && !leaf[0].function.starts_with('[')
    })?;
    ensure!(named >= 99.0, "{named:.1} % have a name\n{}", stacks.shown());
    Ok(())
}

/// Moves what debuggers need out of the program, and links to it.
fn detach(program: &Path, debug: &Path) -> Result<()> {
    output(command("objcopy").arg("--only-keep-debug").arg(program).arg(debug))?;
    output(command("strip").arg("--strip-all").arg(program))?;
    let link = format!("--add-gnu-debuglink={}", debug.display());
    output(command("objcopy").arg(link).arg(program)).map(drop)
}

fn split_c(folder: &Path, name: &str, compiler: &str, flags: &[&str]) -> Result<PathBuf> {
    let program = folder.join(name);
    let source = machine::workspace().join("tests/workloads/c/split.c");
    output(
        command(compiler)
            .args(["-O2", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
            .arg(&program)
            .arg(source)
            .args(flags),
    )?;
    Ok(program)
}

#[test]
fn a_stripped_program_is_named_by_its_debug_file() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let program = split_c(folder.path(), "linked", "gcc", &[])?;
    std::fs::create_dir(folder.path().join(".debug"))?;
    detach(&program, &folder.path().join(".debug/linked.debug"))?;
    let stacks = record(command(&program).arg("3"))?;
    check_split(&stacks, "linked", "c/split.c")?;
    let call = marked_line("c/split.c", "call of burn_60")?;
    let callers = stacks.through("burn_60").filtered(|stack| {
        stack.frames.iter().any(|frame| is_function(&frame.function, "inner") && frame.line == call)
    });
    ensure!(callers.total() * 10 > stacks.through("burn_60").total() * 9, "{}", stacks.shown());
    Ok(())
}

/// In its own root directory, which is all that a container has; it ends, and its files are gone, before it is named.
#[test]
fn debug_files_are_found_inside_the_root_of_the_process() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let debug = folder.path().join("usr/lib/debug/opt");
    std::fs::create_dir_all(folder.path().join("opt"))?;
    std::fs::create_dir_all(&debug)?;
    let program = split_c(&folder.path().join("opt"), "inside", "gcc", &["-static"])?;
    detach(&program, &debug.join("inside.debug"))?;
    // What a link leads to outside of the root must not be read.
    let chroot = tool("chroot").context("coreutils have chroot")?;
    let stacks = record(command(chroot).arg(folder.path()).args(["/opt/inside", "3"]))?;
    check_split(&stacks, "inside", "c/split.c")
}

#[test]
fn a_stripped_program_without_anything_shows_where_it_was() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let program = split_c(folder.path(), "bare", "gcc", &["-Wl,--build-id=none"])?;
    output(command("strip").arg(&program))?;
    let stacks = record(command(&program).arg("2"))?;
    let shown = percent(&stacks, "bare", |leaf| leaf[0].function.starts_with("bare+0x"))?;
    ensure!(shown >= 99.0, "{shown:.1} %\n{}", stacks.shown());
    Ok(())
}

#[test]
fn static_programs_are_named() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    for (name, compiler) in [("glibc", "gcc"), ("musl", "musl-gcc")] {
        if tool(compiler).is_none() {
            skip!("no {compiler}");
        }
        let program = split_c(folder.path(), name, compiler, &["-static"])?;
        let stacks = record(command(&program).arg("2"))?;
        check_split(&stacks, name, "c/split.c").context(name)?;
    }
    Ok(())
}

#[test]
fn a_rust_release_is_named_without_hashes() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::rust("split")?;
    let stacks = record(command(&program).arg("3"))?;
    check_split(&stacks, "workload-split-rust", "rust/split.rs")?;
    let frames = stacks.0.iter().flat_map(|stack| &stack.frames);
    let is_hash = |word: &str| {
        word.len() == 17
            && word.starts_with('h')
            && word[1..].bytes().all(|b| b.is_ascii_hexdigit())
    };
    for frame in frames {
        ensure!(!frame.function.split("::").any(is_hash), "{}", frame.function);
    }
    Ok(())
}

#[test]
fn go_is_named_whole_and_stripped() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    let folder = tempfile::tempdir()?;
    let source = machine::workspace().join("tests/workloads/go");
    for (name, flags) in [("whole", ""), ("bare", "-s -w")] {
        let program = folder.path().join(name);
        let mut build = command(&go);
        build.current_dir(&source).args(["build", &format!("-ldflags={flags}"), "-o"]);
        output(build.arg(&program).arg("."))?;
        let stacks = record(command(&program).arg("2"))?;
        check_split(&stacks, name, "go/main.go").context(name)?;
        let burner = stacks.through("burn60");
        ensure!(burner.percent("main.main") > 95.0, "{name}: {}", stacks.shown());
    }
    Ok(())
}

/// Most samples in JIT code are in the hot function.
fn check_jit(stacks: &Stacks, is_hot: impl Fn(&str) -> bool) -> Result<()> {
    let hot = percent(stacks, "[jit]", |leaf| is_hot(&leaf[0].function))?;
    ensure!(hot >= 80.0, "{hot:.1} % in the hot function\n{}", stacks.shown());
    let own: i64 = leaves(stacks, "[jit]").map(|(_, value)| value).sum();
    ensure!(2 * own > stacks.total(), "little was JIT code\n{}", stacks.shown());
    Ok(())
}

#[test]
fn node_is_named_by_its_map_and_its_dump() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let Some(node) = tool("node") else { skip!("no node") };
    let script = machine::workspace().join("tests/workloads/js/hot.js");
    let folder = tempfile::tempdir()?;
    let of_map = record(command(&node).arg("--perf-basic-prof").arg(&script).arg("4"))?;
    check_jit(&of_map, |name| name.contains("hotLoop") && name.contains("hot.js:2"))?;
    // The dump is written to the working directory.
    let script_in_folder = format!(
        "cd {} && exec {} --perf-prof --no-write-protect-code-memory {} 4",
        folder.path().display(),
        node.display(),
        script.display()
    );
    let mut with_dump = command("/bin/sh");
    with_dump.args(["-c", &script_in_folder]);
    let of_dump = record(&mut with_dump)?;
    check_jit(&of_dump, |name| name.contains("hotLoop"))?;
    let with_line = percent(&of_dump, "[jit]", |leaf| leaf[0].line > 0)?;
    ensure!(with_line > 80.0, "{with_line:.1} % have lines\n{}", of_dump.shown());
    let without = record(command(&node).arg(&script).arg("2"))?;
    let shown = percent(&without, "[jit]", |leaf| leaf[0].function == "[jit]")?;
    ensure!(shown > 99.0, "{shown:.1} %\n{}", without.shown());
    Ok(())
}

#[test]
fn java_is_named_by_the_map_that_it_is_asked_for() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let (Some(java), Some(jcmd)) = (tool("java"), tool("jcmd")) else { skip!("no JDK") };
    let Some(javac) = tool("javac") else { skip!("no javac") };
    let folder = tempfile::tempdir()?;
    let source = machine::workspace().join("tests/workloads/java/Hot.java");
    output(command(javac).arg("-d").arg(folder.path()).arg(source))?;
    let mut jvm = command(java);
    jvm.args(["-XX:+PreserveFramePointer", "-cp"]).arg(folder.path()).args(["Hot", "30"]);
    let jvm = Child::start(&mut jvm)?;
    std::thread::sleep(Duration::from_secs(3));
    output(command(jcmd).arg(jvm.pid().to_string()).arg("Compiler.perfmap"))?;
    let file = folder.path().join("profile.pb.gz");
    let mut recording = pilotlight("record")?;
    recording.args(["-p", &jvm.pid().to_string(), "-d", "4s", "-o"]).arg(&file);
    let mut recording = Child::start(&mut recording)?;
    let status = recording.wait(Duration::from_mins(1))?;
    ensure!(status.success(), "{status}:\n{}", recording.printed());
    check_jit(&read(&file)?, |name| name.contains("Hot") && name.contains("hotLoop"))
}

#[test]
fn cpp_names_are_as_long_as_was_asked_for() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("work.cpp");
    std::fs::write(
        &source,
        "template <class T> struct Box { __attribute__((noinline)) static T work(T n) {\n\
         volatile T x = 1; for (T i = 0; i < n; i++) x = x * 31 + i; return x; } };\n\
         int main() { return Box<long>::work(600000000L) == 7; }\n",
    )?;
    let program = folder.path().join("cpp");
    output(command("g++").args(["-O1", "-g", "-o"]).arg(&program).arg(&source))?;
    for (style, expected) in [
        ("full", "Box<long>::work(long)"),
        ("templates", "Box<long>::work"),
        ("simplified", "Box::work"),
        ("none", "_ZN3BoxIlE4workEl"),
    ] {
        let stacks =
            record_with(&mut command(&program), &[("PILOTLIGHT_SYMBOLIZE__DEMANGLE", style)])?;
        let named = percent(&stacks, "cpp", |leaf| leaf[0].function == expected)?;
        ensure!(named > 95.0, "{style}: {named:.1} %\n{}", stacks.shown());
    }
    Ok(())
}
