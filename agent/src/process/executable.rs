//! Files that processes run code of: one entry for all processes that map the same file.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};

use crate::event::MappedFile;

/// Path that stands for the vDSO.
pub const VDSO: &str = "[vdso]";

/// The agent's number for an executable file; the same number in the kernel's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutableId(pub u32);

/// A file that processes map executable.
#[derive(Debug)]
pub struct Executable {
    /// The number that frames bear.
    pub id: ExecutableId,
    /// Path as the process that was seen first maps it, without ` (deleted)`; `[vdso]` for the vDSO.
    pub path: String,
    /// The open file, where it could be opened (through `/proc/PID/map_files`, else by path if device and inode agree).
    /// For the vDSO a memfd with its bytes.
    pub file: OnceLock<Arc<File>>,
}

impl Executable {
    /// The last component of the path: the module's name in `module+0x1234`.
    pub fn basename(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// All executables that live processes or pending stacks refer to.
#[derive(Debug, Default)]
pub(super) struct Executables {
    by_key: HashMap<MappedFile, Arc<Executable>>,
    by_id: HashMap<ExecutableId, Entry>,
    n_given: u32,
}

#[derive(Debug)]
struct Entry {
    executable: Arc<Executable>,
    key: MappedFile,
    stamp: OnceLock<Stamp>,
}

/// What changes when a file is overwritten in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    mtime: i64,
    mtime_nsec: i64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            len: metadata.len(),
            mtime: metadata.st_mtime(),
            mtime_nsec: metadata.st_mtime_nsec(),
        })
    }
}

impl Executables {
    /// The executable of a mapping's file; `None` for memory without a file.
    pub(super) fn of_file(&mut self, file: &MappedFile) -> Option<ExecutableId> {
        let key = key_of(file)?;
        if let Some(known) = self.by_key.get(&key)
            && !self.is_overwritten(known.id)
        {
            return Some(known.id);
        }
        self.n_given = self.n_given.wrapping_add(1);
        let id = ExecutableId(self.n_given);
        let executable = Arc::new(Executable { id, path: key.path.clone(), file: OnceLock::new() });
        let entry =
            Entry { executable: Arc::clone(&executable), key: key.clone(), stamp: OnceLock::new() };
        self.by_key.insert(key, executable);
        self.by_id.insert(id, entry);
        Some(id)
    }

    /// The executable of that number.
    pub(super) fn get(&self, id: ExecutableId) -> Option<&Arc<Executable>> {
        self.by_id.get(&id).map(|entry| &entry.executable)
    }

    /// Opens the file of a mapping of a process, if it is not open yet.
    pub(super) fn open(&self, id: ExecutableId, pid: u32, start: u64, end: u64) {
        let Some(entry) = self.by_id.get(&id) else { return };
        if entry.executable.file.get().is_some() {
            return;
        }
        let opened = if entry.key.path == VDSO {
            read_vdso()
        } else {
            open_mapped(pid, start, end, &entry.key)
        };
        match opened {
            Ok(file) => {
                if let Ok(stamp) = Stamp::of(&file) {
                    entry.stamp.get_or_init(|| stamp);
                }
                entry.executable.file.get_or_init(|| Arc::new(file));
            }
            Err(error) => {
                tracing::debug!(pid, path = entry.key.path, %error, "cannot open an executable");
            }
        }
    }

    fn is_overwritten(&self, id: ExecutableId) -> bool {
        let Some(entry) = self.by_id.get(&id) else { return true };
        match (entry.executable.file.get(), entry.stamp.get()) {
            (Some(file), Some(stamp)) if entry.key.path != VDSO => {
                Stamp::of(file).is_ok_and(|now| now != *stamp)
            }
            _ => false,
        }
    }

