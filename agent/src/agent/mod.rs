//! The road on one page. Per sample: kernel -> event -> (process) -> stack, in the [`Sampler`]. Per window: symbolize ->
//! label -> profile, in the [`Namer`], on a thread of its own; then export.

mod quota;
mod table_thread;
mod tables;
mod waiting;
mod sampler;
mod window;
mod metrics;
mod namer;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;

use self::metrics::Metrics;
use self::namer::{CountedWindow, Namer};
use self::table_thread::TableThread;
use self::tables::Tables;
use self::window::{WallOffset, window_end_ns};
use crate::admin::Admin;
use crate::config::{self, Config};
use crate::export::{self, Exporter};
use crate::kernel::{self, UnwindTables, online_cpus, period_ns};
use crate::label::{self, Labeler};
use crate::profile;
use crate::symbolize::{self, Symbolizer, TableWorker};
use crate::unwind::DiskCache;

pub use self::record::{RecordSummary, RecordTarget, record};
pub use self::sampler::{Sampler, Tally, Target, monotonic_ns};

/// How often the rings are read.
const DRAIN_INTERVAL: Duration = Duration::from_millis(200);
/// How often CPUs are looked for and metrics are brought up to date.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// Windows that wait to be named; the next is dropped and counted.
const MAX_WINDOWS_WAITING: usize = 4;
/// What naming the frames of one window may take: less than a window, so that naming keeps up.
const WINDOW_NAMING_LIMIT: Duration = Duration::from_secs(8);
/// How long the end may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel stage.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A setting.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The way to the server.
    #[error(transparent)]
    Export(#[from] export::Error),
    /// The file of a recording.
    #[error(transparent)]
    File(#[from] export::file::Error),
    /// The worker that names frames.
    #[error(transparent)]
    Symbolize(#[from] symbolize::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What the agent has found when it starts to sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Online CPUs.
    pub n_cpus: usize,
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Processes, without the kernel's own threads.
    pub n_processes: usize,
    /// The kernel's release.
    pub kernel_release: String,
    /// How it works here: `bpf, unwind tables`.
    pub tier: &'static str,
}

impl Summary {
    fn of(sampler: &Sampler, config: &Config) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            n_cpus: online_cpus().map_or(0, |cpus| cpus.len()),
            frequency_hz: config.sampling.frequency_hz,
            n_processes: sampler.n_processes(),
            kernel_release: release.trim().to_owned(),
            tier: sampler.kernel().tier(),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { n_cpus, frequency_hz, n_processes, kernel_release, tier: _ } = self;
        let plural = if *n_cpus == 1 { "" } else { "s" };
        let version: Vec<&str> = kernel_release.splitn(3, ['.', '-']).take(2).collect();
        let version = version.join(".");
        write!(
            f,
            "sampling {n_cpus} CPU{plural} at {frequency_hz} Hz, {n_processes} processes, kernel {version}"
        )
    }
}

/// Each sampled executable is an open file: as many as the system lets us have.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Runs the agent until `stop` is set; then sends what there is. `started` is called when sampling has begun.
pub fn run(
    config: &Config,
    stop: &AtomicBool,
    started: impl FnOnce(&Summary),
) -> Result<(), Error> {
    raise_open_files();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let exporter = Exporter::spawn(&config.export()?, export::Metrics::register(&mut registry))?;
    let labeler = Labeler::new(config.label(), label::Metrics::register(&mut registry));
    let naming = symbolize::Config { call_budget: WINDOW_NAMING_LIMIT, ..config.symbolize() };
    let namer = Namer::new(symbolizer(naming, &mut registry)?, labeler);
    let quality = profile::Metrics::register(&mut registry);
    let mut sampler =
        Sampler::new(&config.kernel(), Target::All, max_stacks(config, 1)?, |published| {
            tables(config, published)
        })?;
    let is_ready = Arc::new(AtomicBool::new(false));
    if let Some(address) = config.metrics_address()? {
        Admin::new(Arc::new(registry), Arc::clone(&is_ready)).serve(address, exporter.runtime());
    }
    let (windows, waiting) = sync_channel(MAX_WINDOWS_WAITING);
    let naming = thread::Builder::new().name("namer".to_owned());
    let naming = naming
        .spawn(move || name_windows(namer, &waiting, &quality, exporter))
        .map_err(Error::Thread)?;
    sampler.start()?;
    started(&Summary::of(&sampler, config));
    is_ready.store(true, Ordering::Relaxed);
    let sampled = sample(&mut sampler, config, &windows, &metrics, stop);
    drop(windows);
    naming.join().expect("a panic in a thread has ended the process");
    sampled
}

/// How many distinct stacks are held: what the machine's CPUs hardly ever reach in one window, times `n_windows`.
fn max_stacks(config: &Config, n_windows: usize) -> Result<usize, Error> {
    let by_machine = 8192 + 2048 * online_cpus()?.len();
    Ok(config.max_stacks().unwrap_or(n_windows * by_machine))
}

/// Samples window after window until `stop` is set.
fn sample(
    sampler: &mut Sampler,
    config: &Config,
    windows: &SyncSender<CountedWindow>,
    metrics: &Metrics,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let mut offset = WallOffset::now();
    let mut start_ns = monotonic_ns();
    let mut housekeeping = Instant::now();
    loop {
        let stop_ns = stop.load(Ordering::Relaxed).then(monotonic_ns);
        match stop_ns {
            Some(stop_ns) => sampler.finish(stop_ns)?,
            None => sampler.wait(DRAIN_INTERVAL),
        }
        loop {
            let end_ns = window_end_ns(start_ns, config.window.duration(), offset)
                .min(stop_ns.unwrap_or(u64::MAX));
            if sampler.drain(end_ns) < end_ns {
                break;
            }
            let window = profile::Window {
                start_unix_ns: offset.unix_ns(start_ns),
                duration_ns: end_ns - start_ns,
                period_ns: period_ns(config.sampling.frequency_hz),
            };
            let (stacks, kernel_code) = sampler.close_window()?;
            hand_over(windows, CountedWindow { window, stacks, kernel_code }, metrics);
            metrics.show(sampler)?;
            if stop_ns == Some(end_ns) {
                return Ok(());
            }
            (start_ns, offset) = (end_ns, WallOffset::now());
        }
        if housekeeping.elapsed() >= HOUSEKEEPING_INTERVAL {
            housekeeping = Instant::now();
            metrics.show(sampler)?;
            sampler.follow_cpus()?;
            sampler.tidy();
        }
    }
}

fn hand_over(windows: &SyncSender<CountedWindow>, window: CountedWindow, metrics: &Metrics) {
    metrics.window_closed();
    if let Err(TrySendError::Full(window) | TrySendError::Disconnected(window)) =
        windows.try_send(window)
    {
        metrics.window_dropped(window.n_samples());
        tracing::warn!(
            n_samples = window.n_samples(),
            "a window was dropped: naming its frames takes too long"
        );
    }
}

/// Names, profiles and exports the windows that come, until there are no more.
fn name_windows(
    mut namer: Namer,
    waiting: &Receiver<CountedWindow>,
    quality: &profile::Metrics,
    exporter: export::Handle,
) {
    while let Ok(counted) = waiting.recv() {
        let labeled = namer.name(&counted.stacks, counted.kernel_code);
        quality.count(&labeled);
        exporter.send(profile::build(counted.window, &labeled));
    }
    let flushed = exporter.flush(FLUSH_LIMIT);
    if flushed.n_profiles_unsent > 0 {
        tracing::warn!(
            flushed.n_profiles_unsent,
            "the server did not take the last profiles in time"
        );
    }
}

/// Starts the thread that gets unwind tables.
fn tables(config: &Config, published: UnwindTables) -> Result<Tables, Error> {
    let folder = &config.unwind.cache_dir;
    let opened = if folder.as_os_str().is_empty() {
        Ok(DiskCache::default())
    } else {
        DiskCache::open(folder)
    };
    let cache = opened.unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "unwind tables are made anew at each start"
        );
        DiskCache::default()
    });
    let worker = TableWorker::new(config.symbolize(), symbolize::Metrics::default())?;
    Tables::spawn(TableThread::new(published, cache, worker)).map_err(Error::Thread)
}

fn symbolizer(settings: symbolize::Config, registry: &mut Registry) -> Result<Symbolizer, Error> {
    let metrics = symbolize::Metrics::default();
    metrics.register(registry);
    Ok(Symbolizer::new(settings, metrics)?)
}

/// Whether a recording can be written to `file`: its ending is known and its place can be written.
pub fn check_record_file(file: &Path) -> Result<(), Error> {
    export::file::Target::check(file)?;
    Ok(())
}
