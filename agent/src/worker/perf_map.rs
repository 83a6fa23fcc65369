//! A perf map and addresses in; the names of JIT code there out. A line is `start size name`, in hexadecimal; code moves, and a
//! later line is right where an earlier one says something else.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fs::File;

use crate::symbolize::wire::{FunctionBytes, MAX_NAME};

use super::lines;

/// Bytes of a map that are read.
const MAX_BYTES: u64 = 64 << 20;
/// Lines of a map that are read.
const MAX_ENTRIES: u32 = 1_000_000;
/// Lines between two looks at the clock.
const PACE: u32 = 4096;
/// Longest line that is looked at: two numbers and a name.
const MAX_LINE: usize = MAX_NAME + 64;

/// The name of what stands at each of the addresses. Nothing of the map is kept.
pub(super) fn find(
    file: &File,
    addresses: &[u64],
    go_on: &mut dyn FnMut() -> bool,
) -> Vec<Option<Vec<FunctionBytes>>> {
    find_in(&mut lines::FromStart::new(file), addresses, go_on)
}

fn find_in(
    file: &mut impl std::io::Read,
    addresses: &[u64],
    go_on: &mut dyn FnMut() -> bool,
) -> Vec<Option<Vec<FunctionBytes>>> {
    let mut sorted: Vec<(u64, usize)> =
        addresses.iter().enumerate().map(|(position, address)| (*address, position)).collect();
    sorted.sort_unstable();
    let mut found: Vec<Option<Vec<u8>>> = vec![None; addresses.len()];
    let mut n_lines: u32 = 0;
    lines::each(file, MAX_BYTES, MAX_LINE, |line| {
        n_lines = n_lines.saturating_add(1);
        if let Some((start, size, name)) = entry(line) {
            let first = sorted.partition_point(|(address, _)| *address < start);
            let covered = sorted.iter().skip(first);
            for (_, position) in
                covered.take_while(|(address, _)| *address < start.saturating_add(size))
            {
                if let Some(slot) = found.get_mut(*position) {
                    let slot = slot.get_or_insert_default();
                    slot.clear();
                    slot.extend(name);
                }
            }
        }
        n_lines < MAX_ENTRIES && (!n_lines.is_multiple_of(PACE) || go_on())
    });
    let functions = |name| vec![FunctionBytes { name, ..FunctionBytes::default() }];
    found.into_iter().map(|name| name.map(functions)).collect()
}

/// `7f0c8a000000 40 LazyCompile:~main /app/x.js:1`; the numbers may begin with `0x`.
fn entry(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (start, rest) = number(line)?;
    let (size, name) = number(rest)?;
    let name = name.get(..MAX_NAME).unwrap_or(name).trim_ascii();
    (!name.is_empty()).then_some((start, size, name))
}

/// A hexadecimal number that a space ends, and what comes after.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| *byte == b' ')?;
    let (digits, rest) = text.split_at(end);
    let digits = digits.strip_prefix(b"0x").or(digits.strip_prefix(b"0X")).unwrap_or(digits);
    // `from_str_radix` would take a sign.
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    let value = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((value, rest.get(1..)?))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "the answers are as many as the questions")]
mod tests {
    use super::{MAX_NAME, find_in};
    use proptest::prelude::{any, proptest};

    fn names(map: &[u8], addresses: &[u64]) -> Vec<String> {
        let found = find_in(&mut &*map, addresses, &mut || true);
        let name = |functions: Vec<super::FunctionBytes>| {
            functions.iter().map(|f| String::from_utf8_lossy(&f.name).into_owned()).collect()
        };
        found.into_iter().map(|found| found.map_or_else(|| "-".to_owned(), name)).collect()
    }

    #[test]
    fn later_lines_override_earlier_ones() {
        let map = b"1000 100 first\n0x2000 0x10 LazyCompile:~f /a b.js:1\n1080 10 moved in\nno line\n3000 0 empty\n\
            -1 2 sign\n4000 10\n5000 10  \nffffffffffffffff ff end\n6000 10 unfinished";
        assert_eq!(
            names(map, &[0x2005, 0x1000, 0x108f, 0x1090, 0x10ff, 0x1100, 0x3000, u64::MAX, 0x6000]),
            ["LazyCompile:~f /a b.js:1", "first", "moved in", "first", "first", "-", "-", "-", "-"]
        );
    }

    #[test]
    fn names_are_cut_and_longer_lines_are_none() {
        let map =
            format!("10 10 {}\n20 10 {}\n30 10 ok\n", "n".repeat(MAX_NAME + 9), "n".repeat(9000));
        let names = names(map.as_bytes(), &[0x10, 0x20, 0x30]);
        assert_eq!(names.iter().map(String::len).collect::<Vec<_>>(), [MAX_NAME, 1, 2]);
    }

    #[test]
    fn time_ends_the_work() {
        let map = "10 10 early\n".repeat(5000) + "10 10 late\n";
        let found = find_in(&mut map.as_bytes(), &[0x10], &mut || false);
        assert_eq!(found[0].as_ref().map(|f| f[0].name.clone()), Some(b"early".to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_map_or_not(map in proptest::collection::vec(any::<u8>(), 0..400), address: u64) {
            find_in(&mut map.as_slice(), &[address, 0], &mut || true);
        }

        #[test]
        fn any_text_is_a_map_or_not(map in "([0-9a-fx]{0,18} [0-9a-f]{0,18} ?[a-z\0\u{1b}]{0,5}\n){0,8}") {
            find_in(&mut map.as_bytes(), &[0, 1, u64::MAX], &mut || true);
        }
    }
}
