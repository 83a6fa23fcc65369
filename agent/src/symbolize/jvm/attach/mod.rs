//! A pid in; what came of asking that JVM for its perf map out. `HotSpot`'s attach mechanism: a file `.attach_pidN` in its `/tmp` and
//! SIGQUIT make the JVM listen on `/tmp/.java_pidN`, where `jcmd` gives its commands.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Signal, pidfd_send_signal};

use super::Outcome;
use super::target::{Target, outcome};

/// How long the JVM may take to listen, and to answer: it writes a line for each piece of code first.
const LISTEN_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How often it is looked whether it listens.
const INTERVAL: Duration = Duration::from_millis(20);
/// Of the answer, the most that is read.
const MAX_ANSWER: usize = 64 * 1024;
/// Version 1 of the protocol, the command and its three arguments.
const REQUEST: &[u8] = b"1\0jcmd\0Compiler.perfmap\0\0\0";

/// Asks, and waits for the answer.
pub(super) fn ask(pid: u32) -> Outcome {
    let asked = Target::find(pid).and_then(|target| {
        target.become_user()?;
        converse(&target, ANSWER_TIME)
    });
    asked.err().unwrap_or(Outcome::Written)
}

fn converse(target: &Target, answer_time: Duration) -> Result<(), Outcome> {
    check_map(target)?;
    let stream = match open_socket(target)? {
        Some(stream) => stream,
        None => make_it_listen(target)?,
    };
    request(stream, answer_time)
}

/// The JVM follows links when it writes its map: what somebody else has put there is not to be written over.
fn check_map(target: &Target) -> Result<(), Outcome> {
    let name = format!("perf-{}.map", target.status.pid_inside);
    match rustix::fs::statat(&target.tmp, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(outcome(errno)),
        Ok(found) => {
            let is_file = FileType::from_raw_mode(found.st_mode).is_file();
            let is_own = found.st_uid == target.status.uid && found.st_nlink == 1;
            if is_file && is_own { Ok(()) } else { Err(Outcome::Untrusted) }
        }
    }
}

/// The socket of a JVM that was asked before, by whomever; `None` where there is none. It is followed by no link, and the process
/// at its other end is the JVM.
fn open_socket(target: &Target) -> Result<Option<UnixStream>, Outcome> {
    let name = format!(".java_pid{}", target.status.pid_inside);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat2(&target.tmp, name, flags, Mode::empty(), resolve) {
        Ok(place) => place,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(outcome(errno)),
    };
    let status = rustix::fs::fstat(&place).map_err(outcome)?;
    if !FileType::from_raw_mode(status.st_mode).is_socket() || status.st_uid != target.status.uid {
        return Err(Outcome::Untrusted);
    }
    // Not blocking: somebody may listen and never accept.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(outcome)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", place.as_raw_fd()));
    match connect(&socket, &address.map_err(outcome)?) {
        Ok(()) => {}
        // It was left by a JVM that has ended.
        Err(Errno::CONNREFUSED) => return Ok(None),
        Err(Errno::AGAIN) => return Err(Outcome::TimedOut),
        Err(errno) => return Err(outcome(errno)),
    }
    let peer = socket_peercred(&socket).map_err(outcome)?;
    if peer.pid.as_raw_nonzero().get().cast_unsigned() != target.pid {
        return Err(Outcome::Untrusted);
    }
    Ok(Some(UnixStream::from(socket)))
}

/// A JVM that gets SIGQUIT and finds the file listens; without it, it would print its stacks.
fn make_it_listen(target: &Target) -> Result<UnixStream, Outcome> {
    let _trigger = Trigger::new(target)?;
    pidfd_send_signal(&target.pidfd, Signal::QUIT).map_err(outcome)?;
    let until = Instant::now() + LISTEN_TIME;
    while Instant::now() < until {
        std::thread::sleep(INTERVAL);
        if let Some(stream) = open_socket(target)? {
            return Ok(stream);
        }
        if !target.is_alive() {
            return Err(Outcome::Gone);
        }
    }
    Err(Outcome::TimedOut)
}

/// The file `.attach_pidN`, removed when dropped.
struct Trigger<'a> {
    tmp: &'a OwnedFd,
    name: String,
}

impl<'a> Trigger<'a> {
    /// A file that is there already is of somebody who does the same at the moment, or of one who was ended while he did.
    fn new(target: &'a Target) -> Result<Self, Outcome> {
        let name = format!(".attach_pid{}", target.status.pid_inside);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = rustix::fs::openat(&target.tmp, &name, flags, Mode::RUSR | Mode::WUSR);
        match created {
            Ok(_) => {}
            Err(Errno::EXIST) => {
                let status = rustix::fs::statat(&target.tmp, &name, AtFlags::SYMLINK_NOFOLLOW);
                let status = status.map_err(outcome)?;
                // The JVM asks for the same.
                let is_owned = status.st_uid == target.status.uid || status.st_uid == 0;
                if !is_owned || !FileType::from_raw_mode(status.st_mode).is_file() {
                    return Err(Outcome::Untrusted);
                }
            }
            Err(errno) => return Err(outcome(errno)),
        }
        Ok(Self { tmp: &target.tmp, name })
    }
}

impl Drop for Trigger<'_> {
    fn drop(&mut self) {
        // The JVM's user may have been quicker, or may not remove root's.
        rustix::fs::unlinkat(self.tmp, &self.name, AtFlags::empty()).ok();
    }
}

/// The answer is a number, 0 for success, on a line of its own, and then text.
fn request(mut stream: UnixStream, time: Duration) -> Result<(), Outcome> {
    let until = Instant::now() + time;
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Outcome::TimedOut,
        _ => Outcome::Failed,
    };
    stream.set_nonblocking(false).map_err(failed)?;
    stream.set_write_timeout(Some(time)).map_err(failed)?;
    stream.write_all(REQUEST).map_err(failed)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while answer.len() < MAX_ANSWER {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Outcome::TimedOut);
        }
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut piece).map_err(failed)? {
            0 => break,
            n_read => answer.extend_from_slice(&piece[..n_read]),
        }
    }
    let code = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if code == b"0" { Ok(()) } else { Err(Outcome::Refused) }
}

#[cfg(test)]
mod tests;
