//! The gate before a recorded command, and what the binary says of itself: the real binary, without root.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

#[expect(clippy::disallowed_methods, reason = "runs the binary")]
fn pilotlight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PILOTLIGHT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The gate before `command`, for which this test is the recorder.
fn gate(command: &[&str]) -> Child {
    let mut gate = pilotlight();
    gate.args(["gate", "--child-of", &std::process::id().to_string(), "--"]).args(command);
    gate.stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test")
}

fn is_stopped(child: &Child) -> bool {
    let changes = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(Pid::from_child(child)), changes)
        .ok()
        .flatten()
        .is_some_and(|status| status.stopped())
}

/// What the command did after the gate was opened.
fn open(command: &[&str]) -> Output {
    let gate = gate(command);
    assert!(is_stopped(&gate), "{command:?}");
    kill_process(Pid::from_child(&gate), Signal::CONT)
        .expect("it is there until it was waited for");
    gate.wait_with_output().expect("it is a child of this process")
}

#[test]
fn the_command_begins_when_the_gate_is_opened() {
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("mark");
    let command = ["touch", mark.to_str().unwrap()];
    let gate = gate(&command);
    let pid = gate.id();
    assert!(is_stopped(&gate));
    assert!(!mark.exists());
    kill_process(Pid::from_child(&gate), Signal::CONT).unwrap();
    assert!(gate.wait_with_output().unwrap().status.success());
    assert!(mark.exists());
    let output = open(&["sh", "-c", "echo $PPID $0", "name"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{} name\n", std::process::id()));
    assert_ne!(pid, std::process::id());
}

#[test]
fn how_the_command_ends_is_handed_on() {
    assert_eq!(open(&["sh", "-c", "exit 3"]).status.code(), Some(3));
    assert_eq!(open(&["sh", "-c", "kill -9 $$"]).status.signal(), Some(9));
}

#[test]
fn what_cannot_be_run_has_the_exit_codes_of_shells() {
    for (command, code, message) in [
        ("/nonexistent/program", 127, "error: cannot run /nonexistent/program: no such command\n"),
        (
            "no-such-command-anywhere",
            127,
            "error: cannot run no-such-command-anywhere: no such command\n",
        ),
        ("/etc/passwd", 126, "error: cannot run /etc/passwd: it is not executable\n"),
        ("/etc", 126, "error: cannot run /etc: it is not executable\n"),
    ] {
        let output = open(&[command]);
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(code), message)
        );
    }
}

#[test]
fn the_gate_stays_shut_without_its_recorder() {
    let mut gate = pilotlight();
    let output = gate.args(["gate", "--child-of", "1", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "error: the recorder has ended\n");
}

#[test]
fn the_version_names_the_commit() {
    let output = pilotlight().arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rest =
        text.strip_prefix(concat!("pilotlight ", env!("CARGO_PKG_VERSION"), " (commit ")).unwrap();
    let (commit, target) = rest.split_once(", ").unwrap();
    assert!(
        commit == "unknown"
            || (commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{text}"
    );
    assert!(target.ends_with(")\n"), "{text}");
}

#[test]
fn a_recording_is_refused_before_anything_is_begun() {
    for (arguments, code, message) in [
        (&["-o", "x.jpeg"][..], 1, ".folded"),
        (&["-o", "/nonexistent/x.svg"], 1, "does not exist"),
        (&["-o", "/tmp/x.svg", "--", "/nonexistent/program"], 127, "no such command"),
        (&["-o", "/tmp/x.svg", "--", "/etc/passwd"], 126, "not executable"),
        (&["-o", "/tmp/x.svg", "-p", "4194999"], 1, "there is no process 4194999"),
        (&["-o", "/tmp/x.svg", "-F", "1001"], 2, "1..=1000"),
    ] {
        let output = pilotlight().arg("record").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}
