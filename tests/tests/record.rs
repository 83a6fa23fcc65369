//! `pilotlight record`: what its files contain, what it prints, how it ends.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::child::{Child, command, cpu_ns, output};
use tests::measure::Meter;
use tests::pilotlight::pilotlight;
use tests::stacks::Stacks;
use tests::workload::Split;
use tests::{machine, skip, workload};

/// `comm;frame;…` → number of samples.
struct Folded(BTreeMap<String, u64>);

impl Folded {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut stacks = BTreeMap::new();
        for line in text.lines() {
            let (stack, count) =
                line.rsplit_once(' ').with_context(|| format!("no count in {line:?}"))?;
            let count: u64 = count.parse().with_context(|| format!("no count in {line:?}"))?;
            ensure!(
                count > 0 && !stack.is_empty() && !stack.split(';').any(str::is_empty),
                "an empty part in {line:?}"
            );
            ensure!(stacks.insert(stack.to_owned(), count).is_none(), "a stack twice: {stack}");
        }
        Ok(Self(stacks))
    }

    fn count(&self, keep: impl Fn(&[&str]) -> bool) -> u64 {
        let parts = |stack: &str| stack.split(';').map(str::to_owned).collect::<Vec<_>>();
        self.0
            .iter()
            .filter(|(stack, _)| keep(&parts(stack).iter().map(String::as_str).collect::<Vec<_>>()))
            .map(|(_, count)| count)
            .sum()
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// A `record` that writes into a folder of its own.
struct Record {
    command: Command,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Record {
    fn new(ending: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join(format!("profile{ending}"));
        let mut command = pilotlight("record")?;
        command.arg("-o").arg(&file);
        Ok(Self { command, file, _folder: folder })
    }

    /// Runs to the end; gives the exit code and what was printed.
    fn run(&mut self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let mut child = Child::start(self.command.args(arguments))?;
        let status = child.wait(Duration::from_mins(1))?;
        Ok((status.code(), child.printed()))
    }

    fn run_ok(&mut self, arguments: &[&str]) -> Result<String> {
        let (code, printed) = self.run(arguments)?;
        ensure!(code == Some(0), "exit code {code:?}:\n{printed}");
        ensure!(
            printed.lines().any(|line| line.starts_with("sampling ")),
            "no line `sampling …`:\n{printed}"
        );
        Ok(printed)
    }
}

fn path(program: &Path) -> &str {
    program.to_str().unwrap_or_default()
}

#[test]
fn folded_stacks_have_every_caller_and_the_right_sum() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("split")?;
    let mut record = Record::new(".folded")?;
    let meter = Meter::start();
    let printed = record.run_ok(&["--", path(&program), "8"])?;
    let used = meter.used(Split::parse(&printed)?.cpu_ns, 8.0);
    let folded = Folded::read(&record.file)?;
    let own = folded.count(|parts| parts[0] == "workload-split") as f64;
    used.check(own, 97.0).with_context(|| format!("{:?}", folded.0))?;
    let whole = ["main", "outer", "inner", "burn_60", "mix_[i]"];
    // Asking for the time takes the rest of these 60 %: a system call on some machines.
    let share = folded.count(|parts| parts.ends_with(&whole)) as f64 / own;
    ensure!(share > 0.15, "{share} end in {whole:?}: {:?}", folded.0);
    let share = folded.count(|parts| parts.windows(4).any(|part| part == &whole[..4])) as f64 / own;
    ensure!((share - 0.6).abs() < 0.05, "{share} are in {:?}: {:?}", &whole[..4], folded.0);
    ensure!(folded.count(|parts| parts.contains(&"burn_10")) > 0, "no burn_10");
    Ok(())
}

#[test]
fn kernel_frames_come_last_and_are_marked() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("kernel_heavy")?;
    let mut record = Record::new(".folded")?;
    record.run_ok(&["--", path(&program), "4"])?;
    let folded = Folded::read(&record.file)?;
    let own = folded.count(|parts| parts[0] == "workload-kernel") as f64;
    let is_kernel = |part: &&str| part.ends_with("_[k]");
    let ordered = |parts: &[&str]| {
        parts.iter().rev().skip_while(|part| is_kernel(part)).all(|part| !is_kernel(part))
    };
    ensure!(
        folded.count(ordered) == folded.total(),
        "a kernel frame above a user frame: {:?}",
        folded.0
    );
    let in_read = |parts: &[&str]| {
        let user: Vec<&str> = parts.iter().copied().filter(|part| !is_kernel(part)).collect();
        parts.iter().any(|part| is_kernel(part) && part.contains("read"))
            && user.contains(&"main")
            && user.contains(&"fill")
    };
    let share = folded.count(in_read) as f64 / own;
    ensure!(share > 0.8, "{share} show their user frames under read(): {:?}", folded.0);
    Ok(())
}

