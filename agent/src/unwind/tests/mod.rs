//! Tables of real files against gimli and Go's own debug information, files that are damaged or made by hand, sizes.

mod go;
mod hostile;
mod layout;
mod made_by_hand;
mod sizes;
mod truth;

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files by which the tests are quick; those that are not on the machine are left out.
const SAMPLE: &[&str] = &[
    "/bin/ls",
    "/usr/bin/perl",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    "/usr/lib/x86_64-linux-gnu/libgmp.so.10",
    "/usr/lib/x86_64-linux-gnu/libz.so.1",
];

/// `PILOTLIGHT_ALL_ELF=1`.
fn are_all_wanted() -> bool {
    std::env::var_os("PILOTLIGHT_ALL_ELF").is_some()
}

/// The sample or, when all are wanted, all ELF files of this machine.
fn elf_files() -> Vec<PathBuf> {
    if are_all_wanted() {
        return all_elf_files();
    }
    SAMPLE.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

/// All ELF files of this machine but for those of builds, each once.
fn all_elf_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut folders = vec![PathBuf::from("/")];
    let left_out = ["/proc", "/sys", "/dev", "/tmp", "/work", "/var/tmp"].map(Path::new);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            if metadata.is_dir() && !left_out.contains(&path.as_path()) {
                folders.push(path);
            } else if metadata.is_file() && is_elf(&path) && seen.insert(metadata.ino()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let file = std::fs::File::open(path);
    file.and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