    /// Forgets what neither `used` nor anybody else refers to.
    pub(super) fn retain(&mut self, used: &HashSet<ExecutableId>) {
        // Two references are the maps' own.
        self.by_id
            .retain(|id, entry| used.contains(id) || Arc::strong_count(&entry.executable) > 2);
        let by_id = &self.by_id;
        self.by_key.retain(|_, executable| by_id.contains_key(&executable.id));
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// What tells files apart; `None` for memory without a file.
fn key_of(file: &MappedFile) -> Option<MappedFile> {
    let mut key = file.clone();
    if let Some(len) = key.path.strip_suffix(" (deleted)").map(str::len) {
        key.path.truncate(len);
    }
    (key.inode != 0 || key.path == VDSO).then_some(key)
}

fn open_mapped(pid: u32, start: u64, end: u64, key: &MappedFile) -> io::Result<File> {
    let by_mapping = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
    match open_checked(&by_mapping, None) {
        Ok(file) => Ok(file),
        // The process is gone, or has mapped something else: the path will do if it leads to the same file.
        Err(_) => open_checked(&key.path, Some(key)),
    }
}

/// Opens a regular file without waiting on what is none. With a key only the very file that was mapped is opened.
fn open_checked(path: &str, key: Option<&MappedFile>) -> io::Result<File> {
    let place = File::from(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    let metadata = place.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if let Some(key) = key {
        let device = metadata.st_dev();
        let is_same = rustix::fs::major(device) == key.major
            && rustix::fs::minor(device) == key.minor
            && metadata.st_ino() == key.inode;
        if !is_same {
            return Err(io::Error::other("another file stands at its path now"));
        }
    }
    let by_fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
    let file: OwnedFd = rustix::fs::open(
        by_fd,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    Ok(File::from(file))
}

/// The vDSO's bytes: all 64-bit processes have the same, so the agent's own do.
fn read_vdso() -> io::Result<File> {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps
        .lines()
        .find(|line| line.ends_with(VDSO))
        .ok_or_else(|| io::Error::other("there is no vDSO"))?;
    let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
    let parse = |hex: &str| u64::from_str_radix(hex, 16).map_err(io::Error::other);
    let (start, end) = range.ok_or_else(|| io::Error::other("cannot parse /proc/self/maps"))?;
    let (start, end) = (parse(start)?, parse(end)?);
    let mut bytes = vec![0; end.saturating_sub(start).min(1 << 20) as usize];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, start)?;
    let mut file = File::from(rustix::fs::memfd_create("vdso", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::{Executables, MappedFile, VDSO};

    fn file(inode: u64, generation: u64, path: &str) -> MappedFile {
        MappedFile { major: 8, minor: 1, inode, generation, path: path.to_owned() }
    }

    #[test]
    fn files_are_told_apart() {
        let mut executables = Executables::default();
        let mut id = |file| executables.of_file(&file);
        let a = id(file(1, 1, "/bin/a"));
        assert_eq!(a, id(file(1, 1, "/bin/a (deleted)")));
        assert_ne!(a, id(file(1, 2, "/bin/a")), "a new file with the inode of a deleted one");
        assert_ne!(a, id(file(2, 1, "/bin/a")));
        assert_eq!(None, id(file(0, 0, "//anon")));
        assert!(id(file(0, 0, VDSO)).is_some());
    }

    #[test]
    fn an_overwritten_file_is_another_one() {
        let mut temp = tempfile::NamedTempFile::new().unwrap();
        temp.write_all(b"first").unwrap();
        let path = temp.path().to_str().unwrap().to_owned();
        let metadata = std::fs::metadata(&path).unwrap();
        let device = std::os::linux::fs::MetadataExt::st_dev(&metadata);
        let key = MappedFile {
            major: rustix::fs::major(device),
            minor: rustix::fs::minor(device),
            inode: std::os::linux::fs::MetadataExt::st_ino(&metadata),
            generation: 1,
            path,
        };
        let mut executables = Executables::default();
        let first = executables.of_file(&key).unwrap();
        // No such process: opened by path, because device and inode agree.
        executables.open(first, u32::MAX, 0, 4096);
        assert!(executables.get(first).unwrap().file.get().is_some());
        assert_eq!(executables.of_file(&key), Some(first));
        temp.write_all(b"and more").unwrap();
        assert_ne!(executables.of_file(&key), Some(first));
        let other = MappedFile { inode: key.inode + 1, ..key };
        let other = executables.of_file(&other).unwrap();
        executables.open(other, u32::MAX, 0, 4096);
        assert!(
            executables.get(other).unwrap().file.get().is_none(),
            "another file stands at that path"
        );
    }

    #[test]
    fn the_vdso_is_an_elf_file() {
        let mut executables = Executables::default();
        let id = executables.of_file(&file(0, 0, VDSO)).unwrap();
        executables.open(id, std::process::id(), 0, 0);
        let mut magic = [0; 4];
        executables.get(id).unwrap().file.get().unwrap().read_exact_at(&mut magic, 0).unwrap();
        assert_eq!(&magic, b"\x7fELF");
    }
}
