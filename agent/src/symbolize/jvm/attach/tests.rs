//! A listener of the test's own in the place of a JVM's.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::super::target::{Status, Target};
use super::{Outcome, REQUEST, Trigger, check_map, converse, open_socket};

const PID_INSIDE: u32 = 12;

/// This process, as if it were a JVM whose `/tmp` is that folder.
fn target(tmp: &Path) -> Target {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let pid = std::process::id();
    Target {
        pid,
        pidfd: pidfd_open(getpid(), PidfdFlags::empty()).unwrap(),
        tmp: rustix::fs::open(tmp, flags, Mode::empty()).unwrap(),
        status: Status::for_test(PID_INSIDE),
    }
}

fn answered(answer: &'static [u8]) -> Result<(), Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".java_pid12")).unwrap();
    let jvm = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut request = vec![0; REQUEST.len()];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request, REQUEST);
        stream.write_all(answer).unwrap();
        if answer.is_empty() {
            // Silent, until the other side goes.
            stream.read_to_end(&mut request).ok();
        }
    });
    let outcome = converse(&target(folder.path()), Duration::from_millis(300));
    jvm.join().unwrap();
    outcome
}

#[test]
fn the_answer_tells() {
    assert_eq!(answered(b"0\nCommand executed successfully\n"), Ok(()));
    let unknown = b"1\njava.lang.IllegalArgumentException: Unknown diagnostic command\n";
    assert_eq!(answered(unknown), Err(Outcome::Refused));
    assert_eq!(answered(b"00"), Err(Outcome::Refused));
    assert_eq!(answered(b""), Err(Outcome::TimedOut));
}

#[test]
fn what_is_not_the_jvms_own_socket_is_not_spoken_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".java_pid12");
    let target = target(folder.path());
    assert!(open_socket(&target).unwrap().is_none());
    std::fs::write(&path, "").unwrap();
    assert_eq!(open_socket(&target).unwrap_err(), Outcome::Untrusted, "a file");
    std::fs::remove_file(&path).unwrap();
    let elsewhere = folder.path().join("socket");
    let listener = UnixListener::bind(&elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(open_socket(&target).unwrap_err(), Outcome::Untrusted, "a link");
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&elsewhere, &path).unwrap();
    assert!(open_socket(&target).unwrap().is_some());
    let other = Target { pid: 1, ..self::target(folder.path()) };
    assert_eq!(open_socket(&other).unwrap_err(), Outcome::Untrusted, "another process listens");
    drop(listener);
    assert!(open_socket(&target).unwrap().is_none(), "nobody listens");
}

#[test]
fn the_trigger_is_a_new_file_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".attach_pid12");
    let target = target(folder.path());
    let trigger = Trigger::new(&target).unwrap();
    assert!(path.metadata().unwrap().is_file());
    drop(trigger);
    assert!(!path.exists());
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "text").unwrap();
    symlink(&precious, &path).unwrap();
    assert_eq!(Trigger::new(&target).err(), Some(Outcome::Untrusted));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "text");
    assert!(path.is_symlink());
}

#[test]
fn a_map_that_somebody_else_has_put_there_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let target = target(folder.path());
    let map = folder.path().join(format!("perf-{}.map", target.status.pid_inside));
    assert_eq!(check_map(&target), Ok(()), "there is none");
    std::fs::write(&map, "").unwrap();
    assert_eq!(check_map(&target), Ok(()), "the JVM's own");
    std::fs::hard_link(&map, folder.path().join("other")).unwrap();
    assert_eq!(check_map(&target), Err(Outcome::Untrusted), "it has another name");
    std::fs::remove_file(&map).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other"), &map).unwrap();
    assert_eq!(check_map(&target), Err(Outcome::Untrusted), "a link");
}
