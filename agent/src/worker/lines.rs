//! A file that is read piece by piece in; its lines out, none longer than a cap.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Reads a file from its start, wherever others who share it have read to.
pub(super) struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> FromStart<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.file.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(n_read as u64);
        Ok(n_read)
    }
}

/// Calls `on_line` with each whole line, until it says false, the file ends, or `cap` bytes were read. Lines that are longer
/// than `max_line` are passed over.
pub(super) fn each(
    file: &mut impl Read,
    cap: u64,
    max_line: usize,
    mut on_line: impl FnMut(&[u8]) -> bool,
) {
    let mut buffer = vec![0; max_line.saturating_mul(2).max(64 * 1024)];
    let (mut filled, mut n_left): (usize, u64) = (0, cap);
    let mut is_tail = false;
    while let Some(free) = buffer.get_mut(filled..)
        && n_left > 0
        && let Ok(n_read @ 1..) = file.read(free)
    {
        n_left = n_left.saturating_sub(n_read as u64);
        filled = filled.saturating_add(n_read);
        let mut rest = buffer.get(..filled).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let is_whole = !std::mem::replace(&mut is_tail, false);
            if is_whole && line.len() <= max_line && !on_line(line) {
                return;
            }
        }
        let n_rest = rest.len();
        // A line that does not fit is dropped, and so is what comes of its tail.
        is_tail = is_tail || n_rest > max_line;
        let kept = if is_tail { 0 } else { n_rest };
        buffer.copy_within(filled.saturating_sub(kept)..filled, 0);
        filled = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn long_lines_are_passed_over_and_the_last_needs_its_end() {
        let long = "x".repeat(200_000);
        let text = format!("a\n\n{long}\nb\n{long}b\nc\nunfinished");
        let mut lines = Vec::new();
        each(&mut text.as_bytes(), u64::MAX, 100, |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            true
        });
        assert_eq!(lines, ["a", "", "b", "c"]);
        lines.clear();
        each(&mut "a\n".repeat(1_000_000).as_bytes(), 100_000, 100, |_| {
            lines.push(String::new());
            true
        });
        assert!(lines.len() <= 100_000, "{}", lines.len());
    }
}
