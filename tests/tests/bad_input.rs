//! What people get wrong and what attackers send: one clear line, and nothing dies or is lost.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use protocol::profile::{Function, Line, Location, Profile, Sample, ValueType};
use protocol::push::{PushRequest, RawProfileSeries, RawSample};
use protocol::types::LabelPair;
use rustix::process::Signal;
use tests::child::{Child, command, copy_program, public_folder};
use tests::http::Http;
use tests::measure::Meter;
use tests::pilotlight::{Agent, Server, binary, now_ms, pilotlight, sum_of_metric};
use tests::workload::Split;
use tests::{machine, skip, workload};

const PUSH: &str = "/push.v1.PusherService/Push";
const PROTO: (&str, &str) = ("content-type", "application/proto");

/// Runs to the end; it must fail, and say each of `words`.
fn fails_saying(command: &mut Command, words: &[&str]) -> Result<()> {
    let mut child = Child::start(command)?;
    let status = child.wait(Duration::from_secs(20))?;
    let printed = child.printed();
    ensure!(!status.success(), "it succeeded:\n{printed}");
    for word in words {
        ensure!(printed.contains(word), "no `{word}` in what it says:\n{printed}");
    }
    let last = printed.lines().filter(|line| !line.trim().is_empty()).count();
    ensure!(last <= 8 && !printed.contains("panicked"), "too much for one error:\n{printed}");
    Ok(())
}

/// `pilotlight` for users who may not read this checkout.
fn public_binary(folder: &Path) -> Result<std::path::PathBuf> {
    let public = folder.join("pilotlight");
    copy_program(&binary()?, &public)?;
    Ok(public)
}

#[test]
fn not_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() || machine::tool("setpriv").is_none() {
        skip!("only root can become another user, by setpriv");
    }
    let folder = public_folder()?;
    let binary = public_binary(folder.path())?;
    for arguments in [
        &["agent", "--server", "http://127.0.0.1:1"][..],
        &["record", "-a", "-d", "1", "-o", "/tmp/x.folded"],
    ] {
        let mut nobody = command("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
        fails_saying(nobody.arg(&binary).args(arguments), &["root"])?;
    }
    Ok(())
}

#[test]
fn bpf_not_permitted() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    for (dropped, named) in [("-bpf,-sys_admin", "CAP_BPF"), ("-perfmon,-sys_admin", "CAP_PERFMON")]
    {
        let mut confined = command("setpriv");
        confined.arg(format!("--bounding-set={dropped}")).arg(binary()?);
        fails_saying(confined.args(["agent", "--server", "http://127.0.0.1:1"]), &[named])?;
    }
    Ok(())
}

#[test]
fn the_port_is_taken() -> Result<()> {
    let port = machine::free_port()?;
    let _taken = TcpListener::bind(("127.0.0.1", port))?;
    let data = tempfile::tempdir()?;
    let address = format!("127.0.0.1:{port}");
    for subcommand in ["server", "run"] {
        if subcommand == "run" && machine::cannot_sample().is_some() {
            continue;
        }
        let mut command = pilotlight(subcommand)?;
        command.args(["--listen", &address, "--data"]).arg(data.path());
        fails_saying(&mut command, &[&address, "in use"])?;
    }
    Ok(())
}

