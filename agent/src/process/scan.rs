//! Reads what `/proc` says of a process.

use std::path::Path;

use procfs::ProcResult;
use procfs::process::{MMPermissions, MMapPath, Process as ProcProcess};

use crate::event::MappedFile;

/// `PF_KTHREAD` in `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Executable mappings that are taken over.
const MAX_MAPPINGS: usize = 4096;
/// Most of a file in `/proc` that is read.
const MAX_FILE_LEN: u64 = 64 * 1024;

/// A process as `/proc` shows it.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) parent_pid: u32,
    pub(super) start_time_ns: u64,
    pub(super) comm: String,
    pub(super) is_kernel_thread: bool,
    pub(super) mappings: Vec<ScannedMapping>,
}

/// An executable mapping.
#[derive(Debug)]
pub(super) struct ScannedMapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file_offset: u64,
    pub(super) file: MappedFile,
}

/// All pids.
pub(super) fn all_pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Looks at a process; an error when it is gone.
pub(super) fn scan(pid: u32) -> ProcResult<Scanned> {
    let process = ProcProcess::new(pid.cast_signed())?;
    let stat = process.stat()?;
    let is_kernel_thread = stat.flags & PF_KTHREAD != 0;
    Ok(Scanned {
        parent_pid: stat.ppid.cast_unsigned(),
        start_time_ns: stat
            .starttime
            .saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1)),
        comm: stat.comm,
        is_kernel_thread,
        mappings: if is_kernel_thread { Vec::new() } else { mappings(&process)? },
    })
}

fn mappings(process: &ProcProcess) -> ProcResult<Vec<ScannedMapping>> {
    let mut mappings = Vec::new();
    let maps = process.maps()?.0.into_iter();
    for map in maps.filter(|map| map.perms.contains(MMPermissions::EXECUTE)).take(MAX_MAPPINGS) {
        let path = match map.pathname {
            MMapPath::Path(path) => path.to_string_lossy().into_owned(),
            MMapPath::Vdso => super::executable::VDSO.to_owned(),
            _ => String::new(),
        };
        let file = MappedFile {
            major: map.dev.0.cast_unsigned(),
            minor: map.dev.1.cast_unsigned(),
            inode: map.inode,
            generation: 0,
            path,
        };
        mappings.push(ScannedMapping {
            start: map.address.0,
            end: map.address.1,
            file_offset: map.offset,
            file,
        });
    }
    Ok(mappings)
}

/// The path of the main executable, without ` (deleted)`.
pub(super) fn exe_path(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?.to_string_lossy().into_owned();
    Some(path.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(path))
}

/// The text of `/proc/PID/cgroup`.
pub(super) fn cgroup_file(pid: u32) -> Option<String> {
    read_capped(format!("/proc/{pid}/cgroup").as_ref())
}

/// The second word of the command line.
pub(super) fn command(pid: u32) -> Option<String> {
    let text = read_capped(format!("/proc/{pid}/cmdline").as_ref())?;
    text.split('\0')
        .skip(1)
        .find(|word| !word.is_empty() && !word.starts_with('-'))
        .map(str::to_owned)
}

fn read_capped(path: &Path) -> Option<String> {
    use std::io::Read;

    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE_LEN).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
