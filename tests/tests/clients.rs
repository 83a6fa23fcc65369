//! Programs that others wrote agree with us: the protocols' generated Go code on both sides, and SDKs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::child::{Child, command, output};
use tests::measure::Meter;
use tests::pilotlight::{Agent, CPU, Server, now_ms};
use tests::workload::Split;
use tests::{machine, skip, workload};

/// Builds `tests/clients/go`.
fn go_clients(go: &Path) -> Result<PathBuf> {
    let program = machine::workspace().join("target/workloads/go-clients");
    let mut build = command(go);
    build.current_dir(machine::workspace().join("tests/clients/go"));
    output(build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg("."))?;
    Ok(program)
}

fn strings(json: &Value) -> Vec<&str> {
    json.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn the_generated_go_client_finds_the_same_sum_in_every_answer() -> Result<()> {
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let clients = go_clients(&go)?;
    let server = Server::start()?;
    let from = now_ms();
    let mut agent = Agent::start(&server.url())?;
    let meter = Meter::start();
    let mut busy = Child::start(command(workload::c("split")?).arg("12"))?;
    busy.wait(Duration::from_secs(20))?;
    let used = meter.used(Split::parse(&busy.printed())?.cpu_ns, 12.0);
    agent.stop()?;
    let ours = server.stacks("{service_name=\"workload-split\"}", from)?.total();
    used.check_ns(ours, 97.0)?;
    let mut answers = Vec::new();
    for codec in ["proto", "json", "grpc", "grpc-web"] {
        let mut query = command(&clients);
        query.args(["query", &server.url(), "{service_name=\"workload-split\"}"]);
        // A series has whole steps only: the last must end inside of the range.
        query.args([
            (from - 15_000).to_string(),
            (now_ms() + 20_000).to_string(),
            codec.to_owned(),
        ]);
        let answer: Value = serde_json::from_str(&output(&mut query)?)?;
        check_answer(&answer, ours).with_context(|| format!("{codec}: {answer}"))?;
        answers.push(answer);
    }
    ensure!(answers.iter().all(|answer| *answer == answers[0]), "the protocols differ");
    Ok(())
}

fn check_answer(answer: &Value, ours: i64) -> Result<()> {
    for sum in ["merge_total", "flame_total", "flame_self"] {
        ensure!(answer[sum].as_i64() == Some(ours), "{sum} is not {ours}");
    }
    // A series is CPU time as well; its points are floating-point numbers.
    let series = answer["series_total"].as_f64().context("no series_total")?;
    ensure!((series - ours as f64).abs() < 1.0, "series_total is not {ours}");
    ensure!(strings(&answer["profile_types"]).contains(&CPU), "the profile type is missing");
    ensure!(strings(&answer["services"]).contains(&"workload-split"), "the service is missing");
    ensure!(strings(&answer["functions"]).contains(&"burn_60"), "the function is missing");
    for name in ["service_name", "comm", "exe", "node", "__profile_type__"] {
        ensure!(strings(&answer["label_names"]).contains(&name), "label {name} is missing");
    }
    let exe = answer["series"][0]["exe"].as_str().unwrap_or_default();
    ensure!(exe.ends_with("target/workloads/workload-split"), "exe is {exe}");
    Ok(())
}

#[test]
fn a_foreign_receiver_decodes_what_the_agent_pushes() -> Result<()> {
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let port = machine::free_port()?;
    let mut receiver =
        Child::start(command(go_clients(&go)?).arg("receive").arg(format!("127.0.0.1:{port}")))?;
    receiver.wait_for("listening on", Duration::from_secs(10))?;
    let mut agent = Agent::start(&format!("http://127.0.0.1:{port}"))?;
    let meter = Meter::start();
    let mut busy = Child::start(command(workload::c("split")?).arg("12"))?;
    busy.wait(Duration::from_secs(20))?;
    let used = meter.used(Split::parse(&busy.printed())?.cpu_ns, 12.0);
    agent.stop()?;
    let printed = receiver.printed();
    let refused = printed.lines().find(|line| line.starts_with("error:"));
    ensure!(refused.is_none(), "the receiver refused something: {refused:?}");
    let profiles: Vec<Value> =
        printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for profile in &profiles {
        check_pushed(profile).with_context(|| profile.to_string())?;
    }
    let is_ours = |profile: &&Value| profile["labels"]["service_name"] == "workload-split";
    let total: i64 =
        profiles.iter().filter(is_ours).filter_map(|profile| profile["total"].as_i64()).sum();
    used.check_ns(total, 97.0)?;
    let named = profiles
        .iter()
        .filter(is_ours)
        .any(|profile| strings(&profile["functions"]).contains(&"burn_60"));
    ensure!(named, "no profile has burn_60");
    let kernel =
        profiles.iter().any(|profile| strings(&profile["mappings"]).contains(&"[kernel.kallsyms]"));
    ensure!(kernel, "no profile has the kernel's mapping");
    let mut ids: Vec<&str> = profiles.iter().filter_map(|profile| profile["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == profiles.len(), "two profiles have the same id");
    Ok(())
}

fn check_pushed(profile: &Value) -> Result<()> {
    ensure!(strings(&profile["sample_type"]) == ["cpu/nanoseconds"], "wrong sample types");
    ensure!(profile["period_type"] == "cpu/nanoseconds", "wrong period type");
    let period = profile["period"].as_i64().context("no period")?;
    ensure!((period - 1_000_000_000 / 97).abs() <= 1, "wrong period");
    ensure!(
        profile["total"].as_i64().is_some_and(|total| total > 0 && total % period == 0),
        "not a multiple of the period"
    );
    ensure!(profile["nameless_frames"] == 0, "frames without a name");
    ensure!(
        profile["content_encoding"] == "gzip" && profile["content_type"] == "application/proto",
        "wrong headers"
    );
    ensure!(profile["labels"]["__name__"] == "process_cpu", "wrong __name__");
    let service = profile["labels"]["service_name"].as_str().unwrap_or_default();
    ensure!(!["", "unspecified", "unknown"].contains(&service), "a service without a name");
    ensure!(
        profile["duration_nanos"].as_i64().is_some_and(|ns| ns > 0 && ns <= 11_000_000_000),
        "wrong duration"
    );
    // A build id is hexadecimal; most programs have one.
    let ids = strings(&profile["build_ids"]);
    ensure!(
        ids.iter().all(|id| id.chars().all(|c| c.is_ascii_hexdigit())),
        "a build id is not hexadecimal"
    );
    Ok(())
}

#[test]
fn the_python_sdk_pushes_to_our_server() -> Result<()> {
    let Some(python) = std::env::var_os("PILOTLIGHT_PYTHON") else {
        skip!("PILOTLIGHT_PYTHON names no python with pyroscope-io; `cargo xtask test` makes one")
    };
    let server = Server::start()?;
    let from = now_ms();
    let mut push = command(python);
    push.arg(machine::workspace().join("tests/clients/python/push.py")).args([
        &server.url(),
        "py.shop",
        "13",
    ]);
    output(&mut push)?;
    let stacks = server.wait_for_stacks(
        "{service_name=\"py.shop\",color=\"green\"}",
        from,
        Duration::from_secs(10),
    )?;
    let percent = stacks.percent("hot_python_function");
    ensure!(percent > 80.0, "hot_python_function has {percent} %\n{}", stacks.shown());
    ensure!(stacks.total() > 2_000_000_000, "only {} ns were stored", stacks.total());
    Ok(())
}

/// What a client of this name has pushed: `main;work` = 5 and `main` = 2, once.
fn check_small(server: &Server, service: &str) -> Result<()> {
    let selector = format!("{{service_name=\"{service}\"}}");
    let stacks = server.stacks(&selector, now_ms() - 60_000)?;
    ensure!(stacks.total() == 7, "{service} has {}\n{}", stacks.total(), stacks.shown());
    ensure!(stacks.percent("work") > 71.0, "{service}:\n{}", stacks.shown());
    Ok(())
}

#[test]
fn generated_go_clients_push_over_every_protocol() -> Result<()> {
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    let clients = go_clients(&go)?;
    let server = Server::start()?;
    for protocol in ["proto", "json", "grpc", "grpc-web"] {
        let service = format!("push-{protocol}");
        output(command(&clients).args(["push", &server.url(), &service, protocol]))?;
        check_small(&server, &service)?;
    }
    for protocol in ["proto", "json", "grpc"] {
        let service = format!("export-{protocol}");
        output(command(&clients).args(["export", &server.url(), &service, protocol]))?;
        check_small(&server, &service)?;
    }
    Ok(())
}

#[test]
fn the_go_sdk_pushes_cpu_and_heap() -> Result<()> {
    let Some(go) = workload::go_compiler() else { skip!("no go") };
    let clients = go_clients(&go)?;
    let server = Server::start()?;
    let from = now_ms();
    output(command(&clients).args(["sdk", &server.url(), "go.shop", "12"]))?;
    let selector = "{service_name=\"go.shop\",color=\"blue\"}";
    let stacks = server.wait_for_stacks(selector, from, Duration::from_secs(10))?;
    let percent = stacks.percent("main.hotGoFunction");
    ensure!(percent > 50.0, "hotGoFunction has {percent} %\n{}", stacks.shown());
    let types = server.http.call_json(
        "querier.v1.QuerierService/ProfileTypes",
        &serde_json::json!({"start": from - 15_000, "end": now_ms() + 1_000}),
    )?;
    let ids: Vec<&str> = types["profileTypes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|found| found["ID"].as_str())
        .collect();
    for wanted in [
        "process_cpu:samples:count:cpu:nanoseconds",
        "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        "memory:alloc_objects:count:space:bytes",
        "memory:alloc_space:bytes:space:bytes",
        "memory:inuse_objects:count:space:bytes",
        "memory:inuse_space:bytes:space:bytes",
    ] {
        ensure!(ids.contains(&wanted), "{wanted} is missing: {ids:?}");
    }
    Ok(())
}
