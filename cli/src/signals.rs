//! Signals in; a flag that the road looks at, out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// Raises `stop` at the first Ctrl-C or SIGTERM, and calls `at_once` at the second.
pub(crate) fn stop_on_signals(
    stop: Arc<AtomicBool>,
    at_once: impl Fn(Origin) + Send + 'static,
) -> io::Result<()> {
    on_signals(move |origin| {
        if stop.swap(true, Ordering::SeqCst) {
            at_once(origin);
        }
    })
}

/// Calls `handle` for each Ctrl-C and SIGTERM, on a thread of its own.
pub(crate) fn on_signals(handle: impl FnMut(Origin) + Send + 'static) -> io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(handle))?;
    Ok(())
}

/// Leaves Ctrl-C and SIGTERM, which terminals and service managers send to all processes at once, to the parent.
pub(crate) fn leave_to_parent() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // A flag that nobody reads: unlike an ignored signal it is not handed down, and it needs no thread.
        flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// Whether the terminal sent the signal, and with it to every process in the foreground.
pub(crate) fn is_from_terminal(origin: &Origin) -> bool {
    origin.signal == SIGINT && !matches!(origin.cause, Cause::Sent(_))
}
