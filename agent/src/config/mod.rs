//! The agent's settings as files, environment and flags give them in; the checked settings of each stage out.

mod server;
mod symbolize;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use units::{Bytes, Span};

use crate::export;
use crate::kernel;
use crate::label;
use crate::symbolize as naming;

pub use self::server::{Basic, Bearer, Server};
pub use self::symbolize::{Debuginfod, Demangle, Symbolize};

/// A setting that cannot be: `key` is its dotted path, as in `sampling.frequency_hz`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}{}: {message}", entry.as_ref().map(|entry| format!(".{entry}")).unwrap_or_default())]
pub struct Error {
    /// Which setting.
    pub key: &'static str,
    /// Which entry of it, where it is a list of names.
    pub entry: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Error {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, entry: None, message: message.into() }
    }
}

/// All settings of the agent. `config/agent.yaml` explains each.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often.
    pub sampling: Sampling,
    /// How long the profiles are.
    pub window: Span,
    /// Where to.
    pub server: Server,
    /// How series are told apart.
    pub labels: Labels,
    /// The agent's own metrics.
    pub metrics: Metrics,
    /// How stacks are walked.
    pub unwind: Unwind,
    /// How names are found.
    pub symbolize: Symbolize,
    /// The programs in the kernel.
    pub bpf: Bpf,
    /// The agent's own messages.
    pub log: Log,
}

/// `sampling`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Samples a second on each busy CPU.
    pub frequency_hz: u32,
    /// Bound on the distinct stacks of one window; 0: by the number of CPUs.
    pub max_stacks: u32,
}

/// `labels`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Labels {
    /// Whether the label `pid` is added.
    pub pid: bool,
    /// Value of the label `node`; empty: the host's name.
    pub node: String,
    /// Bound on the series of one window.
    pub max_series: usize,
}

/// `metrics`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// IP address and port; empty: off.
    pub listen: String,
}

/// `unwind`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unwind {
    /// Memory of the kernel that unwind tables may take.
    pub table_bytes: u64,
    /// Folder of the tables on disk; empty: none.
    pub cache_dir: PathBuf,
}

/// `bpf`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bpf {
    /// Whether the programs' own log is shown.
    pub log: bool,
    /// Bytes of the ring that samples leave by; 0: by the number of CPUs.
    pub ring_bytes: Bytes,
    /// Processes whose mappings the kernel side knows; 0: by the machine's memory.
    pub max_processes: u32,
    /// Distinct stacks of a window that the kernel side tells apart; 0: by the number of CPUs.
    pub stack_slots: u32,
}

/// `log`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important level that is shown.
    pub level: LogLevel,
    /// How messages are written.
    pub format: LogFormat,
}

/// `log.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What makes the agent end.
    Error,
    /// What needs an eye.
    Warn,
    /// What happens once.
    Info,
    /// What happens once a window.
    Debug,
    /// Everything.
    Trace,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            window: Duration::from_secs(10).into(),
            server: Server::default(),
            labels: Labels::default(),
            metrics: Metrics::default(),
            unwind: Unwind::default(),
            symbolize: Symbolize::default(),
            bpf: Bpf::default(),
            log: Log::default(),
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        // Prime, so that it does not march in step with timers of 100 Hz.
        Self { frequency_hz: 97, max_stacks: 0 }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self { pid: false, node: String::new(), max_series: 2000 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: "127.0.0.1:4041".to_owned() }
    }
}

impl Default for Unwind {
    fn default() -> Self {
        Self { table_bytes: 64 << 20, cache_dir: PathBuf::from("/var/cache/pilotlight/unwind") }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Config {
    /// Checks every setting; the first that cannot be is the error.
    pub fn validate(&self) -> Result<(), Error> {
        check_range("sampling.frequency_hz", u64::from(self.sampling.frequency_hz), 1, 1000)?;
        check_auto_range("sampling.max_stacks", self.sampling.max_stacks)?;
        let window = self.window.duration();
        if window < Duration::from_secs(1) || window > Duration::from_mins(10) {
            return Err(Error::new("window", format!("{} is not between 1s and 10m", self.window)));
        }
        self.export()?;
        check_range("labels.max_series", self.labels.max_series as u64, 1, 100_000)?;
        self.metrics_address()?;
        check_range("unwind.table_bytes", self.unwind.table_bytes, 1 << 20, 256 << 20)?;
        self.symbolize.validate()?;
        self.bpf.validate()
    }

    /// Settings of the kernel side.
    pub fn kernel(&self) -> kernel::Config {
        let Bpf { log, ring_bytes, max_processes, stack_slots } = self.bpf;
        let frequency_hz = self.sampling.frequency_hz;
        let ring_bytes = u32::try_from(ring_bytes.0).unwrap_or(u32::MAX);
        let max_table_bytes = self.unwind.table_bytes;
        kernel::Config {
            frequency_hz,
            ring_bytes,
            max_processes,
            stack_slots,
            max_table_bytes,
            log,
        }
    }

    /// Bound on the distinct stacks of one window; `None`: by the machine.
    pub fn max_stacks(&self) -> Option<usize> {
        Some(self.sampling.max_stacks as usize).filter(|max_stacks| *max_stacks > 0)
    }

    /// Settings of the names.
    pub fn symbolize(&self) -> naming::Config {
        self.symbolize.stage()
    }

    /// Settings of the push to the server.
    pub fn export(&self) -> Result<export::Config, Error> {
        self.server.export()
    }

    /// Settings of the labels.
    pub fn label(&self) -> label::Config {
        let node = if self.labels.node.is_empty() { host_name() } else { self.labels.node.clone() };
        label::Config { node, pid: self.labels.pid, max_series: self.labels.max_series }
    }

    /// Where the agent's own metrics are served; `None`: nowhere.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, Error> {
        let text = &self.metrics.listen;
        if text.is_empty() {
            return Ok(None);
        }
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = numeric.as_deref().unwrap_or(text).parse().map_err(|_invalid| {
            let message = format!(
                "{text:?} is no IP address and port, as in 127.0.0.1:4041 (empty: no metrics)"
            );
            Error::new("metrics.listen", message)
        })?;
        Ok(Some(address))
    }
}

impl Bpf {
    fn validate(&self) -> Result<(), Error> {
        let ring_bytes = self.ring_bytes.0;
        let is_ring_size = ring_bytes == 0
            || (ring_bytes.is_power_of_two() && (64 << 10..=1 << 30).contains(&ring_bytes));
        if !is_ring_size {
            let message = format!(
                "{} is neither 0 (chosen by the machine) nor a power of two from 64KiB to 1GiB",
                self.ring_bytes
            );
            return Err(Error::new("bpf.ring_bytes", message));
        }
        check_auto_range("bpf.max_processes", self.max_processes)?;
        check_auto_range("bpf.stack_slots", self.stack_slots)
    }
}

fn check_range(key: &'static str, value: u64, min: u64, max: u64) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::new(key, format!("{value} is not between {min} and {max}")))
}

fn check_auto_range(key: &'static str, value: u32) -> Result<(), Error> {
    if value == 0 || (64..=16_777_216).contains(&value) {
        return Ok(());
    }
    Err(Error::new(
        key,
        format!("{value} is neither 0 (chosen by the machine) nor between 64 and 16777216"),
    ))
}

/// The kernel's name of this host; empty when it cannot be read, which costs the label only.
fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
