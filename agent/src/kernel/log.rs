//! What the programs log (`--bpf-log`), passed on to the agent's own log.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The programs' log.
pub(super) struct ProgramLog(EbpfLogger<Forward>);

impl ProgramLog {
    /// Opens it; `None`, with a warning, when the object has none.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        match EbpfLogger::init_with_logger(ebpf, Forward) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::warn!(%error, "cannot read what the BPF programs log");
                None
            }
        }
    }

    /// Passes on what has come.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

/// Takes the programs' records into `tracing`.
struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(target: "bpf", "{}", record.args());
    }

    fn flush(&self) {}
}
