//! The exporter against servers that behave in all the ways that servers do.

mod fake_server;
mod push;
mod tls;
mod rules;

use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use protocol::profile::Profile;
use reqwest::header::HeaderMap;
use url::Url;

use crate::label::Labels;
use crate::profile::SeriesProfile;

use super::{Config, Exporter, Handle, Metrics};

/// Long enough for a loaded machine; no test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(url: &str) -> Config {
    Config {
        url: Url::parse(url).unwrap(),
        authorization: None,
        headers: HeaderMap::new(),
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
        queue_bytes: 1 << 20,
    }
}

/// A profile of one sample whose string table makes it about `n_bytes` long, also when it is compressed.
fn profile(service_name: &str, window: i64, n_bytes: usize) -> SeriesProfile {
    let pairs = [(Arc::from("service_name"), Arc::from(service_name))];
    let labels: Labels = pairs.into_iter().collect();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 58) as u8)
    });
    let string_table = vec![String::new(), noise.take(n_bytes * 4 / 3).collect()];
    let profile = Profile { string_table, time_nanos: window, ..Profile::default() };
    SeriesProfile { labels, name: "process_cpu", profile, n_samples: 3 }
}

/// The exporter with its metrics readable.
struct Running {
    handle: Option<Handle>,
    registry: Registry,
}

impl Running {
    fn start(config: &Config) -> Self {
        capture_logs();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self { handle: Some(Exporter::spawn(config, metrics).unwrap()), registry }
    }

    fn send(&self, profiles: Vec<SeriesProfile>) {
        self.handle.as_ref().unwrap().send(profiles);
    }

    /// Ends the exporter; gives the profiles that were not sent.
    fn flush(&mut self, limit: Duration) -> u64 {
        self.handle.take().unwrap().flush(limit).n_profiles_unsent
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The sum of a metric over its labels.
    fn metric(&self, name: &str) -> u64 {
        let name = format!("pilotlight_agent_export_{name}");
        let text = self.metrics();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(&name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn wait_for(&self, name: &str, expected: u64) {
        wait_until(&format!("{name} >= {expected} in\n{}", self.metrics()), || {
            self.metric(name) >= expected
        });
    }

    /// The value of a metric with that reason.
    fn metric_of(&self, name: &str, reason: &str) -> u64 {
        let text = self.metrics();
        let series = format!("pilotlight_agent_export_{name}{{reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    fn assert_account(&self) {
        for unit in ["profiles", "samples"] {
            let of = |what: &str| self.metric(&format!("{what}_{unit}_total"));
            let pending = self.metric("pending_profiles") * if unit == "samples" { 3 } else { 1 };
            assert_eq!(of("queued"), of("sent") + of("dropped") + pending, "{}", self.metrics());
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Capture;

impl std::io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_writer(|| Capture).with_ansi(false).without_time().init();
    });
}

/// What was logged about the server at `url`, whose port no other test has.
fn logged_about(url: &str) -> String {
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    let url = url.trim_end_matches('/');
    let lines = log.lines().filter(|line| line.contains(url));
    lines.map(|line| format!("{}\n", line.replace(url, "URL"))).collect::<Vec<_>>().concat()
}
