//! What the running worker may and holds.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::fixture::{Program, Subject, Test, executable, open, skip};

pub(crate) const TESTS: &[Test] = &[
    ("worker_has_no_rights", worker_has_no_rights),
    ("worker_inherits_nothing", worker_inherits_nothing),
    ("file_of_root_alone_is_named", file_of_root_alone_is_named),
    ("worker_forgets_files_above_its_bound", worker_forgets_files_above_its_bound),
];

/// A worker that has named nothing yet but answered something.
fn started() -> Subject {
    let mut subject = Subject::new();
    subject.name_offsets(&executable("/proc/version", File::open("/proc/version").ok()), &[0]);
    subject
}

fn proc_file(subject: &Subject, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{name}", subject.worker_pid()))
        .expect("the worker runs")
}

fn status(subject: &Subject) -> BTreeMap<String, String> {
    let text = proc_file(subject, "status");
    let pair = |line: &str| {
        line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn worker_has_no_rights() {
    if !rustix::process::getuid().is_root() {
        return skip("only root has rights to give up");
    }
    let subject = started();
    let status = status(&subject);
    for (key, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
        ("Uid", "65534\t65534\t65534\t65534"),
        ("Gid", "65534\t65534\t65534\t65534"),
        ("Groups", ""),
    ] {
        assert_eq!(status[key], value, "{key}");
    }
    let limits = proc_file(&subject, "limits");
    let limit = |name: &str| {
        limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit").trim().to_owned()
    };
    assert!(limit("Max core file size").starts_with("0 "), "{limits}");
    assert!(limit("Max processes").starts_with("0 "), "{limits}");
    assert!(limit("Max data size").starts_with("536870912 "), "{limits}");
    assert_eq!(proc_file(&subject, "oom_score_adj").trim(), "1000");
}

fn descriptors(subject: &Subject) -> BTreeMap<i32, PathBuf> {
    let folder = format!("/proc/{}/fd", subject.worker_pid());
    let entries = std::fs::read_dir(folder).expect("root may look");
    let link = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, std::fs::read_link(entry.path()).ok()?))
    };
    entries.filter_map(|entry| link(entry.ok()?)).collect()
}

fn worker_inherits_nothing() {
    if !rustix::process::getuid().is_root() {
        return skip("only root may look at the worker's descriptors");
    }
    // A descriptor that the agent itself has inherited from a careless parent.
    let careless =
        File::open("/etc/hostname").or_else(|_| File::open("/proc/version")).expect("some file");
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).expect("it can be inherited");
    let subject = started();
    let descriptors = descriptors(&subject);
    assert!(careless.as_raw_fd() > 2);
    let numbers: Vec<_> = descriptors.keys().copied().collect();
    assert_eq!(numbers, [0, 1, 2], "{descriptors:?}");
    assert!(descriptors[&0].to_string_lossy().starts_with("socket:"), "{descriptors:?}");
    assert_eq!(
        (&*descriptors[&1], &*descriptors[&2]),
        ("/dev/null".as_ref(), "/dev/null".as_ref())
    );
}

fn file_of_root_alone_is_named() {
    if !rustix::process::getuid().is_root() {
        return skip("only root can make a file that the worker may not read");
    }
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    for mode in [0o700, 0o711, 0o000] {
        std::fs::set_permissions(&program.path, Permissions::from_mode(mode))
            .expect("our own file");
        let offset = program.offset_of(program.symbols()["caller"].0);
        let frame = Subject::new().name_offsets(&open(&program.path), &[offset]).remove(0);
        let function = &frame.functions[0];
        assert_eq!(
            (&*function.name, function.line > 0, frame.miss),
            ("caller", true, None),
            "mode {mode:o}"
        );
    }
}

fn worker_forgets_files_above_its_bound() {
    if !rustix::process::getuid().is_root() {
        return skip("only root may look at the worker's descriptors");
    }
    let config = agent::symbolize::Config { worker_resident_bytes: 1, ..Default::default() };
    let Some(program) = Program::c(&["-g", "-O2"]) else { return };
    let symbols = program.symbols();
    let executable = open(&program.path);
    let mut subject = Subject::with(config);
    for name in ["leaf", "caller", "main"] {
        let frame =
            subject.name_offsets(&executable, &[program.offset_of(symbols[name].0)]).remove(0);
        assert_eq!(&*frame.functions.last().expect("one").name, name);
        assert_eq!(descriptors(&subject).len(), 3, "the file is let go");
    }
}
