//! The output of `perf script` -> folded stacks, the command at their roots. Each sample counts one.
//!
//! ```text
//! my command  4711 [001] 12345.678901:     250000 cpu-clock:
//!         55d0c0ffee00 leaf+0x10 (/usr/bin/it)
//!         55d0c0ffee99 main+0x20 (/usr/bin/it)
//!
//! ```

use std::fmt::Write as _;

/// Whether a text, of which this is the beginning, is that output.
pub(super) fn is_one(text: &str) -> bool {
    text.lines().take(100).any(|line| line.starts_with([' ', '\t']) && frame(line).is_some())
}

/// None where it would become longer than the limit.
pub(super) fn folded(text: &str, limit: usize) -> Option<String> {
    let mut folded = String::new();
    let (mut command, mut frames): (Option<&str>, Vec<&str>) = (None, Vec::new());
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if !line.trim().is_empty() && !line.starts_with([' ', '\t']) {
            command = Some(command_of(line));
            frames.clear();
        } else if let Some(frame) = frame(line) {
            frames.push(frame);
        } else if let Some(command) = command.take() {
            let stack = std::iter::once(command).chain(frames.drain(..).rev());
            push_folded(stack, 1, &mut folded);
        }
        if folded.len() > limit {
            return None;
        }
    }
    Some(folded)
}

/// Root first; what would end a frame's name is written otherwise.
pub(super) fn push_folded<'a>(
    stack: impl Iterator<Item = &'a str>,
    value: i64,
    folded: &mut String,
) {
    for (index, name) in stack.enumerate() {
        if index > 0 {
            folded.push(';');
        }
        folded.extend(name.chars().map(|char| match char {
            ';' => ':',
            '\n' | '\r' => ' ',
            char => char,
        }));
    }
    // Writing to a string cannot fail.
    writeln!(folded, " {value}").unwrap_or_default();
}

/// What stands before the number of the process.
fn command_of(line: &str) -> &str {
    let is_pid = |word: &str| {
        word.split('/').all(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut end = None;
    for word in line.split_whitespace().skip(1) {
        if is_pid(word) {
            end = word.as_ptr().addr().checked_sub(line.as_ptr().addr());
            break;
        }
    }
    end.and_then(|end| line.get(..end)).unwrap_or(line).trim()
}

/// The name in a line of an address, a name and a file; the file where there is no name.
fn frame(line: &str) -> Option<&str> {
    let (address, rest) = line.trim().split_once(' ')?;
    let is_address = address.len() >= 3 && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_address {
        return None;
    }
    let (name, file) = rest.rsplit_once(" (").unwrap_or((rest, ""));
    if name.trim() == "[unknown]" {
        let file = file.trim_end_matches(')');
        return Some(
            file.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or("[unknown]"),
        );
    }
    Some(name.rsplit_once("+0x").map_or(name, |(name, _)| name).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_stacks() {
        let text = "# captured on: today\n\
             my command  4711/4712 [001] 1.5:     250000 cpu-clock:\n\
             \t55d0c0ffee00 leaf(int; char)+0x10 (/usr/bin/it)\n\
             \t55d0c0ffee99 [unknown] (/usr/lib/libc.so.6)\n\
             \tffffffffffff main+0x20 (/usr/bin/it)\n\
             \n\
             swapper     0 [000] 1.6: cycles: \n\
             \n\
             last 1 2.0: cycles:\n\
             \t     7f00 f (x)";
        assert!(is_one(text));
        assert!(!is_one("a;b 1\n c;d 2"));
        let expected = "my command;main;libc.so.6;leaf(int: char) 1\nswapper 1\nlast;f 1\n";
        assert_eq!(folded(text, 1_000).as_deref(), Some(expected));
        assert_eq!(folded(text, 10), None);
    }
}
