//! Recordings in each format, and the ways in which writing them can fail.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agent_common::frame::FrameKind;
use agent_common::outcome::UnwindOutcome;
use expect_test::expect;
use flate2::read::GzDecoder;
use prost::Message;
use protocol::profile::Profile;

use crate::label::{LabeledStack, Labels};
use crate::profile::Window;
use crate::stack::SampleType;
use crate::symbolize::{Function, Module, SymbolizedFrame, SymbolizedStack};

use super::{FileFormat, Target, folded, render};

const WINDOW: Window = Window { start_unix_ns: 1, duration_ns: 2, period_ns: 3 };

fn frame(kind: FrameKind, names: &[&str]) -> Arc<SymbolizedFrame> {
    let function = |name: &&str| Function { name: (*name).into(), file: None, line: 0 };
    Arc::new(SymbolizedFrame {
        kind,
        module: Arc::new(Module { path: "/bin/a".into(), build_id: "".into() }),
        address: 1,
        functions: names.iter().map(function).collect(),
        miss: None,
    })
}

fn stack(comm: &str, frames: Vec<Arc<SymbolizedFrame>>, n_samples: u64) -> LabeledStack {
    let mut pairs = vec![(Arc::from("service_name"), Arc::from("svc"))];
    if !comm.is_empty() {
        pairs.push((Arc::from("comm"), Arc::from(comm)));
    }
    let labels: Labels = pairs.into_iter().collect();
    let stack = Arc::new(SymbolizedStack { id: 0, frames });
    LabeledStack {
        labels,
        sample_type: SampleType::OnCpu,
        stack,
        outcome: UnwindOutcome::Complete,
        n_samples,
        value: n_samples * 3,
    }
}

fn stacks() -> Vec<LabeledStack> {
    let main = || frame(FrameKind::Native, &["inner", "middle", "main"]);
    vec![
        stack("web server", vec![frame(FrameKind::Kernel, &["vfs_read"]), main()], 2),
        stack("web server", vec![frame(FrameKind::Kernel, &["vfs_read"]), main()], 1),
        stack("node", vec![frame(FrameKind::Jit, &["LazyCompile:~f a.js:1"])], 4),
        stack("a;b", vec![frame(FrameKind::Native, &["operator;(int, char)\n\u{1b}"])], 1),
        stack("", vec![frame(FrameKind::Address, &["[unknown]"])], 1),
        stack("idle", vec![], 1),
    ]
}

#[test]
fn folded_lines() {
    expect![[r"
        a:b;operator:(int, char)\x0a\x1b 1
        idle 1
        node;LazyCompile:~f a.js:1_[j] 4
        svc;[unknown] 1
        web_server;main;middle_[i];inner_[i];vfs_read_[k] 3
    "]]
    .assert_eq(&folded::lines(&stacks()).concat());
}

#[test]
fn flame_graph_is_interactive_and_escaped() {
    let stacks = [stack("x", vec![frame(FrameKind::Native, &["a<b>&\"c\""])], 1)];
    let image =
        String::from_utf8(render(FileFormat::FlameGraph, WINDOW, &stacks).unwrap()).unwrap();
    assert!(image.contains("<svg") && image.contains("function zoom("), "{image}");
    assert!(image.contains("a&lt;b&gt;&amp;&quot;c&quot; (1 samples, 100.00%)"), "{image}");
    assert_eq!(render(FileFormat::FlameGraph, WINDOW, &stacks).unwrap(), image.into_bytes());
    let empty = String::from_utf8(render(FileFormat::FlameGraph, WINDOW, &[]).unwrap()).unwrap();
    assert!(empty.contains("<svg") && empty.contains("No valid input"), "{empty}");
}

#[test]
fn pprof_is_compressed_and_complete() {
    let bytes = render(FileFormat::Pprof, WINDOW, &stacks()).unwrap();
    let mut message = Vec::new();
    GzDecoder::new(&*bytes).read_to_end(&mut message).unwrap();
    let profile = Profile::decode(&*message).unwrap();
    assert_eq!(profile.sample_type.len(), 2);
    let total: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    assert_eq!(total, 10);
}

#[test]
fn formats_by_ending() {
    let check = |path: &str, expected: Option<FileFormat>| {
        assert_eq!(FileFormat::from_path(Path::new(path)).ok(), expected, "{path}");
    };
    check("a.pb.gz", Some(FileFormat::Pprof));
    check("/tmp/x.y.folded", Some(FileFormat::Folded));
    check("./.svg", Some(FileFormat::FlameGraph));
    check("a.pb", None);
    check("a.svg/b", None);
    check("folded", None);
    check("", None);
    expect![[
        r"cannot tell the format of out.txt: give it the ending .pb.gz (pprof), .folded (folded stacks) or .svg (flame graph)"
    ]]
    .assert_eq(&FileFormat::from_path(Path::new("out.txt")).unwrap_err().to_string());
}

#[test]
fn the_file_is_replaced_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.folded");
    fs::write(&path, "old").unwrap();
    let target = Target::check(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old", "checking changes nothing");
    target.write(WINDOW, &stacks()).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("a:b;"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn what_cannot_be_written_is_said_before_sampling() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display().to_string();
    let check = |path: &Path| Target::check(path).unwrap_err().to_string().replace(&root, "ROOT");

    fs::create_dir(directory.path().join("d.svg")).unwrap();
    let missing = check(&directory.path().join("no/a.svg"));
    expect!["cannot write ROOT/no/a.svg: the directory ROOT/no does not exist; create it first"]
        .assert_eq(&missing);
    let is_directory = check(&directory.path().join("d.svg"));
    expect!["cannot write ROOT/d.svg: it is a directory; name a file in it"]
        .assert_eq(&is_directory);

    let read_only = directory.path().join("r.svg");
    fs::write(&read_only, "x").unwrap();
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write what nobody may write: there is nothing to refuse then.
    if !rustix::process::geteuid().is_root() {
        expect!["cannot write ROOT/r.svg: Permission denied (os error 13)"]
            .assert_eq(&check(&read_only));
    }
    let on_proc = Target::check(Path::new("/proc/a.svg")).unwrap_err();
    assert!(on_proc.to_string().starts_with("cannot write /proc/.a.svg."), "{on_proc}");
}

#[test]
fn a_temporary_file_of_somebody_else_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.folded");
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let temporary = directory.path().join(format!(".a.folded.{}.tmp", std::process::id()));
    std::os::unix::fs::symlink(&victim, &temporary).unwrap();
    Target::check(&path).unwrap_err();
    Target { path, format: FileFormat::Folded }.write(WINDOW, &stacks()).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}
