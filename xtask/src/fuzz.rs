//! Parsers of what others wrote (`fuzz/`) and libFuzzer → inputs that make one of them crash, hang or take too much memory.
//!
//! No nightly compiler is needed: without a sanitizer, the flags that count what was run are stable ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, output, workspace};
use crate::install;
use crate::progress::{say, step};

const HOST: &str = "x86_64-unknown-linux-gnu";
/// Counters at every edge, and the operands of comparisons: what `cargo fuzz --sanitizer none` asks for.
const FLAGS: &str = "-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// For one input: seconds, and resident memory in MiB. The worker's own bounds are stricter for time and heap together.
const TIMEOUT: u32 = 10;
const RSS_MIB: u32 = 1024;
/// Longest input, unless the corpus has longer ones.
const MAX_LEN: u32 = 64 * 1024;

/// Runs one or all targets, each for so long, from the committed corpus on.
pub(crate) fn fuzz(only: Option<&str>, seconds: u32, merge: bool) -> Result<()> {
    let targets = targets(only)?;
    install::apt(&["g++"])?;
    let program = build()?;
    let mut failed = Vec::new();
    for target in &targets {
        let title = format!("fuzz {target}");
        match step(&title, || run(&program, target, seconds)) {
            Ok(summary) => say(&format!("  {summary}")),
            Err(error) => {
                say(&format!("  {error:#}"));
                failed.push(target.as_str());
            }
        }
        if merge {
            self::merge(&program, target)?;
        }
    }
    if !failed.is_empty() {
        bail!("inputs that are not survived, in target/fuzz/found: {}", failed.join(", "));
    }
    Ok(())
}

/// The targets are the folders of the corpus; a test of `fuzz` sees to it that they are the same.
fn targets(only: Option<&str>) -> Result<Vec<String>> {
    let corpus = corpus();
    let mut names = Vec::new();
    for entry in corpus.read_dir().with_context(|| format!("cannot read {}", corpus.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    if let Some(only) = only {
        if !names.iter().any(|name| name == only) {
            bail!("no target `{only}`; there are: {}", names.join(", "));
        }
        names.retain(|name| name == only);
    }
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let folder = workspace().join("target/fuzz");
    step("build the fuzzer", || {
        let mut build = cargo();
        build.args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "fuzz",
            "--features",
            "libfuzzer",
        ]);
        // With a target, the flags are not those of build scripts, which have no libFuzzer.
        build.args(["--profile", "fuzz", "--target", HOST, "--target-dir"]).arg(&folder);
        output(build.env("RUSTFLAGS", FLAGS))
    })?;
    Ok(folder.join(HOST).join("fuzz/fuzz"))
}

/// What libFuzzer says at its end: how many inputs it tried, and what they reached.
fn run(program: &Path, target: &str, seconds: u32) -> Result<String> {
    let grown = grown(target)?;
    let found = workspace().join("target/fuzz/found").join(target);
    std::fs::create_dir_all(&found)?;
    // libFuzzer writes to standard error only.
    let mut fuzzer = command("/bin/sh");
    fuzzer.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(program);
    // The first folder takes new inputs. The seed makes a run the same each time, as far as clocks let it.
    fuzzer.arg(&grown).arg(corpus().join(target));
    fuzzer.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={TIMEOUT}"),
        format!("-rss_limit_mb={RSS_MIB}"),
        format!("-artifact_prefix={}/", found.display()),
        format!("-max_len={MAX_LEN}"),
        "-seed=1".to_owned(),
    ]);
    let printed = output(fuzzer.env("PILOTLIGHT_FUZZ_TARGET", target))?;
    Ok(summary(&printed))
}

/// `#1234 DONE cov: 567 ft: 890 corp: 12/3456b … exec/s: 78 rss: 90Mb`
fn summary(printed: &str) -> String {
    let done = printed.lines().rev().find(|line| line.contains("DONE"));
    done.unwrap_or("no input was tried").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn merge(program: &Path, target: &str) -> Result<()> {
    step(&format!("merge into the corpus of {target}"), || {
        let mut fuzzer = command(program);
        fuzzer.env("PILOTLIGHT_FUZZ_TARGET", target).args(["-merge=1", "-max_len=4096"]);
        output(fuzzer.arg(corpus().join(target)).arg(grown(target)?))
    })
    .map(drop)
}

fn corpus() -> PathBuf {
    workspace().join("fuzz/corpus")
}

/// Inputs that runs on this machine have found.
fn grown(target: &str) -> Result<PathBuf> {
    let folder = workspace().join("target/fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_last_line_tells() {
        let printed =
            "#2\tINITED cov: 5\n#90\tDONE   cov: 7 ft: 8 rss: 9Mb\nDone 90 runs in 1 second(s)\n";
        assert_eq!(summary(printed), "#90 DONE cov: 7 ft: 8 rss: 9Mb");
        assert_eq!(summary("nothing"), "no input was tried");
    }
}
