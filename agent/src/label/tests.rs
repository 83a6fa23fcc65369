//! Labels of processes of every kind, and the bound on their number.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use agent_common::limits::COMM_LEN;
use agent_common::outcome::UnwindOutcome;
use expect_test::{Expect, expect};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::process::{Identity, Process};
use crate::stack::{CountedStack, SampleType, Stack};

use super::cgroup::{Membership, systemd_unit};
use super::cgroup_tree::CgroupTree;
use super::{Config, Labeler, Labels, MAX_VALUE_BYTES, Metrics, clean, service};

fn config() -> Config {
    Config { node: "vm1".to_owned(), pid: false, max_series: 100 }
}

fn process(pid: u32, exe_path: Option<&str>) -> Process {
    Process {
        identity: Identity { pid, start_time_ns: 1, exec_generation: 0 },
        comm: "main".to_owned(),
        executable: None,
        exe_path: exe_path.map(str::to_owned),
        is_kernel_thread: false,
        own_command: None,
        cgroup_file: OnceLock::new(),
        root: None,
        jit_dump: None,
    }
}

fn counted(process: Process, comm: &str, cgroup_id: u64) -> CountedStack {
    let mut padded = [0; COMM_LEN];
    padded[..comm.len()].copy_from_slice(comm.as_bytes());
    CountedStack {
        process: Arc::new(process),
        comm: padded,
        cgroup_id,
        sample_type: SampleType::OnCpu,
        stack: Arc::new(Stack { id: 1, frames: Box::new([]), outcome: UnwindOutcome::Complete }),
        n_samples: 2,
        value: 20,
    }
}

fn labeler(config: Config, mount_point: Option<&Path>) -> Labeler {
    let cgroups = CgroupTree::at(mount_point.map(Path::to_owned));
    Labeler::with_cgroups(config, Metrics::default(), cgroups)
}

fn show(labels: &Labels) -> String {
    let lines = labels.iter().map(|(name, value)| format!("{name}={value}\n"));
    lines.collect::<Vec<_>>().concat()
}

fn check(config: Config, process: Process, comm: &str, expected: &Expect) {
    let labels = labeler(config, None).label(&counted(process, comm, 0));
    expected.assert_eq(&show(&labels));
}

