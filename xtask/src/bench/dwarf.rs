//! A program of 200 MB with debug information, made here → what the agent takes while it names that program's functions.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::group::Peak;
use super::load::{METRICS, Profiler, Running, Server};
use super::{megabytes as mb, verdict};
use crate::command::{command, output, workspace};
use crate::progress::{say, step};

const SECONDS: u64 = 60;
/// Units and functions of each: together 200 MB.
const N_UNITS: usize = 58;
const N_FUNCTIONS: usize = 6000;
const LEAST_FILE_BYTES: u64 = 200_000_000;
const LEAST_DWARF_BYTES: u64 = 150_000_000;
/// What all processes of the agent together may take at any time.
const BAR_RSS_BYTES: u64 = 150_000_000;

/// Measures, and fails where a bar is missed.
pub(super) fn measure(binary: &Path) -> Result<()> {
    let load = step("make a program of 200 MB", build_load)?;
    let _server = Server::start(binary)?;
    let measured = step("name its functions for a minute", || name_functions(binary, &load));
    let (peak, metrics) = measured?;
    report(&load, &peak, &metrics)
}

fn name_functions(binary: &Path, load: &Path) -> Result<(Peak, String)> {
    let mut busy = command(load);
    let _busy = Running::start(busy.arg((SECONDS + 10).to_string()).stdin(Stdio::null()))?;
    let mut agent = Profiler::agent(binary)?;
    let peak = agent.group.peak(Duration::from_secs(SECONDS))?;
    let metrics = metrics()?;
    agent.interrupt()?;
    Ok((peak, metrics))
}

fn metrics() -> Result<String> {
    let mut stream = TcpStream::connect(METRICS).context("the agent serves no metrics")?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn report(load: &Path, peak: &Peak, metrics: &str) -> Result<()> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    let n_windows = value("pilotlight_agent_windows_total");
    let n_named = value("pilotlight_agent_symbolize_window_seconds_count");
    let in_time = value("pilotlight_agent_symbolize_window_seconds_bucket{le=\"10.0\"}");
    let n_dropped = value("pilotlight_agent_windows_dropped_total");
    let of_memory = peak.total_bytes <= BAR_RSS_BYTES;
    // The last one may be in hand.
    let of_time = n_dropped == 0.0 && n_named >= n_windows - 1.0 && in_time >= n_named;
    say(&format!(
        "\nA program of {}, {} of it DWARF, {SECONDS} s, 97 Hz\n",
        mb(load.metadata()?.len()),
        mb(dwarf_bytes(load)?)
    ));
    say("| | pilotlight agent | bar | met |\n|---|---|---|---|");
    say(&format!(
        "| peak RSS, all processes | {} | {} | {} |",
        mb(peak.total_bytes),
        mb(BAR_RSS_BYTES),
        verdict(of_memory)
    ));
    for (process, bytes) in &peak.parts {
        say(&format!("| of it {process} | {} | | |", mb(*bytes)));
    }
    say(&format!(
        "| windows closed, named, named within 10 s, dropped | {n_windows}, {n_named}, {in_time}, {n_dropped} | none late | {} |",
        verdict(of_time)
    ));
    for line in metrics.lines().filter(|line| {
        line.starts_with("pilotlight_agent_symbolize_misses")
            || line.starts_with("pilotlight_agent_worker_restarts")
            || line.starts_with("pilotlight_agent_symbolize_window_seconds_sum")
    }) {
        say(&format!("| `{}` | | | |", line.replace(' ', "` | `").trim_end_matches("| ")));
    }
    if !(of_memory && of_time) {
        bail!("a bar is missed");
    }
    Ok(())
}

