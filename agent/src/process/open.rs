//! How the file of a mapping is opened: through `/proc/PID/map_files`, else by its path, which may not lead astray. Everything
//! here may wait for a file system that never answers: it runs on the threads of the [`super::opener`] only.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::event::MappedFile;

/// Most of a list of mounts that is read.
const MAX_MOUNTINFO_LEN: u64 = 4 << 20;

/// Why there is no open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unopened {
    /// The process has ended or mapped something else, and its path leads nowhere.
    Gone,
    /// Another file stands at its place now.
    Replaced,
    /// It is no regular file.
    NotRegular,
    /// The agent may not open it.
    Denied,
    /// Its file system did not answer in time, for this file or for another one.
    Hung,
    /// Too many files wait to be opened.
    Busy,
    /// As many files are open as the limit of the system allows, but for a reserve.
    TooMany,
    /// Too many file systems do not answer.
    Unavailable,
    /// The kernel gave another error.
    Failed,
}

impl Unopened {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Gone,
        Self::Replaced,
        Self::NotRegular,
        Self::Denied,
        Self::Hung,
        Self::Busy,
        Self::TooMany,
        Self::Unavailable,
        Self::Failed,
    ];

    /// Whether the same may succeed a moment later.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Hung | Self::Busy | Self::TooMany | Self::Unavailable)
    }

    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::NotRegular => "not_regular",
            Self::Denied => "denied",
            Self::Hung => "hung",
            Self::Busy => "busy",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

impl From<Errno> for Unopened {
    fn from(errno: Errno) -> Self {
        match errno {
            // EAGAIN: the path is not in the kernel's cache, as it is when somebody runs the file.
            Errno::NOENT | Errno::SRCH | Errno::NOTDIR | Errno::LOOP | Errno::AGAIN => Self::Gone,
            Errno::MFILE | Errno::NFILE => Self::TooMany,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// Where a file is mapped, and where else to look for it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) pid: u32,
    /// Often in the same mount namespace, and alive when a short process is gone.
    pub(super) parent_pid: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file: MappedFile,
}

impl Place {
    /// Major and minor number of the file's device, as lists of mappings show it.
    pub(super) fn device(&self) -> (u32, u32) {
        (self.file.major, self.file.minor)
    }
}

/// Opens the file that a process has mapped. `only_proven`: not unless device and inode say that it is this file.
pub(super) fn open_mapped(place: &Place, only_proven: bool) -> Result<File, Unopened> {
    let (pid, start, end) = (place.pid, place.start, place.end);
    let by_mapping = format!("/proc/{pid}/map_files/{start:x}-{end:x}");
    match rustix::fs::open(&by_mapping, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) if is_mapped_file(&found, &by_mapping, &place.file, only_proven)? => {
            open_regular(&found)
        }
        Ok(_) => open_by_path(place),
        // The process is gone, its mapping was cut, or the right to look there is missing.
        Err(errno) => open_by_path(place)
            .map_err(|why| if why == Unopened::Gone { Unopened::from(errno) } else { why }),
    }
}

/// By path, in the root of the process, of its parent, or in our own one.
fn open_by_path(place: &Place) -> Result<File, Unopened> {
    let mut why = Unopened::Gone;
    for pid in [Some(place.pid), Some(place.parent_pid).filter(|pid| *pid > 1), None] {
        let who = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        match walk(&who, &place.file.path) {
            Ok(found) if is_same_file(&found, &place.file, &who) => return open_regular(&found),
            Ok(_) => why = Unopened::Replaced,
            Err(errno) if why == Unopened::Gone => why = errno.into(),
            Err(_) => {}
        }
    }
    Err(why)
}

/// Follows a path in a process's root as the kernel has it in its cache: what is running is there. So the walk asks no file
/// system, and no symbolic link, mount or name that somebody has put in the way can hold it up or lead it out.
fn walk(who: &str, path: &str) -> Result<File, Errno> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{who}/root"), directory, Mode::empty())?;
    // The kernel's own paths of mapped files have no symbolic links in them.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let open = |resolve| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).map(File::from)
    };
    match open(resolve | ResolveFlags::CACHED) {
        // Linux before 5.12 does not know `CACHED`: there, foreign roots are not walked.
        Err(Errno::INVAL) if who == "self" => open(resolve),
        other => other,
    }
}

/// Opens a file that was found, without waiting on what is no regular file.
fn open_regular(found: impl AsFd) -> Result<File, Unopened> {
    let kind = rustix::fs::FileType::from_raw_mode(cached_status(&found)?.stx_mode.into());
    if !kind.is_file() {
        return Err(Unopened::NotRegular);
    }
    let by_fd = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(by_fd, flags, Mode::empty())?))
}

