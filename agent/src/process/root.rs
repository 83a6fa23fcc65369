//! A process in; a way to its files as it sees them out, also after its end.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The root directory of a process, held: what a path of the process leads to from there, the process would find.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// Whether it is the agent's own root too.
    pub is_own: bool,
    /// The process's number in its own pid namespace: what it calls itself in file names.
    pub pid_inside: u32,
    /// The users that the process ran as when it was first seen.
    uids: Vec<u32>,
}

impl Root {
    /// The root of a live process.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let directory = open_directory(&format!("/proc/{pid}/root"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let is_own = place(&directory)? == place(&open_directory("/")?)?;
        let pid_inside = numbers(&status, "NSpid:").last().copied().unwrap_or(pid);
        Ok(Self { directory, is_own, pid_inside, uids: numbers(&status, "Uid:") })
    }

    /// The agent's own root.
    pub fn own() -> io::Result<Self> {
        let directory = open_directory("/")?;
        Ok(Self { directory, is_own: true, pid_inside: std::process::id(), uids: Vec::new() })
    }

    /// Whether the process, which may have changed its user since, is or was one of `uid`.
    pub fn has_uid(&self, pid: u32, uid: u32) -> bool {
        let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        self.uids.contains(&uid) || numbers(&status(), "Uid:").contains(&uid)
    }

    /// Opens a regular file for reading. Links lead nowhere out of the root, and what is no file is not opened: a FIFO would
    /// block. What may block all the same is a file system that hangs.
    pub fn open(&self, path: &[u8]) -> io::Result<File> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = OsStr::from_bytes(path);
        let place = rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve)?;
        let place = File::from(place);
        if !place.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let by_number = format!("/proc/self/fd/{}", place.as_raw_fd());
        Ok(File::from(rustix::fs::open(by_number, flags, Mode::empty())?))
    }
}

fn open_directory(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn place(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let metadata = File::from(directory.try_clone()?).metadata()?;
    Ok((metadata.st_dev(), metadata.st_ino()))
}

/// The numbers of one line of `/proc/PID/status`.
fn numbers(status: &str, key: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Root, numbers};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_own_process_has_the_own_root() {
        let pid = std::process::id();
        let root = Root::of(pid).unwrap();
        assert!(root.is_own);
        assert_eq!(root.pid_inside, pid);
        assert!(root.has_uid(pid, rustix::process::geteuid().as_raw()));
        assert!(!root.has_uid(pid, 123_456_789));
        assert!(root.open(b"/proc/self/root/etc/passwd").is_err(), "a magic link");
    }

    #[test]
    fn links_do_not_lead_out_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/inside"), "inside").unwrap();
        for (link, target) in
            [("absolute", "/etc/inside"), ("up", "../../../../etc/inside"), ("out", "/etc/passwd")]
        {
            symlink(target, path.join(link)).unwrap();
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let directory = super::open_directory(path.to_str().unwrap()).unwrap();
        let root = Root { directory, is_own: false, pid_inside: 1, uids: Vec::new() };
        for link in ["/absolute", "/up", "etc/inside", "/../etc/inside"] {
            let mut text = String::new();
            root.open(link.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{link}");
        }
        for refused in ["/out", "/fifo", "/etc", "/etc/passwd"] {
            assert!(root.open(refused.as_bytes()).is_err(), "{refused}");
        }
    }

    #[test]
    fn numbers_of_a_line() {
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\nNSpid:\t4711\t12\t1\n";
        assert_eq!(numbers(status, "NSpid:"), [4711, 12, 1]);
        assert_eq!(numbers(status, "Uid:"), [0, 1000, 0, 0]);
        assert!(numbers(status, "Gid:").is_empty());
    }
}