#[test]
fn pprof_is_what_gos_own_tool_reads() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("split")?;
    let mut record = Record::new(".pb.gz")?;
    let meter = Meter::start();
    let printed = record.run_ok(&["-F", "199", "--", path(&program), "6"])?;
    let used = meter.used(Split::parse(&printed)?.cpu_ns, 6.0);
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&record.file)?).read_to_end(&mut bytes)?;
    let profile = <protocol::profile::Profile as prost::Message>::decode(bytes.as_slice())?;
    let (samples, nanoseconds) = (Stacks::of(&profile, 0)?, Stacks::of(&profile, 1)?);
    let period = profile.period;
    ensure!(period == 1_000_000_000 / 199, "period {period}");
    ensure!(nanoseconds.total() == samples.total() * period, "the two sample types disagree");
    // Also the loader's few: only the comm could tell them from others'.
    let own =
        samples.filtered(|stack| stack.frames.iter().any(|frame| frame.module == "workload-split"));
    used.check(own.total() as f64, 199.0).with_context(|| samples.shown())?;
    let Some(go) = workload::go_compiler() else { skip!("no go: `go tool pprof` was left out") };
    let raw = output(command(&go).args(["tool", "pprof", "-raw"]).arg(&record.file))?;
    ensure!(raw.contains("samples/count cpu/nanoseconds"), "{raw}");
    let top = output(command(&go).args(["tool", "pprof", "-top", "-cum"]).arg(&record.file))?;
    ensure!(top.contains("burn_60"), "{top}");
    Ok(())
}

#[test]
fn svg_is_a_flame_graph_with_the_functions() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("split")?;
    let mut record = Record::new(".svg")?;
    record.run_ok(&["--", path(&program), "2"])?;
    let svg = std::fs::read_to_string(&record.file)?;
    for part in ["<svg", "burn_60", "<script", "</svg>"] {
        ensure!(svg.contains(part), "no {part} in {} bytes", svg.len());
    }
    Ok(())
}

#[test]
fn it_exits_as_the_command_does() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let cases: [(&[&str], i32); 5] = [
        (&["--", "true"], 0),
        (&["--", "sh", "-c", "exit 3"], 3),
        (&["--", "sh", "-c", "kill -9 $$"], 137),
        (&["--", "/nonexistent/program"], 127),
        (&["--", "/etc/passwd"], 126),
    ];
    for (arguments, expected) in cases {
        let (code, printed) = Record::new(".folded")?.run(arguments)?;
        ensure!(
            code == Some(expected),
            "{arguments:?}: exit code {code:?}, expected {expected}:\n{printed}"
        );
    }
    Ok(())
}

#[test]
fn a_pid_is_sampled_alone_for_the_given_time() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("split")?;
    let wanted = Child::start(command(&program).arg("30"))?;
    let _other = Child::start(command(workload::c("deep")?).arg("30"))?;
    for (duration, seconds) in [("3", 3.0), ("1500ms", 1.5), ("2s", 2.0)] {
        let mut record = Record::new(".folded")?;
        record.command.args(["-d", duration, "-F", "499", "-p", &wanted.pid().to_string()]);
        let mut child = Child::start(&mut record.command)?;
        child.wait_for("sampling ", Duration::from_secs(20))?;
        let (meter, begun, before) = (Meter::start(), Instant::now(), cpu_ns(wanted.pid())?);
        std::thread::sleep(Duration::from_secs_f64(seconds - 0.1));
        let spent = cpu_ns(wanted.pid())? - before;
        let used = meter.used(spent, begun.elapsed().as_secs_f64());
        let status = child.wait(Duration::from_secs(20))?;
        ensure!(status.success(), "{status}:\n{}", child.printed());
        let took = begun.elapsed().as_secs_f64();
        ensure!((seconds - 0.1..seconds + 10.0).contains(&took), "-d {duration} took {took} s");
        let folded = Folded::read(&record.file)?;
        let own = folded.count(|parts| parts[0] == "workload-split");
        ensure!(folded.total() == own, "others: {:?}", folded.0);
        // A tenth of a second and the moments around it are not in what was measured, but no more.
        let (least, most) = (used.least(499.0), seconds * 499.0 * 1.03 + 2.0);
        ensure!(
            (least..=most).contains(&(own as f64)),
            "-d {duration}: {own} samples, {least} to {most} expected"
        );
    }
    Ok(())
}

