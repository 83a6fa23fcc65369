//! Process events of one CPU: exec, executable mappings, names, fork and exit, and code that the kernel makes for itself, from a perf event that counts nothing.
#![expect(unsafe_code, reason = "perf_event_open has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_SAMPLE_TID,
    PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr,
};

use super::Error;
use super::perf_ring::PerfRing;

/// Unread bytes at which a waiting reader is woken.
const WAKEUP_BYTES: u32 = 128 * 1024;

/// The events of one CPU.
pub(super) struct Sideband {
    cpu: u32,
    ring: PerfRing,
    /// How long the event had been enabled at the last look.
    enabled_ns: u64,
}

impl Sideband {
    /// Opens the events of a CPU; they flow at once.
    pub(super) fn open(cpu: u32) -> Result<Self, Error> {
        let event = open_event(cpu).map_err(|source| error(cpu, source))?;
        let ring = PerfRing::new(event).map_err(|source| error(cpu, source))?;
        Ok(Self { cpu, ring, enabled_ns: 0 })
    }

    /// Which CPU.
    pub(super) fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Whether the kernel has taken the event out since the last look. It does so when the CPU goes offline, says it to nobody,
    /// and does not put it back when the CPU returns, perhaps within the same moment; but the event's time stands still.
    pub(super) fn has_died(&mut self) -> bool {
        // Value and enabled time. What cannot be read is dead too.
        let mut bytes = [0; 16];
        let n_bytes = rustix::io::read(self.ring.as_fd(), &mut bytes).unwrap_or(0);
        let enabled_ns = u64::from_ne_bytes(bytes[8..].try_into().expect("it is 8 bytes"));
        let was_ns = std::mem::replace(&mut self.enabled_ns, enabled_ns);
        n_bytes < bytes.len() || enabled_ns <= was_ns
    }

    /// Hands over all records.
    pub(super) fn drain(&mut self, take: &mut impl FnMut(&[u8])) {
        self.ring.drain(take);
    }
}

impl AsFd for Sideband {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The attributes: every record ends with pid, tid and the time on `CLOCK_MONOTONIC`, which is the programs' clock too.
fn attributes() -> perf_event_attr {
    let mut attr = perf_event_attr::default();
    attr.type_ = PERF_TYPE_SOFTWARE;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.config = u64::from(PERF_COUNT_SW_DUMMY);
    attr.sample_type = u64::from(PERF_SAMPLE_TID | PERF_SAMPLE_TIME);
    attr.read_format = u64::from(PERF_FORMAT_TOTAL_TIME_ENABLED);
    attr.clockid = libc::CLOCK_MONOTONIC;
    attr.set_use_clockid(1);
    attr.set_sample_id_all(1);
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr.set_task(1);
    attr.set_ksymbol(1);
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = WAKEUP_BYTES;
    attr
}

fn open_event(cpu: u32) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    // SAFETY: the attributes are whole; every process (-1) on one CPU, in no group (-1).
    let fd = unsafe {
        perf_event_open_sys::perf_event_open(
            &raw mut attr,
            -1,
            cpu.cast_signed(),
            -1,
            u64::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn error(cpu: u32, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Error::PerfNotPermitted { paranoid: paranoid() },
        _ => Error::Sideband { cpu, source },
    }
}

/// The sysctl `kernel.perf_event_paranoid`.
pub(super) fn paranoid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
