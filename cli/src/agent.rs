//! `pilotlight agent`: arguments in; profiles pushed to a server until SIGTERM, out.

use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agent::agent::Summary;
use agent::config::{Config, LogFormat, LogLevel};
use anyhow::{Context, Result};

use crate::arguments;
use crate::logging;
use crate::settings::{self, Owner};
use crate::signals;

/// Profiles until it is told to stop.
pub(crate) fn run(arguments: &arguments::Agent) -> Result<()> {
    let config = settings::agent(arguments.config.as_deref(), Owner::One, arguments.flags())?;
    start_log(&config)?;
    let stop = Arc::new(AtomicBool::new(false));
    signals::stop_on_signals(Arc::clone(&stop), |origin| process::exit(128 + origin.signal))
        .context("cannot handle signals")?;
    agent::agent::run(&config, &stop, |summary| started(summary, &config))?;
    Ok(())
}

fn started(summary: &Summary, config: &Config) {
    tracing::info!("{summary}; tier: {}; pushing to {}", summary.tier, config.server.url);
}

/// Shows messages as the agent's settings want it.
pub(crate) fn start_log(config: &Config) -> Result<()> {
    let level = match config.log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    logging::start(level, config.log.format == LogFormat::Json)
}