#[test]
fn the_data_directory_cannot_be_written() -> Result<()> {
    let folder = public_folder()?;
    let binary = public_binary(folder.path())?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    let mut server = if rustix::process::geteuid().is_root() {
        let mut nobody = command("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary);
        nobody
    } else {
        skip!("not root: all of this user's folders can be written");
    };
    server
        .args(["server", "--listen", &format!("127.0.0.1:{}", machine::free_port()?), "--data"])
        .arg(&data);
    fails_saying(&mut server, &[&data.display().to_string()])
}

#[test]
fn two_servers_never_share_a_data_directory() -> Result<()> {
    let data = tempfile::tempdir()?;
    let _first = Server::start_in(data.path())?;
    let mut second = pilotlight("server")?;
    second
        .args(["--listen", &format!("127.0.0.1:{}", machine::free_port()?), "--data"])
        .arg(data.path());
    fails_saying(&mut second, &[&data.path().display().to_string()])
}

#[test]
fn the_server_is_absent_when_the_agent_starts() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let data = tempfile::tempdir()?;
    let port = machine::free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let from = now_ms();
    let mut agent = Agent::start_with(&url, &[("PILOTLIGHT_WINDOW", "2s")])?;
    let meter = Meter::start();
    let mut busy = Child::start(command(workload::c("split")?).arg("8"))?;
    agent.child.wait_for(&url, Duration::from_secs(15))?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(agent.child.is_running(), "the agent gave up:\n{}", agent.child.printed());
    let mut command = pilotlight("server")?;
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--data").arg(data.path());
    let _server = Child::start(&mut command)?;
    let http = Http::new(&url)?;
    http.wait_ready("/ready", Duration::from_secs(10))?;
    busy.wait(Duration::from_secs(20))?;
    let used = meter.used(Split::parse(&busy.printed())?.cpu_ns, 8.0);
    agent.stop()?;
    let profile = tests::pilotlight::profile(&http, "{service_name=\"workload-split\"}", from)?;
    let stored: i64 = profile.sample.iter().filter_map(|sample| sample.value.first()).sum();
    // Also what was sampled while nobody listened.
    used.check_ns(stored, 97.0).with_context(|| agent.child.printed())
}

#[test]
fn a_typo_in_the_configuration_is_named_with_its_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cases = [
        ("agent", "sampling:\n  frequency_herz: 97\n", 2, "frequency_herz"),
        ("agent", "window: 10s\nserver:\n  basic:\n    usrname: x\n", 4, "usrname"),
        ("agent", "window: ten seconds\n", 1, "window"),
        ("agent", "# a comment\nsampling:\n  frequency_hz: fast\n", 3, "frequency_hz"),
        ("server", "# a comment\nlistn: 127.0.0.1:4040\n", 2, "listn"),
    ];
    for (subcommand, text, line, key) in cases {
        let file = folder.path().join(format!("{subcommand}.yaml"));
        std::fs::write(&file, text)?;
        let mut command = pilotlight(subcommand)?;
        command.arg("--config").arg(&file);
        let place = format!("{}:{line}", file.display());
        fails_saying(&mut command, &[&place, key])?;
    }
    let mut command = pilotlight("agent")?;
    fails_saying(command.env("PILOTLIGHT_SERVER__URLL", "x"), &["PILOTLIGHT_SERVER__URLL"])
}

