//! Code that is made while it runs, by the kernel and by a JVM that nobody asked but the agent.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost::Message;
use protocol::profile::Profile;
use tests::child::{Child, command, output};
use tests::machine::tool;
use tests::pilotlight::{Agent, Server, now_ms, pilotlight};
use tests::stacks::Stacks;
use tests::{machine, skip, workload};

fn read(file: &Path) -> Result<Stacks> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file)?).read_to_end(&mut bytes)?;
    Stacks::of(&Profile::decode(bytes.as_slice())?, 0)
}

/// One program was there before the recording. Two come and go in it: when they are named, nothing in the kernel knows them.
#[test]
fn bpf_programs_have_their_names() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let burner = workload::c("bpf_burn")?;
    let mut early = Child::start(command(&burner).args(["30", "early"]))?;
    early.wait_for("running", Duration::from_secs(20))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("profile.pb.gz");
    let mut recording = pilotlight("record")?;
    let mut recording = Child::start(recording.args(["-a", "-d", "5s", "-o"]).arg(&file))?;
    recording.wait_for("sampling ", Duration::from_secs(40))?;
    let mut late = Child::start(command(&burner).args(["1.2", "late_one", "late_two"]))?;
    let ended = late.wait(Duration::from_secs(20))?;
    ensure!(ended.success(), "{ended}:\n{}", late.printed());
    let status = recording.wait(Duration::from_mins(1))?;
    ensure!(status.success(), "{status}:\n{}", recording.printed());
    let in_runs = read(&file)?.filtered(|stack| {
        stack.frames.iter().any(|frame| frame.function.starts_with("bpf_test_run"))
    });
    let of = |name: &str| {
        let is_it = |function: &str| {
            let tag = function.strip_prefix("bpf_prog_").and_then(|rest| rest.strip_suffix(name));
            tag.is_some_and(|tag| tag.len() == 17 && tag.ends_with('_'))
        };
        let leaves = in_runs
            .filtered(|stack| stack.frames.last().is_some_and(|frame| is_it(&frame.function)));
        100.0 * leaves.total() as f64 / in_runs.total().max(1) as f64
    };
    let [early, one, two] = ["early", "late_one", "late_two"].map(of);
    ensure!(early > 30.0 && one > 5.0 && two > 5.0, "{early:.1} {one:.1} {two:.1}");
    ensure!(early + one + two > 85.0, "{early:.1} {one:.1} {two:.1}\n{}", in_runs.shown());
    Ok(())
}

/// Beside it runs a program that the same signal would end.
#[test]
fn a_jvm_is_asked_for_its_map_and_others_are_left_alone() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let (Some(java), Some(javac)) = (tool("java"), tool("javac")) else { skip!("no JDK") };
    let folder = tempfile::tempdir()?;
    let source = machine::workspace().join("tests/workloads/java/Hot.java");
    output(command(javac).arg("-d").arg(folder.path()).arg(source))?;
    let library = folder.path().join("libjvm.so");
    std::fs::write(&library, [0; 4096])?;
    let decoy = workload::c("jit_decoy")?;
    let mut decoy = Child::start(command(decoy).arg("120").arg(&library))?;
    // Another user's, as most are.
    let mut jvm = command(tool("setpriv").context("util-linux has setpriv")?);
    jvm.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(java);
    jvm.args(["-XX:+PreserveFramePointer", "-cp"]).arg(folder.path()).args(["Hot", "120"]);
    let mut permissions = folder.path().metadata()?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(folder.path(), permissions)?;
    let mut jvm = Child::start(&mut jvm)?;
    let map = format!("/tmp/perf-{}.map", jvm.pid());
    let server = Server::start()?;
    let settings = [("PILOTLIGHT_SYMBOLIZE__JVM_PERF_MAP", "true"), ("PILOTLIGHT_WINDOW", "2s")];
    let (mut agent, from_ms) = (Agent::start_with(&server.url(), &settings)?, now_ms());
    let named = wait_until(|| {
        let stacks = server.stacks(r#"{service_name="java"}"#, from_ms).unwrap_or_default();
        Ok(has_hot_loop(&stacks))
    });
    let requests = "pilotlight_agent_symbolize_jvm_requests_total";
    let asked = wait_until(|| {
        Ok(agent.metric(requests, "outcome=\"written\"")? >= 1.0
            && agent.metric(requests, "outcome=\"not_listening\"")? >= 1.0)
    });
    let alive = decoy.is_running() && jvm.is_running();
    let printed = jvm.printed();
    agent.stop()?;
    std::fs::remove_file(&map).ok();
    named.context("its methods have no names")?;
    asked?;
    ensure!(alive, "the JVM or the other program was ended");
    ensure!(!printed.contains("Full thread dump"), "the JVM was made to print:\n{printed}");
    Ok(())
}

fn has_hot_loop(stacks: &Stacks) -> bool {
    let of_hot = |name: &str| name.contains("Hot") && name.contains("hotLoop");
    stacks.0.iter().any(|stack| stack.frames.iter().any(|frame| of_hot(&frame.function)))
}

fn wait_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !is_so()? {
        ensure!(std::time::Instant::now() < end, "not so after 30 s");
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}
