//! The tree of sources → what breaks the rules that neither rustfmt nor clippy knows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Crates whose folders are stages, in the order that data travels. `mod` lines stand in this order, and a stage names
/// only stages before it.
const ROADS: &[(&str, &[&str])] = &[
    (
        "agent/src",
        &[
            "kernel",
            "event",
            "process",
            "unwind",
            "stack",
            "symbolize",
            "worker",
            "label",
            "profile",
            "export",
            "config",
            "admin",
            "doctor",
            "agent",
        ],
    ),
    (
        "server/src",
        &[
            "ingest", "scrape", "store", "shelf", "access", "query", "render", "api", "ui",
            "config", "server",
        ],
    ),
];
const MAX_LINES: usize = 500;
/// Names that say nothing about what is inside. BPF has helper functions, so agent-ebpf may have `helpers`.
const FORBIDDEN_NAMES: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "manager", "legacy", "misc"];
/// Written in halves so that this file passes its own check.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Every violation, as `file:line: what`.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in [
        "agent-common",
        "agent-ebpf",
        "units",
        "agent",
        "protocol",
        "server",
        "cli",
        "xtask",
        "tests",
        "fuzz",
    ] {
        rust_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        check_file(&name, &text, &mut found);
    }
    Ok(found)
}

/// The rules for one file; `name` is its path in the workspace.
fn check_file(name: &str, text: &str, found: &mut Vec<String>) {
    let mut say = |line: usize, what: &str| found.push(format!("{name}:{line}: {what}"));
    if !text.starts_with("//!") {
        say(1, "the first line is not a `//!` line that says what comes in and what goes out");
    }
    let is_tests = name.ends_with("/tests.rs") || name.starts_with("tests/tests/");
    let n_lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if n_lines > MAX_LINES && !is_tests {
        say(
            n_lines,
            &format!(
                "{n_lines} lines before the unit tests; {MAX_LINES} at the most, 300 is better"
            ),
        );
    }
    for part in name.trim_end_matches(".rs").split('/').skip(1) {
        if FORBIDDEN_NAMES.contains(&part) && !name.starts_with("agent-ebpf/") {
            say(1, &format!("a file or folder named `{part}` says nothing about what is inside"));
        }
    }
    for (index, line) in text.lines().enumerate() {
        if line.contains(concat!("crate::", "{")) && !line.trim_start().starts_with("//") {
            say(
                index + 1,
                "one `use crate::module::…` a module, so that edges can be searched for",
            );
        }
        if UNFINISHED.iter().any(|word| line.contains(word)) {
            say(index + 1, "an unfinished thing belongs into an issue, not into the sources");
        }
    }
    for (source, road) in ROADS {
        if let Some(inside) = name.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')) {
            check_road(inside, text, road, &mut say);
        }
    }
}

/// A file of a stage names no later stage, and bears the name of none; the crate's root lists them in order.
fn check_road(inside: &str, text: &str, road: &[&str], say: &mut impl FnMut(usize, &str)) {
    let mut parts = inside.trim_end_matches(".rs").split('/');
    let stage = parts.next().unwrap_or_default();
    if stage == "lib" {
        return check_order(text, road, say);
    }
    let Some(place) = road.iter().position(|name| *name == stage) else {
        return say(
            1,
            &format!(
                "`{stage}` is no stage; the stages are ROADS of xtask/src/tidy.rs and ARCHITECTURE.md"
            ),
        );
    };
    for later in &road[place + 1..] {
        if parts.clone().any(|part| part == *later) {
            say(1, &format!("bears the name of the later stage `{later}`"));
        }
        for (index, line) in text.lines().enumerate() {
            if names(line, "crate", later) || names(line, "super", later) {
                say(
                    index + 1,
                    &format!(
                        "stage `{stage}` names the later stage `{later}`; it should return a value instead"
                    ),
                );
            }
        }
    }
}

fn check_order(text: &str, road: &[&str], say: &mut impl FnMut(usize, &str)) {
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        let words = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        let Some(module) = words.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
        else {
            continue;
        };
        match road.iter().position(|name| *name == module) {
            None => say(index + 1, &format!("`{module}` is no stage")),
            Some(place) if place < last => {
                say(index + 1, &format!("`mod {module}` stands out of road order"));
            }
            Some(place) => last = place,
        }
    }
}

/// Whether `line` has `root::module` as whole words, outside a comment.
fn names(line: &str, root: &str, module: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let path = format!("{root}::{module}");
    code.match_indices(&path).any(|(at, _)| {
        let next = code[at + path.len()..].chars().next();
        let before = code[..at].chars().next_back();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        // `super::super::x` is another level than `super::x`.
        !is_word(next) && !is_word(before) && before != Some(':')
    })
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "workloads" && !name.starts_with('.') {
            rust_files(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check_file(name, text, &mut found);
        found
    }

    /// Planted text must be found by a message that contains `expected`.
    fn check(name: &str, text: &str, expected: &str) {
        let found = violations(name, text);
        assert!(found.iter().any(|line| line.contains(expected)), "{name}: {found:?}");
    }

    #[test]
    fn this_workspace_is_tidy() {
        let found = super::check(&crate::command::workspace()).unwrap();
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    #[test]
    fn edges_to_later_stages_are_found() {
        check(
            "agent/src/stack/mod.rs",
            "//! x\nuse crate::export::Batch;\n",
            "later stage `export`",
        );
        check("agent/src/stack/intern.rs", "//! x\nuse super::export;\n", "later stage `export`");
        check(
            "server/src/store/wal.rs",
            "//! x\nfn f() { crate::api::g() }\n",
            "later stage `api`",
        );
        check("agent/src/stack/label.rs", "//! x\n", "bears the name");
        check(
            "agent/src/stack/mod.rs",
            concat!("//! x\nuse crate::", "{export, label};\n"),
            "one `use crate::module",
        );
    }

    #[test]
    fn edges_to_earlier_stages_are_fine() {
        assert_eq!(
            violations("agent/src/label/mod.rs", "//! x\nuse crate::process::Table;\n"),
            [""; 0]
        );
        assert_eq!(
            violations("agent/src/label/process.rs", "//! x\n// crate::export is later\n"),
            [""; 0]
        );
        assert_eq!(
            violations("agent/src/stack/mod.rs", "//! x\nuse crate::process::exported;\n"),
            [""; 0]
        );
    }

    #[test]
    fn the_root_lists_stages_in_order() {
        check("agent/src/lib.rs", "//! x\npub mod stack;\npub mod event;\n", "out of road order");
        check("agent/src/lib.rs", "//! x\npub mod sundry;\n", "no stage");
        check("agent/src/sundry/mod.rs", "//! x\n", "no stage");
    }

    #[test]
    fn shape_and_names_are_checked() {
        check("cli/src/main.rs", "fn main() {}\n", "first line");
        check("cli/src/utils.rs", "//! x\n", "named `utils`");
        check("cli/src/main.rs", &format!("//! x\n{}", "// y\n".repeat(500)), "501 lines");
        check("cli/src/main.rs", concat!("//! x\n// TO", "DO later\n"), "unfinished");
        let long_tests = format!("//! x\n#[cfg(test)]\n{}", "// y\n".repeat(600));
        assert_eq!(violations("cli/src/main.rs", &long_tests), [""; 0]);
    }
}