#[test]
fn labels_of_a_service() {
    let process = process(42, Some("/usr/sbin/nginx"));
    process.cgroup_file.set("0::/system.slice/nginx.service\n".to_owned()).unwrap();
    let expected = expect![[r"
        cgroup=/system.slice/nginx.service
        comm=nginx worker
        exe=/usr/sbin/nginx
        node=vm1
        pid=42
        service_name=nginx
        systemd_unit=nginx.service
    "]];
    check(Config { pid: true, ..config() }, process, "nginx worker", &expected);
}

#[test]
fn labels_of_a_process_that_was_gone() {
    let expected = expect![[r"
        comm=true
        service_name=true
    "]];
    check(Config { node: String::new(), ..config() }, process(1, None), "true", &expected);
}

#[test]
fn hostile_values_are_escaped() {
    let process = process(1, Some("/tmp/\u{202e}a\nb\u{1b}[31m"));
    let expected = expect![[r"
        comm=c\x0ad
        exe=/tmp/\u{202e}a\x0ab\x1b[31m
        node=vm1
        service_name=\u{202e}a\x0ab\x1b[31m
    "]];
    check(config(), process, "c\nd", &expected);
}

#[test]
fn service_names() {
    let check = |exe: Option<&str>, comm: &str, expected: &str| {
        assert_eq!(service::name(&process(1, exe), comm), expected);
    };
    check(Some("/usr/bin/python3.11"), "gunicorn", "python3.11");
    check(Some("relative"), "x", "relative");
    check(Some("/"), "x", "x");
    check(Some("/memfd:runc_cloned:/proc/self/exe"), "x", "runc_cloned");
    check(Some("/memfd:jit"), "x", "jit");
    check(None, "cat", "cat");
    check(None, "", "main");
    check(None, "  ", "unnamed");
    check(Some("/opt/unknown"), "x", "unknown-process");
    check(Some("/opt/Unspecified"), "x", "Unspecified-process");
}

#[test]
fn service_names_of_kernel_threads_and_of_the_profiler() {
    let kernel =
        |comm: &str| service::name(&Process { is_kernel_thread: true, ..process(1, None) }, comm);
    assert_eq!(kernel("kworker/0:1H-kblockd"), "kworker");
    assert_eq!(kernel("ksoftirqd/12"), "ksoftirqd");
    assert_eq!(kernel("rcu_preempt"), "rcu_preempt");
    assert_eq!(kernel("/0"), "/0");
    assert_eq!(kernel(""), "main");
    let own = |command: &str| {
        let own_command = Some(command.to_owned());
        service::name(&Process { own_command, ..process(1, Some("/usr/bin/pilotlight")) }, "x")
    };
    assert_eq!(own("server"), "pilotlight-server");
    for command in ["agent", "run", "worker", "record"] {
        assert_eq!(own(command), "pilotlight-agent");
    }
}

#[test]
fn cgroup_files() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(Membership::parse(text).path(None), expected, "{text}");
    };
    check("0::/system.slice/ssh.service\n", Some("/system.slice/ssh.service"));
    check("0::/a:b/c\n", Some("/a:b/c"));
    check("0::/gone.service (deleted)\n", Some("/gone.service"));
    check("9:name=systemd:/user.slice/s.scope\n4:memory:/m\n0::/\n", Some("/user.slice/s.scope"));
    check("1:name=systemd:/v1.service\n0::/v2.service\n", Some("/v2.service"));
    check("1:name=systemd:/v1.service\n", Some("/v1.service"));
    check("4:memory:/m\n", None);
    check("0::/\n", Some("/"));
    check("", None);
    check("0:\n0::relative\n::::\nname=systemd", None);
    // The sample's own cgroup is newer than the text.
    assert_eq!(Membership::parse("0::/old\n").path(Some("/new")), Some("/new"));
    let far = format!("{}0::/late\n", "4:memory:/m\n".repeat(64));
    assert_eq!(Membership::parse(&far).path(None), None);
}

#[test]
fn systemd_units() {
    let check =
        |path: &str, expected: Option<&str>| assert_eq!(systemd_unit(path), expected, "{path}");
    check("/system.slice/cron.service", Some("cron.service"));
    check("/user.slice/user-0.slice/session-3.scope", Some("session-3.scope"));
    check("/user.slice/user@0.service/app.slice/a\\x2db.service/sub", Some("a\\x2db.service"));
    check("/system.slice/docker-0123.scope/init", Some("docker-0123.scope"));
    check("/system.slice/dbus.socket", Some("dbus.socket"));
    check("/user.slice/user-0.slice", None);
    check("/kubepods/pod1", None);
    check("/", None);
    check("/.service", None);
    check("/bad name.service", None);
    check(&format!("/{}.service", "a".repeat(300)), None);
}

#[test]
fn cgroup_ids_name_processes_that_were_gone() {
    let mount_point = tempfile::tempdir().unwrap();
    let unit = mount_point.path().join("system.slice/late.service");
    fs::create_dir_all(&unit).unwrap();
    fs::write(mount_point.path().join("cgroup.procs"), "").unwrap();
    let id = fs::metadata(&unit).unwrap().ino();

    let mut labeler = labeler(config(), Some(mount_point.path()));
    let labels = labeler.label(&counted(process(1, None), "sleep", id));
    assert_eq!(labels.get("cgroup").map(|path| &**path), Some("/system.slice/late.service"));
    assert_eq!(labels.get("systemd_unit").map(|unit| &**unit), Some("late.service"));
    // The text is of before the process was moved; the sample's id is right.
    let moved = process(2, Some("/bin/sh"));
    moved.cgroup_file.set("0::/init.scope\n".to_owned()).unwrap();
    let labels = labeler.label(&counted(moved, "sh", id));
    assert_eq!(labels.get("systemd_unit").map(|unit| &**unit), Some("late.service"));
}

#[test]
fn cgroup_tree_walks_once_a_window_at_most() {
    let mount_point = tempfile::tempdir().unwrap();
    fs::create_dir_all(mount_point.path().join("a/b")).unwrap();
    let id = |path: &str| fs::metadata(mount_point.path().join(path)).unwrap().ino();
    let mut tree = CgroupTree::at(Some(mount_point.path().to_owned()));

    assert_eq!(tree.path(0, Some("/a")), None);
    assert_eq!(tree.path(id("a"), Some("/a")).as_deref(), Some("/a"));
    assert_eq!(tree.n_walks(), 0, "a right hint saves the walk");
    assert_eq!(tree.path(id("a/b"), Some("/a/../a/b")).as_deref(), Some("/a/b"));
    assert_eq!(tree.path(id(""), None).as_deref(), Some("/"));
    assert_eq!(tree.n_walks(), 1);

    fs::create_dir(mount_point.path().join("new")).unwrap();
    assert_eq!(tree.path(id("new"), None), None, "no second walk in this window");
    tree.begin_window();
    assert_eq!(tree.path(id("new"), None).as_deref(), Some("/new"));
    for _ in 0..3 {
        tree.begin_window();
        assert_eq!(tree.path(u64::MAX, None), None);
    }
    assert_eq!(tree.n_walks(), 3, "what a walk did not find is not looked for again");
    assert_eq!(CgroupTree::at(None).path(1, Some("/")), None);
}

#[test]
fn series_beyond_the_bound_are_merged_by_service_and_counted() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let bounded = Config { max_series: 4, ..config() };
    let mut labeler = Labeler::with_cgroups(bounded, metrics, CgroupTree::at(None));
    let label = |labeler: &mut Labeler, exe: &str, comm: &str| {
        let labels = labeler.label(&counted(process(1, Some(exe)), comm, 0));
        format!("{} {}", labels.get("service_name").unwrap(), labels.get("comm").unwrap())
    };
    labeler.begin_window();
    // The identity is one and the same here, so that only the thread's name tells series apart.
    for n in 0..4 {
        assert_eq!(label(&mut labeler, "/a", &format!("t{n}")), format!("a t{n}"));
    }
    for n in 4..50 {
        assert_eq!(label(&mut labeler, "/a", &format!("t{n}")), "a other");
    }
    assert_eq!(label(&mut labeler, "/a", "t1"), "a t1", "series that are in stay in");
    assert_eq!(label(&mut labeler, "/b", "b0"), "b other");
    assert_eq!(label(&mut labeler, "/c", "c0"), "other other");
    assert_eq!(label(&mut labeler, "/b", "b1"), "b other");
    labeler.begin_window();
    assert_eq!(label(&mut labeler, "/c", "c0"), "c c0");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("pilotlight_agent_label_overflow_samples_total{reason=\"service\"} 96\n"),
        "{text}"
    );
    assert!(
        text.contains("pilotlight_agent_label_overflow_samples_total{reason=\"other\"} 2\n"),
        "{text}"
    );
}

#[test]
fn a_cgroup_file_that_comes_late_is_taken_up_in_the_next_window() {
    let mut labeler = labeler(config(), None);
    let counted = counted(process(1, Some("/bin/a")), "a", 0);
    labeler.begin_window();
    assert_eq!(labeler.label(&counted).get("cgroup"), None);
    counted.process.cgroup_file.set("0::/x.scope\n".to_owned()).unwrap();
    labeler.begin_window();
    assert_eq!(labeler.label(&counted).get("cgroup").map(|path| &**path), Some("/x.scope"));
}

#[test]
fn a_storm_of_processes_is_labeled_within_bounds() {
    let mut labeler = labeler(Config { max_series: 10, ..config() }, None);
    labeler.begin_window();
    let mut series = std::collections::HashSet::new();
    for pid in 0..40_000 {
        series.insert(labeler.label(&counted(
            process(pid, Some("/bin/true")),
            &format!("t{}", pid % 1000),
            0,
        )));
    }
    assert_eq!(series.len(), 11);
    assert!(labeler.n_known() < 20_000, "{}", labeler.n_known());
    for _ in 0..4 {
        labeler.begin_window();
    }
    assert_eq!(labeler.n_known(), 0, "what is not seen again is forgotten");
}

#[test]
fn labels_are_sorted_and_unique() {
    let pair = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    let labels: Labels = [pair("b", "1"), pair("a", "2"), pair("b", "3")].into_iter().collect();
    assert_eq!(format!("{labels:?}"), r#"{"a": "2", "b": "1"}"#);
    assert_eq!(labels.get("c"), None);
}

proptest! {
    #[test]
    fn clean_text_is_safe_short_and_stays(bytes: Vec<u8>, max_bytes in 0_usize..64) {
        let text = clean(&bytes, max_bytes);
        prop_assert!(text.len() <= max_bytes);
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(clean(text.as_bytes(), MAX_VALUE_BYTES), text);
    }

    #[test]
    fn harmless_text_is_kept(text in "[^\\p{Cc}\u{2028}\u{2029}\u{202a}-\u{202e}\u{2066}-\u{2069}]{0,80}") {
        prop_assert_eq!(clean(text.as_bytes(), MAX_VALUE_BYTES), text);
    }

    #[test]
    fn cgroup_files_of_any_content_are_read(text in any::<String>()) {
        if let Some(path) = Membership::parse(&text).path(None) {
            prop_assert!(path.starts_with('/'));
            systemd_unit(path);
        }
    }

    #[test]
    fn service_names_are_never_reserved(exe in any::<Option<String>>(), comm in "\\PC{0,4}") {
        let name = service::name(&process(1, exe.as_deref()), &comm);
        prop_assert!(!name.trim().is_empty());
        let lower = name.to_lowercase();
        prop_assert!(!["unknown", "unspecified", "unknown_service"].contains(&&*lower));
    }
}
