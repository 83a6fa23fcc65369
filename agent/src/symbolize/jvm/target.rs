//! A pid in; a process that is proven to be a `HotSpot` JVM, with what is needed to talk to it, out.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, PidfdFlags, Uid, pidfd_open};

use super::Outcome;

/// Most of a file of `/proc` that is read.
const MAX_PROC_FILE: u64 = 16 << 20;
/// Threads that are looked through: `HotSpot` starts this one among its first.
const MAX_THREADS: usize = 1024;
/// The thread that waits for SIGQUIT, as far as the kernel keeps its name. Without it (`-Xrs`, or before a VM was made) nobody does.
const SIGNAL_THREAD: &str = "Signal Dispatch";
const SIGQUIT_BIT: u64 = 1 << (libc::SIGQUIT - 1);

/// A `HotSpot` JVM.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    /// Of the process itself, whatever becomes of its pid.
    pub(super) pidfd: OwnedFd,
    /// `/tmp` as the process sees it.
    pub(super) tmp: OwnedFd,
    pub(super) status: Status,
}

/// What `/proc/PID/status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The process's number in its own pid namespace.
    pub(super) pid_inside: u32,
    /// Whom it acts as.
    pub(super) uid: u32,
    pub(super) gid: u32,
    catches_sigquit: bool,
}

impl Target {
    /// Everything is asked while the pidfd is held and proven at the end to be of a live process: it is all of one process.
    pub(super) fn find(pid: u32) -> Result<Self, Outcome> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Outcome::Gone)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(outcome)?;
        if !is_hotspot(&read(pid, "maps")?) {
            return Err(Outcome::NotHotspot);
        }
        let status = Status::parse(&read(pid, "status")?).ok_or(Outcome::Failed)?;
        if !status.catches_sigquit || !has_signal_thread(pid) {
            return Err(Outcome::NotListening);
        }
        // Such a JVM would print the stacks of its threads instead.
        // Options come from the environment too; where they cannot be told apart, the JVM is left alone.
        let is_off = "-XX:+DisableAttachMechanism";
        if is_disabled(&read(pid, "cmdline")?) || read(pid, "environ")?.contains(is_off) {
            return Err(Outcome::Disabled);
        }
        let tmp = open_tmp(pid)?;
        let target = Self { pid, pidfd, tmp, status };
        if target.is_alive() { Ok(target) } else { Err(Outcome::Gone) }
    }

    /// A pidfd can be read when its process has ended.
    pub(super) fn is_alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Takes the JVM's user as this thread's effective one: from here on nothing is opened, created or signalled that the JVM's
    /// owner could not reach himself, and the JVM takes the connection for his.
    pub(super) fn become_user(&self) -> Result<(), Outcome> {
        let Status { uid, gid, .. } = self.status;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let is_already = rustix::process::geteuid() == uid && rustix::process::getegid() == gid;
        if is_already {
            return Ok(());
        }
        rustix::thread::set_thread_groups(&[])
            // By the real and saved ids it is decided who may signal, trace or limit this thread, and with it the whole agent:
            // they stay.
            .and_then(|()| rustix::thread::set_thread_res_gid(None, gid, None))
            .and_then(|()| rustix::thread::set_thread_res_uid(None, uid, None))
            .map_err(|_errno| Outcome::NotPermitted)
    }
}

impl Status {
    fn parse(status: &str) -> Option<Self> {
        let words = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().collect::<Vec<_>>())
        };
        let caught = u64::from_str_radix(words("SigCgt:")?.first()?, 16).ok()?;
        Some(Self {
            pid_inside: words("NSpid:")?.last()?.parse().ok()?,
            // Real, effective, saved, of the file system.
            uid: words("Uid:")?.get(1)?.parse().ok()?,
            gid: words("Gid:")?.get(1)?.parse().ok()?,
            catches_sigquit: caught & SIGQUIT_BIT != 0,
        })
    }
}