#[test]
fn children_of_the_command_are_sampled_and_nobody_else() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let _other = Child::start(command(workload::c("deep")?).arg("30"))?;
    let program = workload::c("split")?;
    let mut record = Record::new(".folded")?;
    let script = format!("{} 4; sh -c '{} 3'", path(&program), path(&program));
    let meter = Meter::start();
    let printed = record.run_ok(&["-F", "499", "--", "sh", "-c", &script])?;
    let spent: u64 =
        printed.lines().filter_map(|line| Split::parse(line).ok()).map(|split| split.cpu_ns).sum();
    let used = meter.used(spent, 7.0);
    let folded = Folded::read(&record.file)?;
    let own = folded.count(|parts| parts[0] == "workload-split") as f64;
    used.check(own, 499.0).with_context(|| format!("{:?}", folded.0))?;
    ensure!(
        folded.count(|parts| parts[0] == "workload-deep") == 0,
        "a stranger was sampled: {:?}",
        folded.0
    );
    Ok(())
}

#[test]
fn everything_is_sampled_until_control_c() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let busy = Child::start(command(workload::c("deep")?).arg("30"))?;
    let mut record = Record::new(".folded")?;
    let mut child = Child::start(record.command.args(["-a", "-F", "499"]))?;
    child.wait_for("sampling ", Duration::from_secs(20))?;
    let (meter, before, begun) = (Meter::start(), cpu_ns(busy.pid())?, Instant::now());
    std::thread::sleep(Duration::from_secs(8));
    busy.signal(Signal::STOP)?;
    let used = meter.used(cpu_ns(busy.pid())? - before, begun.elapsed().as_secs_f64());
    child.signal(Signal::INT)?;
    let status = child.wait(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "{status}:\n{}", child.printed());
    let folded = Folded::read(&record.file)?;
    let deep = folded.count(|parts| parts[0] == "workload-deep");
    used.check(deep as f64, 499.0).with_context(|| format!("{:?}", folded.0))?;
    let says = child.printed();
    ensure!(
        says.lines().any(|line| line.contains("samples") && line.contains("lost")),
        "no summary:\n{says}"
    );
    Ok(())
}

#[test]
fn the_rate_is_the_one_asked_for() -> Result<()> {
    if let Some(reason) = machine::cannot_sample() {
        skip!("{reason}");
    }
    let program = workload::c("split")?;
    for (rate, seconds) in [(997.0, 4.0), (1000.0, 4.0), (1.0, 20.0)] {
        let mut record = Record::new(".folded")?;
        let meter = Meter::start();
        let arguments = [&rate.to_string(), "--", path(&program), &seconds.to_string()];
        let printed = record.run_ok(&[&["-F"], &arguments[..]].concat())?;
        let used = meter.used(Split::parse(&printed)?.cpu_ns, seconds);
        let own = Folded::read(&record.file)?.count(|parts| parts[0] == "workload-split") as f64;
        used.check(own, rate).with_context(|| format!("at {rate} Hz"))?;
    }
    Ok(())
}

#[test]
fn nonsense_is_refused_by_name() -> Result<()> {
    let cases: [(&[&str], &str); 6] = [
        (&["-d", "8parsec", "-a"], "8parsec"),
        (&["-F", "0", "-a"], "1000"),
        (&["-F", "1001", "-a"], "1000"),
        (&["-d", "1", "-p", "4194999"], "4194999"),
        (&["-d", "1", "-p", "1,x"], "x"),
        (&["-d", "1", "-a", "-p", "1"], "-p"),
    ];
    for (arguments, named) in cases {
        let (code, printed) = Record::new(".folded")?.run(arguments)?;
        ensure!(
            code.is_some_and(|code| code != 0) && printed.contains(named),
            "{arguments:?}: {code:?}\n{printed}"
        );
    }
    let (code, printed) = Record::new(".jpeg")?.run(&["-d", "1", "-a"])?;
    ensure!(
        code.is_some_and(|code| code != 0) && printed.contains(".folded"),
        "{code:?}\n{printed}"
    );
    Ok(())
}
