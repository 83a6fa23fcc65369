//! Sources under tests/workloads → compiled programs with a known answer, in target/workloads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child::{command, output};
use crate::machine::{tool, workspace};

/// What a `split` workload says of itself at its end.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// CPU time of the process, by the kernel.
    pub cpu_ns: u64,
    /// CPU time spent in `burn_60`, `burn_30` and `burn_10`.
    pub burned_ns: [u64; 3],
}

impl Split {
    /// Reads the JSON line that the workload printed.
    pub fn parse(printed: &str) -> Result<Self> {
        let line = printed
            .lines()
            .find(|line| line.starts_with('{'))
            .with_context(|| format!("no result in {printed:?}"))?;
        let json: serde_json::Value = serde_json::from_str(line)?;
        let field =
            |name: &str| json[name].as_u64().with_context(|| format!("no {name} in {line}"));
        Ok(Self {
            cpu_ns: field("cpu_ns")?,
            burned_ns: [field("burn_60")?, field("burn_30")?, field("burn_10")?],
        })
    }

    /// Shares of the CPU time of the process, in percent.
    pub fn percent(&self) -> [f64; 3] {
        self.burned_ns.map(|ns| 100.0 * ns as f64 / self.cpu_ns as f64)
    }
}

/// Compiles `tests/workloads/c/NAME.c` with frame pointers.
pub fn c(name: &str) -> Result<PathBuf> {
    build(
        &format!("c/{name}.c"),
        &format!("workload-{}", name.replace('_', "-")),
        |source, program| {
            let mut gcc = command("gcc");
            gcc.args(["-O2", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
                .arg(program)
                .arg(source)
                .arg("-ldl");
            Ok(gcc)
        },
    )
}

/// Compiles `tests/workloads/c/NAME.c` as a library.
pub fn c_library(name: &str) -> Result<PathBuf> {
    build(&format!("c/{name}.c"), &format!("lib{name}.so"), |source, library| {
        let mut gcc = command("gcc");
        gcc.args(["-O2", "-g", "-fno-omit-frame-pointer", "-shared", "-fPIC", "-o"])
            .arg(library)
            .arg(source);
        Ok(gcc)
    })
}

/// Compiles `tests/workloads/rust/NAME.rs` with frame pointers and line tables.
pub fn rust(name: &str) -> Result<PathBuf> {
    build(&format!("rust/{name}.rs"), &format!("workload-{name}-rust"), |source, program| {
        let mut rustc = command("rustc");
        rustc.args([
            "--edition",
            "2024",
            "-C",
            "opt-level=2",
            "-C",
            "debuginfo=1",
            "-C",
            "force-frame-pointers=yes",
            "-o",
        ]);
        rustc.arg(program).arg(source);
        Ok(rustc)
    })
}

/// Compiles the Go workload, which has frame pointers by default.
pub fn go() -> Result<PathBuf> {
    let compiler = go_compiler().context("no go")?;
    build("go/main.go", "workload-split-go", |source, program| {
        let mut go = command(compiler);
        go.current_dir(source.parent().context("no folder")?)
            .args(["build", "-o"])
            .arg(program)
            .arg(".");
        Ok(go)
    })
}

/// `go`, as `cargo xtask test` found it, or as `PATH` has it.
pub fn go_compiler() -> Option<PathBuf> {
    std::env::var_os("PILOTLIGHT_GO").map(PathBuf::from).or_else(|| tool("go"))
}

/// The number of the line of a workload's source that ends with `mark: WHAT`.
pub fn marked_line(source: &str, what: &str) -> Result<i64> {
    let text = std::fs::read_to_string(sources().join(source))?;
    let mark = format!("// mark: {what}");
    let index = text
        .lines()
        .position(|line| line.ends_with(&mark))
        .with_context(|| format!("{source} has no `{mark}`"))?;
    Ok(index as i64 + 1)
}

fn sources() -> PathBuf {
    workspace().join("tests/workloads")
}

/// Compiles `tests/workloads/SOURCE` to `target/workloads/NAME`, unless that is newer.
pub fn build(
    source: &str,
    name: &str,
    compiler: impl FnOnce(&Path, &Path) -> Result<Command>,
) -> Result<PathBuf> {
    let folder = workspace().join("target/workloads");
    std::fs::create_dir_all(&folder)?;
    let source = sources().join(source);
    let program = folder.join(name);
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if modified(&program).is_none_or(|built| modified(&source).is_some_and(|edited| edited > built))
    {
        output(&mut compiler(&source, &program)?)?;
    }
    Ok(program)
}