#[cfg(test)]
impl Status {
    /// Of this process, with another number inside.
    pub(super) fn for_test(pid_inside: u32) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self { pid_inside, uid, gid, catches_sigquit: true }
    }
}

/// Whether a list of mappings is `HotSpot`'s. `OpenJ9` has a library of that name too, and takes the signal for something else.
fn is_hotspot(maps: &str) -> bool {
    let mut has_libjvm = false;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let is_code = words.nth(1).is_some_and(|protection| protection.contains('x'));
        let name = words.nth(3).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        if name.starts_with("libj9") {
            return false;
        }
        has_libjvm |= is_code && name == "libjvm.so";
    }
    has_libjvm
}

fn is_disabled(cmdline: &str) -> bool {
    // The last one of several counts.
    let last = cmdline.split('\0').rfind(|word| word.ends_with("DisableAttachMechanism"));
    last == Some("-XX:+DisableAttachMechanism")
}

fn has_signal_thread(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().take(MAX_THREADS).any(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        comm.trim_end() == SIGNAL_THREAD
    })
}

/// Through no link at all: what stands there is what the JVM itself uses, or nothing is touched.
fn open_tmp(pid: u32) -> Result<OwnedFd, Outcome> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(format!("/proc/{pid}/root"), directory, Mode::empty()).map_err(outcome)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&root, "tmp", directory | OFlags::NOFOLLOW, Mode::empty(), resolve)
        .map_err(outcome)
}

fn read(pid: u32, name: &str) -> Result<String, Outcome> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/{name}"));
    file.and_then(|file| file.take(MAX_PROC_FILE).read_to_end(&mut bytes))
        .map_err(|error| outcome(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What an error means for the question.
pub(super) fn outcome(errno: Errno) -> Outcome {
    match errno {
        Errno::SRCH => Outcome::Gone,
        Errno::LOOP => Outcome::Untrusted,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Outcome::NotPermitted,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Status, Target, is_disabled, is_hotspot};

    #[test]
    fn mappings_of_hotspot() {
        let line = |protection, path| format!("7f00-7f10 {protection} 0000 08:01 77  {path}\n");
        let hotspot = line("r-xp", "/usr/lib/jvm/x/lib/server/libjvm.so");
        let data_only = line("r--p", "/usr/lib/jvm/x/lib/server/libjvm.so");
        let j9 = line("r-xp", "/opt/x/lib/default/libj9vm29.so");
        for (maps, expected) in [
            (hotspot.clone(), true),
            (line("r-xp", "/x/libjvm.so.bak"), false),
            (data_only, false),
            (format!("{hotspot}{j9}"), false),
            (line("rwxp", ""), false),
            (String::from("\n \nx"), false),
        ] {
            assert_eq!(is_hotspot(&maps), expected, "{maps}");
        }
    }

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tjava\nUid:\t1\t1000\t3\t4\nGid:\t5\t1001\t7\t8\nNSpid:\t4711\t12\n\
            SigCgt:\t2000000181005ccf\n";
        let expected = Status { pid_inside: 12, uid: 1000, gid: 1001, catches_sigquit: true };
        assert_eq!(Status::parse(status), Some(expected));
        let ignores = status.replace("5ccf", "5ccb");
        assert_eq!(Status::parse(&ignores).map(|status| status.catches_sigquit), Some(false));
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }

    #[test]
    fn the_last_word_on_attaching_counts() {
        let on = "java\0-XX:+DisableAttachMechanism\0Main\0";
        assert!(is_disabled(on));
        assert!(!is_disabled(&format!("{on}-XX:-DisableAttachMechanism\0")));
        assert!(!is_disabled("java\0Main\0"));
    }

    #[test]
    fn this_program_is_no_jvm() {
        assert_eq!(Target::find(std::process::id()).unwrap_err(), Outcome::NotHotspot);
        assert_eq!(Target::find(u32::MAX).unwrap_err(), Outcome::Gone);
    }
}