/// A profile of one function, so many nanoseconds of it.
fn small_profile(function: &str, value: i64) -> Vec<u8> {
    let strings = ["", "cpu", "nanoseconds", function, "file.c"];
    let profile = Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        period_type: Some(ValueType { r#type: 1, unit: 2 }),
        period: 10_309_278,
        time_nanos: now_ms() * 1_000_000,
        duration_nanos: 10_000_000_000,
        sample: vec![Sample { location_id: vec![1], value: vec![value], ..Default::default() }],
        location: vec![Location {
            id: 1,
            line: vec![Line { function_id: 1, line: 7, ..Default::default() }],
            ..Default::default()
        }],
        function: vec![Function { id: 1, name: 3, system_name: 3, filename: 4, start_line: 1 }],
        string_table: strings.map(str::to_owned).to_vec(),
        ..Default::default()
    };
    profile.encode_to_vec()
}

fn push_body(service: &str, id: &str, raw: Vec<u8>) -> Vec<u8> {
    let label =
        |name: &str, value: &str| LabelPair { name: name.to_owned(), value: value.to_owned() };
    let series = RawProfileSeries {
        labels: vec![label("__name__", "process_cpu"), label("service_name", service)],
        samples: vec![RawSample { raw_profile: raw.into(), id: id.to_owned() }],
        ..Default::default()
    };
    PushRequest { series: vec![series] }.encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Half a gigabyte of zeros in half a megabyte.
fn bomb() -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..512 {
        encoder.write_all(&zeros)?;
    }
    Ok(encoder.finish()?)
}

fn peak_rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

#[test]
fn corrupt_and_compressed_to_burst_profiles_are_refused() -> Result<()> {
    let mut server = Server::start()?;
    let good = small_profile("fine", 97);
    let bomb = bomb()?;
    let cases: [(&str, Vec<u8>); 6] = [
        ("no protobuf", b"\xff\xff\xff\xff not a request".to_vec()),
        ("no pprof", push_body("s", "", b"\x0a\xff\xff\xff\xff\x0f no pprof".to_vec())),
        ("pprof cut short", push_body("s", "", good[..good.len() / 2].to_vec())),
        ("gzip cut short", push_body("s", "", gzip(&good)?[..20].to_vec())),
        ("a bomb as the profile", push_body("s", "", bomb.clone())),
        (
            "a location that is not there",
            push_body("s", "", {
                let mut profile = Profile::decode(good.as_slice())?;
                profile.sample[0].location_id = vec![99];
                profile.encode_to_vec()
            }),
        ),
    ];
    for (what, body) in cases {
        let answer = server.http.post(PUSH, &[PROTO], body)?;
        ensure!(
            (400..500).contains(&answer.status),
            "{what}: status {} {}",
            answer.status,
            answer.text()
        );
    }
    let answer = server.http.post(PUSH, &[PROTO, ("content-encoding", "gzip")], bomb.clone())?;
    ensure!(
        (400..500).contains(&answer.status),
        "a bomb as the body: status {} {}",
        answer.status,
        answer.text()
    );
    let answer = server.http.post("/ingest?name=x&from=1&until=2", &[], bomb)?;
    ensure!(
        (400..500).contains(&answer.status),
        "a bomb to /ingest: status {} {}",
        answer.status,
        answer.text()
    );
    ensure!(server.child.is_running(), "the server died:\n{}", server.child.printed());
    let rss = peak_rss_bytes(server.child.pid());
    ensure!(rss < 400 << 20, "the server took {rss} bytes of memory");
    let from = now_ms();
    server.http.post(PUSH, &[PROTO], push_body("afterwards", "", good))?.ok()?;
    let stored = server.stacks("{service_name=\"afterwards\"}", from)?.total();
    ensure!(stored == 97, "after all of this, {stored} of a good profile were stored");
    Ok(())
}

#[test]
fn a_server_killed_in_the_middle_of_writes_loses_nothing_acknowledged() -> Result<()> {
    let data = tempfile::tempdir()?;
    let from = now_ms();
    let mut acknowledged = 0;
    for round in 0..3 {
        let server = Server::start_in(data.path())?;
        let url = server.url();
        let kill_after = Duration::from_millis(400 + 150 * round);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let url = url.clone();
                std::thread::spawn(move || push_until_it_dies(&url, &format!("{round}-{writer}")))
            })
            .collect();
        std::thread::sleep(kill_after);
        server.child.signal(Signal::KILL)?;
        for writer in writers {
            acknowledged += writer.join().expect("a writer does not panic")?;
        }
        tear(data.path(), round)?;
    }
    ensure!(
        acknowledged > 20,
        "only {acknowledged} profiles were acknowledged: that proves nothing"
    );
    let server = Server::start_in(data.path())?;
    let stored = server.stacks("{service_name=\"torn\"}", from)?.total();
    // What was written but not yet acknowledged may be there as well: one a writer and round.
    ensure!(
        (acknowledged..=acknowledged + 12).contains(&stored),
        "{acknowledged} acknowledged, {stored} stored"
    );
    Ok(())
}

/// Pushes one nanosecond at a time; gives how many were acknowledged.
fn push_until_it_dies(url: &str, name: &str) -> Result<i64> {
    let http = Http::new(url)?;
    for n in 0.. {
        let id = format!("{:08x}-0000-4000-8000-{:0>12}", n, name.replace('-', ""));
        match http.post(PUSH, &[PROTO], push_body("torn", &id, small_profile("torn", 1))) {
            Ok(answer) if answer.status == 200 => {}
            _ => return Ok(n),
        }
    }
    Ok(0)
}

/// Leaves half a record at the end of the newest log, as a machine does that loses power while it writes.
fn tear(data: &Path, round: u64) -> Result<()> {
    let mut files = Vec::new();
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("wal") {
                files.push((path.metadata()?.modified()?, path));
            }
        }
    }
    files.sort();
    let (_, newest) = files.pop().ok_or_else(|| anyhow::anyhow!("no log in {}", data.display()))?;
    let mut file = std::fs::OpenOptions::new().append(true).open(newest)?;
    Ok(file.write_all(&vec![round as u8 + 1; 5 + 40 * round as usize])?)
}