/// What the kernel knows of a file without asking its file system.
pub(super) fn cached_status(file: impl AsFd) -> Result<Statx, Errno> {
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(file, "", how, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

/// Whether what a mapping leads to is the file that was mapped there: the process may have mapped another one meanwhile.
fn is_mapped_file(
    found: impl AsFd,
    by_mapping: &str,
    file: &MappedFile,
    only_proven: bool,
) -> Result<bool, Unopened> {
    let status = cached_status(found)?;
    if (status.stx_dev_major, status.stx_dev_minor) == (file.major, file.minor) {
        return Ok(status.stx_ino == file.inode);
    }
    if only_proven {
        return Ok(false);
    }
    // Btrfs and overlayfs show other devices here than in lists of mappings: then the names must agree.
    let link = rustix::fs::readlink(by_mapping, Vec::new())?;
    let link = link.to_string_lossy();
    let link = link.strip_suffix(" (deleted)").unwrap_or(&link);
    Ok(Path::new(link).file_name() == Path::new(&file.path).file_name())
}

/// Whether device and inode are those of the mapped file. `who` has it mounted.
fn is_same_file(found: impl AsFd, file: &MappedFile, who: &str) -> bool {
    let Ok(status) = cached_status(found) else { return false };
    let expected = (file.major, file.minor);
    status.stx_ino == file.inode
        && ((status.stx_dev_major, status.stx_dev_minor) == expected
            // The device of the file system, where the file's own is one of its parts (btrfs).
            || device_of_mount(who, status.stx_mnt_id) == Some(expected))
}

/// The device of a mount, by its number.
fn device_of_mount(who: &str, mount: u64) -> Option<(u32, u32)> {
    use std::io::Read;

    let mut text = String::new();
    let mounts = File::open(format!("/proc/{who}/mountinfo")).ok()?;
    mounts.take(MAX_MOUNTINFO_LEN).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        // `36 35 98:0 /mnt1 /mnt2 rw,noatime …`: the mount's number, its parent's, the device.
        let mut words = line.split(' ');
        let is_it = words.next()?.parse() == Ok(mount);
        let (major, minor) = words.nth(1)?.split_once(':')?;
        is_it.then_some((major.parse().ok()?, minor.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::linux::fs::MetadataExt;
    use std::path::Path;

    use super::{MappedFile, Place, Unopened, device_of_mount, open_mapped};

    fn place(path: &Path) -> Place {
        let metadata = std::fs::metadata(path).unwrap();
        let device = metadata.st_dev();
        let file = MappedFile {
            major: rustix::fs::major(device),
            minor: rustix::fs::minor(device),
            inode: metadata.st_ino(),
            generation: 1,
            path: path.to_str().unwrap().to_owned(),
        };
        // No such process: only the path is left.
        Place { pid: u32::MAX, parent_pid: u32::MAX, start: 0, end: 4096, file }
    }

    fn text(file: Result<File, Unopened>) -> Result<String, Unopened> {
        let mut text = String::new();
        file?.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn a_path_is_believed_if_it_leads_to_the_very_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("module");
        std::fs::write(&path, "it").unwrap();
        let mut place = place(&path);
        assert_eq!(text(open_mapped(&place, false)).as_deref(), Ok("it"));
        place.file.inode += 1;
        assert_eq!(text(open_mapped(&place, false)), Err(Unopened::Replaced));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text(open_mapped(&place, false)), Err(Unopened::Gone));
    }

    #[test]
    fn a_path_is_followed_over_no_link() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("module");
        std::fs::write(&path, "it").unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(text(open_mapped(&place(&link), false)), Err(Unopened::Gone));
        let directory = temp.path().join("directory");
        std::os::unix::fs::symlink(temp.path(), &directory).unwrap();
        assert_eq!(
            text(open_mapped(&place(&directory.join("module")), false)),
            Err(Unopened::Gone)
        );
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(text(open_mapped(&place(&path), false)), Err(Unopened::NotRegular));
    }

    #[test]
    fn a_mapping_of_this_process_leads_to_its_program() {
        let here = a_mapping_of_this_process_leads_to_its_program as *const () as usize as u64;
        let maps = procfs::process::Process::myself().unwrap().maps().unwrap();
        let map = maps.iter().find(|map| map.address.0 <= here && here < map.address.1).unwrap();
        let mut place = place(&std::env::current_exe().unwrap());
        (place.pid, place.start, place.end) = (std::process::id(), map.address.0, map.address.1);
        "/nowhere".clone_into(&mut place.file.path);
        if !rustix::process::getuid().is_root() {
            eprintln!("SKIPPED: /proc/PID/map_files needs root");
            return;
        }
        assert!(open_mapped(&place, true).is_ok(), "map_files needs no path");
        place.file.inode += 1;
        assert_eq!(text(open_mapped(&place, false)), Err(Unopened::Gone), "another file is mapped");
    }

    #[test]
    fn mounts_tell_their_devices() {
        let status = super::cached_status(File::open("/proc/self/stat").unwrap()).unwrap();
        let device = (status.stx_dev_major, status.stx_dev_minor);
        assert_eq!(device_of_mount("self", status.stx_mnt_id), Some(device));
        assert_eq!(device_of_mount("self", u64::MAX), None);
    }
}
