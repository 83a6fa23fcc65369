//! The text of `/proc/kallsyms` in; names of kernel addresses out.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::Read;

use crate::symbolize::wire::{FunctionBytes, KernelText, Lookup};

/// Symbols that are kept; a kernel with all its modules has a tenth of it.
const MAX_SYMBOLS: usize = 2_000_000;
/// Bytes of names that are kept.
const MAX_NAMES: usize = 128 << 20;
/// A line that is longer is no symbol.
const MAX_LINE: usize = 1024;
/// A symbol of a module or a BPF program reaches at most so far: behind the last one of a module others may be loaded later.
const MAX_FOREIGN_SIZE: u64 = 256 * 1024;
/// User addresses end below this (the lower half); absolute per-CPU symbols stand there too and are no code.
const KERNEL_HALF: u64 = 1 << 63;

/// Symbols of code, by address. Compact, because there are 100,000 of them and few are ever asked for.
#[derive(Debug, Default)]
pub(super) struct KernelSymbols {
    /// Address and where the name begins in `names`.
    starts: Vec<(u64, u32)>,
    /// Each name ends with a line feed.
    names: Vec<u8>,
    text: KernelText,
}

impl KernelSymbols {
    /// Reads symbols until the end of the file, its first error or the cap.
    pub(super) fn read(file: &mut impl Read) -> Self {
        let mut symbols = Self::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut filled: usize = 0;
        while let Some(free) = buffer.get_mut(filled..)
            && let Ok(n_read @ 1..) = file.read(free)
        {
            filled = filled.saturating_add(n_read);
            let rest = symbols.add_lines(buffer.get(..filled).unwrap_or_default());
            // A line that does not fit its cap is dropped; what comes of its tail is no symbol.
            let rest = if rest > MAX_LINE { 0 } else { rest };
            buffer.copy_within(filled.saturating_sub(rest)..filled, 0);
            filled = rest;
            if symbols.starts.len() >= MAX_SYMBOLS || symbols.names.len() >= MAX_NAMES {
                break;
            }
        }
        symbols.finish();
        symbols
    }

    /// What was read.
    pub(super) fn text(&self) -> KernelText {
        self.text
    }

    /// The function that covers an address.
    pub(super) fn lookup(&self, address: u64) -> Lookup {
        if self.starts.is_empty() {
            return Lookup::Hidden;
        }
        let found = self.starts.partition_point(|(start, _)| *start <= address).checked_sub(1);
        let Some((start, name)) = found.and_then(|index| self.starts.get(index)) else {
            return Lookup::Unknown;
        };
        let is_core = (self.text.start..self.text.end).contains(start);
        let is_past_core = *start < self.text.end && address >= self.text.end;
        if is_past_core || !is_core && address.saturating_sub(*start) >= MAX_FOREIGN_SIZE {
            return Lookup::Unknown;
        }
        Lookup::Functions(vec![FunctionBytes {
            name: self.name(*name).to_vec(),
            file: Vec::new(),
            line: 0,
        }])
    }

    fn name(&self, start: u32) -> &[u8] {
        let rest = self.names.get(start as usize..).unwrap_or_default();
        rest.split(|byte| *byte == b'\n').next().unwrap_or_default()
    }

    /// Adds the whole lines and gives back the length of the rest.
    fn add_lines(&mut self, mut bytes: &[u8]) -> usize {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.add_line(line);
            bytes = rest.get(1..).unwrap_or_default();
        }
        bytes.len()
    }

    /// A line is `address type name` and, of a module, a tab and `[module]`: `ffffffff81000000 T _stext`.
    fn add_line(&mut self, line: &[u8]) -> Option<()> {
        if line.len() > MAX_LINE {
            return None;
        }
        let (address, rest) = hex(line)?;
        let [b' ', b't' | b'T' | b'w' | b'W', b' ', name @ ..] = rest else { return None };
        let name = name.split(|byte| *byte == b'\t').next().unwrap_or_default();
        if name.is_empty() || address < KERNEL_HALF {
            return None;
        }
        match name {
            b"_stext" => self.text.start = address,
            b"_etext" => {
                self.text.end = address;
                return None;
            }
            _ => {}
        }
        // Of several names of one address the one stays that begins with the fewest underscores, of those the first.
        if let Some((last, start)) = self.starts.last().copied()
            && last == address
        {
            if underscores(name) >= underscores(self.name(start)) {
                return None;
            }
            self.names.truncate(start as usize);
            self.starts.pop();
        }
        self.starts.push((address, u32::try_from(self.names.len()).ok()?));
        self.names.extend(name);
        self.names.push(b'\n');
        Some(())
    }

    fn finish(&mut self) {
        self.starts.sort_by_key(|(address, _)| *address);
        self.starts.shrink_to_fit();
        self.names.shrink_to_fit();
        self.text.n_symbols = self.starts.len() as u32;
    }
}