/// Compiles one unit and links it as many times under other names: to a debugger these are as many units.
fn build_load() -> Result<PathBuf> {
    let folder = workspace().join("target/bench-dwarf");
    let program = folder.join("program");
    if program.metadata().is_ok_and(|metadata| metadata.len() >= LEAST_FILE_BYTES) {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder)?;
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("unit.c"), unit())?;
    std::fs::write(folder.join("main.c"), main_function())?;
    let gcc = ["-g", "-O1", "-fno-var-tracking", "-fno-omit-frame-pointer"];
    output(command("gcc").args(gcc).args(["-c", "-o", &path("unit.o"), &path("unit.c")]))?;
    let mut link = command("gcc");
    link.args(gcc).args(["-o", &path("program"), &path("main.c")]);
    for number in 0..N_UNITS {
        let object = path(&format!("unit{number}.o"));
        let prefix = format!("--prefix-symbols=u{number}_");
        output(command("objcopy").args([&prefix, &path("unit.o"), &object]))?;
        link.arg(object);
    }
    output(&mut link)?;
    let (bytes, of_dwarf) = (program.metadata()?.len(), dwarf_bytes(&program)?);
    if bytes < LEAST_FILE_BYTES || of_dwarf < LEAST_DWARF_BYTES {
        bail!("the program is too small: {bytes} bytes, {of_dwarf} of them DWARF");
    }
    Ok(program)
}

/// Functions with structures, variables and inlined calls, and one that calls a few of them by a number.
fn unit() -> String {
    let mut text = String::from("typedef long (*function)(long);\n");
    for n in 0..N_FUNCTIONS {
        let near = |distance: usize| n.saturating_sub(distance);
        writeln!(
            text,
            "struct state_of_function_{n} {{ long first_{n}; int second_{n}; struct state_of_function_{n} *next_{n}; }};\n\
             static inline __attribute__((always_inline)) long inlined_{n}(struct state_of_function_{n} *state, long argument) {{\n\
             long product_{n} = argument * {n} + state->first_{n}; long sum_{n} = product_{n} + state->second_{n};\n\
             return sum_{n} ^ (product_{n} >> 3); }}\n\
             __attribute__((noinline)) long function_number_{n}(long argument) {{\n\
             struct state_of_function_{n} state = {{ argument, {n}, 0 }}; struct state_of_function_{a} other = {{ {n}, 3, 0 }};\n\
             long result = 0; for (long round = 0; round < 300; round++) {{\n\
             result += inlined_{n}(&state, round); other.first_{a} += result; result ^= inlined_{a}(&other, result); }}\n\
             return result; }}",
            a = near(1),
        )
        .expect("writing to a string cannot fail");
    }
    text.push_str("static const function all[] = {");
    for n in 0..N_FUNCTIONS {
        write!(text, "function_number_{n},").expect("writing to a string cannot fail");
    }
    writeln!(
        text,
        "}};\nlong enter(unsigned long number) {{ return all[number % {N_FUNCTIONS}](number); }}"
    )
    .expect("writing to a string cannot fail");
    text
}

fn main_function() -> String {
    let mut text = String::from("#include <stdlib.h>\n#include <time.h>\n");
    let names: Vec<String> = (0..N_UNITS).map(|number| format!("u{number}_enter")).collect();
    for name in &names {
        writeln!(text, "long {name}(unsigned long);").expect("writing to a string cannot fail");
    }
    writeln!(
        text,
        "static long (*const units[])(unsigned long) = {{ {} }};\n\
         int main(int count, char **arguments) {{\n\
         time_t end = time(0) + atol(arguments[1]); unsigned long number = 1; volatile long sink = 0;\n\
         while (time(0) < end) for (int i = 0; i < 10000; i++) {{\n\
         number = number * 6364136223846793005ul + 1442695040888963407ul;\n\
         sink += units[(number >> 33) % {N_UNITS}](number >> 40); }}\n\
         return 0; }}",
        names.join(", ")
    )
    .expect("writing to a string cannot fail");
    text
}

/// Of all sections whose name says so.
fn dwarf_bytes(program: &Path) -> Result<u64> {
    let printed = output(command("readelf").args(["--sections", "--wide"]).arg(program))?;
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| !word.starts_with(".debug_"));
        u64::from_str_radix(words.nth(4)?, 16).ok()
    };
    Ok(printed.lines().filter_map(of_line).sum())
}
