//! The whole of the tests → one line, `N passed, N failed`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, workspace};
use crate::ebpf;
use crate::install;
use crate::page;
use crate::progress::{say, step};
use crate::release;
use crate::run;
use crate::versions;

/// Passed and failed tests of one or all suites.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Installs what the tests need.
pub(crate) fn setup() -> Result<()> {
    run::setup()?;
    install::apt(versions::APT_TESTS)?;
    install::go()?;
    install::python()?;
    install::npm()
}

/// Runs every suite, also after one of them failed.
pub(crate) fn test() -> Result<()> {
    setup()?;
    let binary = release::build()?;
    let mut tally = Tally::default();
    tally.add(
        "unit tests",
        cargo().args([
            "test",
            "--locked",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--exclude",
            "tests",
        ]),
    )?;
    tally
        .add("the page's tests", command("npm").arg("test").current_dir(workspace().join("ui")))?;
    let mut in_browser = command("npm");
    in_browser.args(["run", "test:browser"]).current_dir(workspace().join("ui"));
    tally.add("the page in a browser", &mut in_browser)?;
    let mut end_to_end = cargo();
    // With `--package tests` alone the libraries would have other features than above and all be built again.
    end_to_end.args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--workspace",
        "--exclude",
        "agent-ebpf",
    ]);
    for suite in end_to_end_suites()? {
        end_to_end.args(["--test", &suite]);
    }
    // One at a time: they measure shares of the CPU, on machines with few of them.
    end_to_end.args(["--", "--test-threads=1"]);
    tally.add("end to end", with_tools(&mut end_to_end, &binary)?)?;
    say(&format!("{} passed, {} failed", tally.passed, tally.failed));
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}

/// The names of the files of `tests/tests`, in order.
fn end_to_end_suites() -> Result<Vec<String>> {
    let folder = workspace().join("tests/tests");
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Rewrites everything that is committed and made by a program.
pub(crate) fn bless() -> Result<()> {
    ebpf::bless()?;
    page::build()?;
    step("rewrite golden files", || {
        let mut test = cargo();
        test.args([
            "test",
            "--quiet",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--exclude",
            "tests",
        ]);
        crate::command::output(test.env("UPDATE_EXPECT", "1"))
    })
    .map(drop)
}

fn with_tools<'a>(test: &'a mut Command, binary: &Path) -> Result<&'a mut Command> {
    Ok(test
        .env("PILOTLIGHT_BIN", binary)
        .env("PILOTLIGHT_GO", install::go()?)
        .env("PILOTLIGHT_PYTHON", install::python()?))
}

impl Tally {
    /// Runs one suite, shows what it prints, and counts.
    fn add(&mut self, name: &str, suite: &mut Command) -> Result<()> {
        say(&format!("→ {name}"));
        let mut child = suite
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("the suite has no output")?;
        let mut found = Self::default();
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| format!("cannot read what {name} prints"))?;
            say(&line);
            found.count(&line);
        }
        let status = child.wait()?;
        if !status.success() && found.failed == 0 {
            // It did not compile, or died: that is one failure, though no test says so.
            found.failed = 1;
        }
        self.passed += found.passed;
        self.failed += found.failed;
        Ok(())
    }

    /// Reads cargo's `test result: ok. 3 passed; 1 failed; …` and node's `# pass 3`, `ℹ fail 1`.
    fn count(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().unwrap_or(0);
        if line.starts_with("test result:") {
            for pair in words.windows(2) {
                match pair[1].trim_end_matches(';') {
                    "passed" => self.passed += number(pair[0]),
                    "failed" => self.failed += number(pair[0]),
                    _ => {}
                }
            }
        } else if let ["#" | "ℹ", what, count] = words[..] {
            match what {
                "pass" => self.passed += number(count),
                "fail" => self.failed += number(count),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_and_node_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "# pass 4",
            "ℹ fail 1",
            "test tests::a ... ok",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 14, failed: 3 });
    }
}