fn underscores(name: &[u8]) -> usize {
    name.iter().take_while(|byte| **byte == b'_').count()
}

/// A hexadecimal number of up to 16 digits, and what follows it.
fn hex(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    for (index, byte) in line.iter().enumerate().take(17) {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            _ if index > 0 => return Some((value, line.get(index..)?)),
            _ => return None,
        };
        value = value.checked_mul(16)?.checked_add(u64::from(digit))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{KernelSymbols, MAX_LINE};
    use crate::symbolize::wire::{FunctionBytes, KernelText, Lookup};
    use proptest::prelude::{any, proptest};

    const KALLSYMS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81001000 t do_syscall_64
ffffffff81002000 T __x64_sys_read
ffffffff81002000 T __se_sys_read
ffffffff81003000 W ___weak
ffffffff81003000 T strong
ffffffff81004000 D some_data
ffffffff81005000 T _etext
ffffffffc0300000 t bpf_prog_6deef7357e7b4530_sd_fw\t[bpf]
ffffffffc0200000 t ext4_read\t[ext4]
";

    fn name(symbols: &KernelSymbols, address: u64) -> String {
        match symbols.lookup(address) {
            Lookup::Functions(functions) => match functions.as_slice() {
                [FunctionBytes { name, .. }] => String::from_utf8(name.clone()).unwrap(),
                other => panic!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn addresses_have_the_name_of_the_symbol_before_them() {
        let symbols = KernelSymbols::read(&mut KALLSYMS.as_bytes());
        assert_eq!(
            symbols.text(),
            KernelText { n_symbols: 6, start: 0xffff_ffff_8100_0000, end: 0xffff_ffff_8100_5000 }
        );
        for (address, expected) in [
            (0x1000, "Unknown"),
            (0xffff_ffff_80ff_ffff, "Unknown"),
            (0xffff_ffff_8100_0000, "_stext"),
            (0xffff_ffff_8100_1abc, "do_syscall_64"),
            (0xffff_ffff_8100_2000, "__x64_sys_read"),
            (0xffff_ffff_8100_3fff, "strong"),
            (0xffff_ffff_8100_4fff, "strong"),
            (0xffff_ffff_8100_5000, "Unknown"),
            (0xffff_ffff_9000_0000, "Unknown"),
            (0xffff_ffff_c020_0010, "ext4_read"),
            (0xffff_ffff_c024_0000, "Unknown"),
            (0xffff_ffff_c030_0010, "bpf_prog_6deef7357e7b4530_sd_fw"),
            (u64::MAX, "Unknown"),
        ] {
            assert_eq!(name(&symbols, address), expected, "{address:#x}");
        }
    }

    #[test]
    fn hidden_addresses_are_told_from_unknown_ones() {
        let zeros = "0000000000000000 T _stext\n0000000000000000 t do_syscall_64\n";
        assert_eq!(KernelSymbols::read(&mut zeros.as_bytes()).lookup(u64::MAX), Lookup::Hidden);
    }

    #[test]
    fn lines_that_no_kernel_writes_are_skipped() {
        let long = "x".repeat(3 * MAX_LINE);
        let text = format!(
            "no line\nffffffff81000000 T {long}\n\nffffffff81000000 T\nffffffff81000000 T f\nffffffff8100"
        );
        let symbols = KernelSymbols::read(&mut text.as_bytes());
        assert_eq!(name(&symbols, 0xffff_ffff_8100_0001), "f");
    }

    proptest! {
        #[test]
        fn any_bytes_are_symbols_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..500), address: u64) {
            KernelSymbols::read(&mut bytes.as_slice()).lookup(address);
        }
    }
}
