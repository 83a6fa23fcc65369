//! The real binary → a server and an agent on ports and in folders of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use protocol::profile::Profile;
use protocol::querier::SelectMergeProfileRequest;

use crate::child::{Child, command};
use crate::http::Http;
use crate::machine::{free_port, workspace};
use crate::stacks::Stacks;

/// The profile type that the agent sends.
pub const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
const SELECT_MERGE_PROFILE: &str = "querier.v1.QuerierService/SelectMergeProfile";

/// The binary under test: `PILOTLIGHT_BIN`, or what was built last.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("PILOTLIGHT_BIN") {
        return Ok(binary.into());
    }
    let candidates = ["debug", "release"]
        .map(|profile| workspace().join("target").join(profile).join("pilotlight"));
    let newest = candidates
        .into_iter()
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    newest
        .filter(|path| path.exists())
        .context("there is no pilotlight in target/; run: cargo build -p pilotlight")
}

/// `pilotlight SUBCOMMAND`, which knows only what the test tells it.
pub fn pilotlight(subcommand: &str) -> Result<Command> {
    let mut command = command(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PILOTLIGHT_") {
            command.env_remove(&name);
        }
    }
    command.arg(subcommand);
    Ok(command)
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "tests run in real time")]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A running `pilotlight server`.
pub struct Server {
    pub child: Child,
    pub port: u16,
    pub http: Http,
    data: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts one with an empty data directory, and waits until it is ready.
    pub fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut server = Self::start_in(data.path())?;
        server.data = Some(data);
        Ok(server)
    }

    /// Starts one on this data directory.
    pub fn start_in(data: &Path) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same with settings, as in `("PILOTLIGHT_RETENTION", "2d")`.
    pub fn start_with(data: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let mut command = pilotlight("server")?;
        command.envs(settings.iter().copied());
        command.arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--data").arg(data);
        let child = Child::start(&mut command)?;
        let http = Http::new(&format!("http://127.0.0.1:{port}"))?;
        let mut server = Self { child, port, http, data: None };
        if let Err(error) = server.http.wait_ready("/ready", Duration::from_secs(10)) {
            let running = server.child.is_running();
            return Err(error.context(format!(
                "the server (running: {running}) printed:\n{}",
                server.child.printed()
            )));
        }
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All profiles that match, merged, from `from_ms` until now.
    pub fn profile(&self, selector: &str, from_ms: i64) -> Result<Profile> {
        profile(&self.http, selector, from_ms)
    }

    pub fn stacks(&self, selector: &str, from_ms: i64) -> Result<Stacks> {
        Stacks::of(&self.profile(selector, from_ms)?, 0)
    }

    /// Waits until profiles that match have come.
    pub fn wait_for_stacks(&self, selector: &str, from_ms: i64, limit: Duration) -> Result<Stacks> {
        let end = Instant::now() + limit;
        loop {
            let stacks = self.stacks(selector, from_ms);
            match stacks {
                Ok(stacks) if stacks.total() > 0 => return Ok(stacks),
                _ if Instant::now() < end => std::thread::sleep(Duration::from_millis(200)),
                other => bail!("nothing matches {selector} after {limit:?}: {other:?}"),
            }
        }
    }
}

/// All profiles of a server that match, merged, from `from_ms` until now. A window is stamped with its start, which may
/// lie before `from_ms`.
pub fn profile(http: &Http, selector: &str, from_ms: i64) -> Result<Profile> {
    let request = SelectMergeProfileRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: selector.to_owned(),
        start: from_ms - 15_000,
        end: now_ms() + 1_000,
        ..Default::default()
    };
    http.call(SELECT_MERGE_PROFILE, &request)
}

/// A running `pilotlight agent`.
pub struct Agent {
    pub child: Child,
    pub metrics: Http,
}

impl Agent {
    /// Starts one that pushes to `url`, and waits until it samples.
    pub fn start(url: &str) -> Result<Self> {
        Self::start_with(url, &[])
    }

    /// The same, with settings of the environment.
    pub fn start_with(url: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut agent = Self::spawn(url, settings)?;
        agent.child.wait_for("sampling ", Duration::from_secs(40))?;
        Ok(agent)
    }

    /// Starts one and waits for nothing.
    pub fn spawn(url: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = pilotlight("agent")?;
        command.args(["--server", url]);
        Self::spawn_command(command, settings)
    }

    /// Starts a prepared command as an agent, with a port for its metrics.
    pub fn spawn_command(mut command: Command, settings: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        command.env("PILOTLIGHT_METRICS__LISTEN", format!("127.0.0.1:{port}"));
        command.envs(settings.iter().copied());
        Ok(Self {
            child: Child::start(&mut command)?,
            metrics: Http::new(&format!("http://127.0.0.1:{port}"))?,
        })
    }

    /// The sum of a metric over those of its series whose text contains `label`.
    pub fn metric(&self, name: &str, label: &str) -> Result<f64> {
        let text = String::from_utf8(self.metrics.get("/metrics")?.ok()?)?;
        Ok(sum_of_metric(&text, name, label))
    }

    /// Flushes and ends.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.child.stop(Duration::from_secs(20))?;
        if !status.success() {
            bail!("the agent ended with {status} and printed:\n{}", self.child.printed());
        }
        Ok(())
    }
}

/// Adds up the series of a metric in Prometheus' text.
pub fn sum_of_metric(text: &str, name: &str, label: &str) -> f64 {
    let series = text.lines().filter(|line| !line.starts_with('#') && line.contains(label));
    series
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(name))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::sum_of_metric;

    #[test]
    fn metrics_are_added_by_name_and_label() {
        let text = "# HELP a_total x\na_total{reason=\"full\"} 3\na_total{reason=\"fault\"} 4\nab_total 5\n";
        assert_eq!(
            (sum_of_metric(text, "a_total", ""), sum_of_metric(text, "a_total", "full")),
            (7.0, 3.0)
        );
    }
}
