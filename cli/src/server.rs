//! `pilotlight server`: arguments, or sockets and settings that `pilotlight run` or systemd hand over, in; the server until
//! SIGTERM, out.

use std::io::{self, Read};
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_name, set_no_new_privs};
use signal_hook::consts::SIGTERM;
use tokio::runtime::{self, Runtime};
use tokio::sync::Notify;

use crate::arguments;
use crate::load::{self, File, Sources};
use crate::logging;
use crate::settings::{self, Owner};
use crate::signals;

/// Longest settings that a parent hands over.
const MAX_SETTINGS_BYTES: u64 = 1024 * 1024;
/// Threads that wait for sockets.
const MAX_THREADS: usize = 4;

/// Serves until it is told to stop.
pub(crate) fn run(arguments: &arguments::Server) -> Result<()> {
    let config = if let Some(parent) = arguments.child_of {
        confine(parent)?;
        handed_over()?
    } else {
        let file = arguments.config.as_deref();
        settings::server(file, Owner::One, arguments.storage.flags())?.config
    };
    // As much of `pilotlight-server` as the kernel keeps.
    set_name(c"pilotlight-serv").context("cannot name the process")?;
    // Of what a child has to say, its parent says the usual things.
    logging::start(if arguments.child_of.is_some() { "warn" } else { "info" }, false)?;
    let inherited = inherited()?;
    let listeners = if inherited.is_empty() { server::bind(&config.listen)? } else { inherited };
    let stop = stop(arguments.child_of)?;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(server::run(config, listeners, stop))?;
    Ok(())
}

fn runtime() -> io::Result<Runtime> {
    // What takes long has threads of its own.
    let n_threads = available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    runtime::Builder::new_multi_thread().worker_threads(n_threads).enable_all().build()
}

/// Done when it is time to stop. Terminals and service managers signal all processes at once, but a child must outlive the
/// agent's last profiles: it hears its parent alone, which also is the sender when the parent dies.
fn stop(parent: Option<i32>) -> Result<impl Future<Output = ()>> {
    let (notify, stopping) = (Arc::new(Notify::new()), AtomicBool::new(false));
    let notified = Arc::clone(&notify);
    signals::on_signals(move |origin| {
        let sender = origin.process.as_ref().map(|process| process.pid);
        if parent.is_some() && (origin.signal != SIGTERM || sender != parent) {
            return;
        }
        if stopping.swap(true, Ordering::SeqCst) {
            std::process::exit(128 + origin.signal);
        }
        notify.notify_one();
    })
    .context("cannot handle signals")?;
    Ok(async move { notified.notified().await })
}

/// Gives up what the user id has not taken already. The parent runs as root: what this process parses must not.
fn confine(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .context("cannot follow the parent process")?;
    // It may have died before that call.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        bail!(
            "--child-of is for `pilotlight run`, which has ended or has another number than {parent}"
        );
    }
    set_no_new_privs(true).context("cannot refuse new privileges")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).context("cannot give up capabilities")
}

/// The settings that the parent writes to standard input, checked there already.
fn handed_over() -> Result<server::config::Config> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_SETTINGS_BYTES)
        .read_to_string(&mut text)
        .context("cannot read the settings from the parent")?;
    let file = Some(File { path: "the parent's settings".into(), text });
    let sources = Sources { file, ..Sources::default() };
    let loaded = load::load::<server::config::Config, agent::config::Config>(&sources, false)?;
    Ok(loaded.config)
}

/// Sockets from systemd, or from a parent that speaks as systemd does (`sd_listen_fds(3)`).
fn inherited() -> Result<Vec<TcpListener>> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let socket = sockets
            .take_tcp_listener(index)
            .with_context(|| format!("socket {index} of LISTEN_FDS is no TCP socket"))?;
        listeners.extend(socket);
    }
    for listener in &listeners {
        listener.set_nonblocking(true).context("cannot use a socket of LISTEN_FDS")?;
    }
    Ok(listeners)
}
