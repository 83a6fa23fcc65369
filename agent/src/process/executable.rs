//! Files that processes run code of: one entry for all processes that map the same file.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::file::{ExecutableFile, Opening};
use super::open::Place;
use super::opener::{Opener, OpenerTally};
use crate::event::MappedFile;

/// Path that stands for the vDSO.
pub const VDSO: &str = "[vdso]";

/// Files that are known at a time. What is mapped beyond is placed nowhere, as memory without a file: nobody can make the
/// agent large by mapping files.
pub(super) const MAX_EXECUTABLES: usize = 1 << 17;

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
    /// The file, once a process that maps it was sampled. For the vDSO a memfd with its bytes.
    pub file: Arc<ExecutableFile>,
}

impl Executable {
    /// The last component of the path: the module's name in `module+0x1234`.
    pub fn basename(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Where a process has mapped a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct MappedAt {
    pub(super) pid: u32,
    pub(super) parent_pid: u32,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// All executables that live processes or pending stacks refer to.
#[derive(Debug, Default)]
pub(super) struct Executables {
    by_key: HashMap<MappedFile, Arc<Executable>>,
    by_id: HashMap<ExecutableId, Entry>,
    n_given: u32,
    /// Files that are not open yet, and where they were mapped.
    asked: RefCell<HashMap<ExecutableId, MappedAt>>,
    opener: Opener,
}

#[derive(Debug)]
struct Entry {
    executable: Arc<Executable>,
    key: MappedFile,
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
        if self.by_id.len() >= MAX_EXECUTABLES {
            return None;
        }
        self.n_given = self.n_given.wrapping_add(1);
        let id = ExecutableId(self.n_given);
        let executable = Arc::new(Executable { id, path: key.path.clone(), file: Arc::default() });
        let entry = Entry { executable: Arc::clone(&executable), key: key.clone() };
        self.by_key.insert(key, executable);
        self.by_id.insert(id, entry);
        Some(id)
    }

    /// The executable of that number.
    pub(super) fn get(&self, id: ExecutableId) -> Option<&Arc<Executable>> {
        self.by_id.get(&id).map(|entry| &entry.executable)
    }

    /// Asks for the file of a mapping of a process, if it is not open yet. Never waits.
    pub(super) fn open(&self, id: ExecutableId, mapped: MappedAt) {
        let Some(Entry { executable, key }) = self.by_id.get(&id) else { return };
        if executable.file.get().is_some() {
            return;
        }
        let MappedAt { pid, parent_pid, start, end } = mapped;
        if key.path != VDSO {
            let place = Place { pid, parent_pid, start, end, file: key.clone() };
            executable.file.ask(&self.opener, place);
            self.asked.borrow_mut().insert(id, mapped);
            return;
        }
        match read_vdso() {
            Ok(file) => executable.file.set(file),
            Err(error) => tracing::debug!(%error, "cannot read the vDSO"),
        }
    }

    /// Asks again for files that could not be opened for a reason that may have passed.
    pub(super) fn ask_again(&self) {
        let asked = self.asked.take();
        for (id, mapped) in asked {
            let Some(executable) = self.get(id) else { continue };
            match executable.file.opening() {
                Opening::Failed(why) if why.may_pass() => self.open(id, mapped),
                Opening::Pending => drop(self.asked.borrow_mut().insert(id, mapped)),
                Opening::NotAsked | Opening::Opened(_) | Opening::Failed(_) => {}
            }
        }
    }

    /// Looks at something of a process that may never answer, on another thread.
    pub(super) fn look(&self, look: impl FnOnce() + Send + 'static) {
        self.opener.look(look);
    }

    /// Keeps an eye on files that take long to open.
    pub(super) fn watch(&self) {
        self.opener.watch();
    }

    /// What has become of files so far.
    pub(super) fn opener_tally(&self) -> OpenerTally {
        self.opener.tally()
    }

    fn is_overwritten(&self, id: ExecutableId) -> bool {
        let Some(entry) = self.by_id.get(&id) else { return true };
        entry.executable.file.get().is_some_and(|file| file.is_overwritten())
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
    use std::os::linux::fs::MetadataExt;
    use std::os::unix::fs::FileExt;
    use std::time::{Duration, Instant};

    use super::{Executables, MappedAt, MappedFile, VDSO};
    use crate::process::{Opening, Unopened};

    /// No such process: what is mapped there is opened by path, if device and inode agree.
    const NOWHERE: MappedAt = MappedAt { pid: u32::MAX, parent_pid: 0, start: 0, end: 4096 };

    fn file(inode: u64, generation: u64, path: &str) -> MappedFile {
        MappedFile { major: 8, minor: 1, inode, generation, path: path.to_owned() }
    }

    fn key_of_path(path: &std::path::Path) -> MappedFile {
        let metadata = std::fs::metadata(path).unwrap();
        MappedFile {
            major: rustix::fs::major(metadata.st_dev()),
            minor: rustix::fs::minor(metadata.st_dev()),
            inode: metadata.st_ino(),
            generation: 1,
            path: path.to_str().unwrap().to_owned(),
        }
    }

    fn open(executables: &mut Executables, key: &MappedFile) -> Opening {
        let id = executables.of_file(key).unwrap();
        executables.open(id, NOWHERE);
        let until = Instant::now() + Duration::from_secs(20);
        executables.get(id).unwrap().file.wait(until)
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
        let key = key_of_path(temp.path());
        let mut executables = Executables::default();
        let first = executables.of_file(&key);
        assert!(matches!(open(&mut executables, &key), Opening::Opened(_)));
        assert_eq!(executables.of_file(&key), first);
        temp.write_all(b"and more").unwrap();
        assert_ne!(executables.of_file(&key), first);
        assert!(matches!(open(&mut executables, &key), Opening::Opened(_)));
        let other = MappedFile { inode: key.inode + 1, ..key };
        let opening = open(&mut executables, &other);
        assert!(matches!(opening, Opening::Failed(Unopened::Replaced)), "{opening:?}");
        let tally = executables.opener_tally();
        assert_eq!((tally.n_opened, tally.n_stuck, tally.n_waiting), (2, 0, 0));
        assert!(tally.unopened.contains(&(Unopened::Replaced, 1)), "{tally:?}");
    }

    #[test]
    fn the_vdso_is_an_elf_file() {
        let mut executables = Executables::default();
        let id = executables.of_file(&file(0, 0, VDSO)).unwrap();
        executables.open(id, NOWHERE);
        let mut magic = [0; 4];
        executables.get(id).unwrap().file.get().unwrap().read_exact_at(&mut magic, 0).unwrap();
        assert_eq!(&magic, b"\x7fELF");
    }
}
