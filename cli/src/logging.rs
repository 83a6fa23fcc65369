//! The settings of the log in; messages on standard error out.

use std::env;
use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Variable with the level, or with `tracing` directives for single modules.
pub(crate) const VARIABLE: &str = "PILOTLIGHT_LOG";

/// Begins to show messages of `level` and above. The variable wins.
pub(crate) fn start(level: &str, is_json: bool) -> Result<()> {
    let directives = env::var(VARIABLE).ok().filter(|directives| !directives.is_empty());
    let filter = match &directives {
        Some(directives) => EnvFilter::try_new(directives)
            .with_context(|| format!("{VARIABLE}: {directives:?} is neither error, warn, info, debug or trace nor a list of directives"))?,
        // Libraries speak of what they do at `info`, which is not what our users want to know.
        None => EnvFilter::try_new(format!("{level},hyper=warn,reqwest=warn,h2=warn,rustls=warn,blazesym=warn"))?,
    };
    let is_terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(is_terminal && env::var_os("NO_COLOR").is_none())
        .with_target(false);
    let shows_time = !is_terminal && env::var_os("JOURNAL_STREAM").is_none();
    match (is_json, shows_time) {
        (true, _) => builder.json().flatten_event(true).finish().try_init(),
        (false, true) => builder.compact().finish().try_init(),
        (false, false) => builder.compact().without_time().finish().try_init(),
    }
    .context("cannot start the log")
}