#[test]
fn foreign_pages_cannot_reach_a_server_on_loopback() -> Result<()> {
    let server = Server::start()?;
    let ok = [format!("127.0.0.1:{}", server.port), format!("localhost:{}", server.port)];
    for host in &ok {
        let answer = server.http.get_with("/ready", &[("host", host)])?;
        ensure!(answer.status == 200, "Host {host}: status {}", answer.status);
    }
    for host in ["evil.example", "evil.example:4040", "localhost.evil.example"] {
        for path in ["/", "/pyroscope/render?query=x"] {
            let answer = server.http.get_with(path, &[("host", host)])?;
            ensure!(
                (400..500).contains(&answer.status),
                "Host {host}, {path}: status {}",
                answer.status
            );
        }
    }
    let origin = [PROTO, ("origin", "http://evil.example")];
    let answer =
        server.http.post(PUSH, &origin, push_body("forged", "", small_profile("forged", 1)))?;
    ensure!((400..500).contains(&answer.status), "a foreign Origin: status {}", answer.status);
    Ok(())
}

#[test]
fn a_library_truncated_under_its_process_costs_that_file_only() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let folder = public_folder()?;
    let library = folder.path().join("libtruncated.so");
    copy_program(&workload::c_library("plugin")?, &library)?;
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start_with(&server.url(), &[("PILOTLIGHT_WINDOW", "2s")])?;
    let mut loader = Child::start(command(workload::c("loader")?).arg("1").arg(&library))?;
    std::thread::sleep(Duration::from_millis(1_900));
    // The process dies of this by SIGBUS; the agent, which reads the same file, must not.
    std::fs::OpenOptions::new().write(true).open(&library)?.set_len(4096)?;
    loader.wait(Duration::from_secs(10))?;
    Child::start(command(workload::c("split")?).arg("5"))?.wait(Duration::from_secs(20))?;
    ensure!(agent.child.is_running(), "the agent died:\n{}", agent.child.printed());
    agent.stop()?;
    let loader = server.stacks("{service_name=\"workload-loader\"}", from)?;
    ensure!(loader.total() > 500_000_000, "{}", loader.shown());
    let split = server.stacks("{service_name=\"workload-split\"}", from)?;
    ensure!(split.percent("burn_60") > 50.0, "later files have no names:\n{}", split.shown());
    Ok(())
}

/// A small file system of its own, gone when this is.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut mount = command("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        tests::child::output(&mut mount)?;
        Ok(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        command("umount").arg("-l").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_disk_that_others_have_filled_costs_no_old_profiles() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skip!("only root can mount a small disk");
    }
    let disk = SmallDisk::mount("8m")?;
    let server = Server::start_in(&disk.0.path().join("data"))?;
    let push = |id: &str| {
        server.http.post(PUSH, &[PROTO], push_body("full", id, small_profile("kept_function", 5)))
    };
    ensure!(push("1")?.status == 200, "the first push was refused");
    let filler = disk.0.path().join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[7; 4096]).is_ok() {}
    drop(file);
    // The rest of the log's last page still takes some.
    let mut n_stored = 1;
    let mut answer = push("rest-0")?;
    while answer.status == 200 && n_stored < 200 {
        n_stored += 1;
        answer = push(&format!("rest-{n_stored}"))?;
    }
    ensure!(answer.status == 503, "status {}: {}", answer.status, answer.text());
    ensure!(answer.text().contains("No space left"), "{}", answer.text());
    for id in ["3", "4", "5", "6"] {
        ensure!(push(id)?.status == 503);
    }
    let metrics = server.http.get("/metrics")?.text();
    let metric =
        |name: &str| sum_of_metric(&metrics, &format!("pilotlight_server_store_{name}"), "");
    ensure!(metric("disk_full_errors_total") >= 5.0, "not counted:\n{metrics}");
    ensure!(metric("evicted_profiles_total") == 0.0, "profiles were deleted:\n{metrics}");
    ensure!(server.stacks("{service_name=\"full\"}", now_ms() - 60_000)?.total() == 5 * n_stored);
    std::fs::remove_file(&filler)?;
    ensure!(push("2")?.status == 200, "the disk has room again");
    ensure!(
        server.stacks("{service_name=\"full\"}", now_ms() - 60_000)?.total() == 5 * (n_stored + 1)
    );
    Ok(())
}
