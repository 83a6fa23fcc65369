//! Files → a newc archive that the kernel unpacks as its first file system.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDERS: &[&str] = &["bin", "dev", "proc", "sys", "tmp"];
const EXECUTABLE: u32 = 0o100_755;
const FOLDER: u32 = 0o040_755;

/// Writes `init` and the files, all executable.
pub(super) fn write(archive: &Path, init: &str, files: &[(&str, &Path)]) -> Result<()> {
    let mut out = Vec::new();
    for (index, folder) in FOLDERS.iter().enumerate() {
        entry(&mut out, index + 1, folder, FOLDER, &[])?;
    }
    entry(&mut out, 100, "init", EXECUTABLE, init.as_bytes())?;
    for (index, (name, path)) in files.iter().enumerate() {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        entry(&mut out, 200 + index, name, EXECUTABLE, &bytes)?;
    }
    entry(&mut out, 0, "TRAILER!!!", 0, &[])?;
    std::fs::write(archive, out).with_context(|| format!("cannot write {}", archive.display()))
}

/// `Documentation/driver-api/early-userspace/buffer-format.rst`: thirteen hexadecimal numbers, the name, the contents.
fn entry(out: &mut Vec<u8>, inode: usize, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
    let (size, name_size) = (contents.len(), name.len() + 1);
    write!(out, "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}", 0, 1)?;
    write!(out, "{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}{name}\0", 0)?;
    pad(out);
    out.extend_from_slice(contents);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
