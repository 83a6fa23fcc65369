//! Records of a perf event's ring. Layout: `enum perf_event_type` in `include/uapi/linux/perf_event.h`. Every record ends
//! with pid, tid and the time, because that is how the events are opened (`kernel/sideband.rs`).

use zerocopy::FromBytes;

const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_COMM: u32 = 3;
const PERF_RECORD_EXIT: u32 = 4;
const PERF_RECORD_FORK: u32 = 7;
const PERF_RECORD_MMAP2: u32 = 10;
const PERF_RECORD_KSYMBOL: u32 = 17;
const KSYMBOL_FLAGS_UNREGISTER: u16 = 1;
const PERF_RECORD_MISC_COMM_EXEC: u16 = 1 << 13;
const PROT_EXEC: u32 = 4;
/// `struct perf_event_header`.
const HEADER_LEN: usize = 8;
/// pid u32, tid u32, time u64.
const TRAILER_LEN: usize = 16;
/// `KSYM_NAME_LEN`.
const MAX_SYMBOL_LEN: usize = 512;
/// Longest path that is kept.
const MAX_PATH_LEN: usize = 4096;

/// Something that happened to a process, or to the kernel's own code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// What happened.
    pub kind: ProcessEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEventKind {
    /// A process was forked (threads are left out).
    Fork { pid: u32, parent_pid: u32 },
    /// A process runs another program from now on.
    Exec { pid: u32, comm: String },
    /// The main thread was renamed.
    Comm { pid: u32, comm: String },
    /// Executable memory was mapped.
    Mapped { pid: u32, start: u64, end: u64, file_offset: u64, file: MappedFile },
    /// The last thread of a process ended.
    Exit { pid: u32 },
    /// The kernel has code of that name from now on, or, where it `is_gone`, until now: a BPF program, a trampoline.
    KernelCode { start: u64, end: u64, name: String, is_gone: bool },
    /// The kernel had no room for so many records.
    Lost { n_records: u64 },
}

/// The file of a mapping as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MappedFile {
    /// Device, major.
    pub major: u32,
    /// Device, minor.
    pub minor: u32,
    /// Inode; 0 for memory without a file.
    pub inode: u64,
    /// Generation of the inode, which tells a file from an earlier one with the same inode; 0 when unknown.
    pub generation: u64,
    /// Path in the process's mount namespace, or a name such as `[vdso]` or `//anon`.
    pub path: String,
}

/// Decodes one record with its header; `None` for records that are of no interest here, or malformed.
pub fn decode_process_event(bytes: &[u8]) -> Option<ProcessEvent> {
    let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let (kind, header) = u32::read_from_prefix(header).ok()?;
    let (misc, _) = u16::read_from_prefix(header).ok()?;
    let (body, trailer) = rest.split_at_checked(rest.len().checked_sub(TRAILER_LEN)?)?;
    let time_ns = u64::read_from_suffix(trailer).ok()?.1;
    let kind = match kind {
        PERF_RECORD_MMAP2 => decode_mapped(body)?,
        PERF_RECORD_COMM => decode_comm(body, misc & PERF_RECORD_MISC_COMM_EXEC != 0)?,
        PERF_RECORD_FORK => decode_fork(body)?,
        PERF_RECORD_EXIT => decode_exit(body)?,
        PERF_RECORD_KSYMBOL => decode_kernel_code(body)?,
        PERF_RECORD_LOST => ProcessEventKind::Lost { n_records: Words(body).skip_u64()?.u64()? },
        _ => return None,
    };
    Some(ProcessEvent { time_ns, kind })
}

/// pid u32, tid u32, address u64, length u64, file offset u64, major u32, minor u32, inode u64, generation u64, prot u32,
/// flags u32, path.
fn decode_mapped(body: &[u8]) -> Option<ProcessEventKind> {
    let mut words = Words(body);
    let pid = words.u32()?;
    words.u32()?;
    let (start, len, file_offset) = (words.u64()?, words.u64()?, words.u64()?);
    let (major, minor, inode) = (words.u32()?, words.u32()?, words.u64()?);
    let generation = words.u64()?;
    let protection = words.u32()?;
    words.u32()?;
    let path = text(words.0, MAX_PATH_LEN);
    let end = start.checked_add(len)?;
    (protection & PROT_EXEC != 0).then_some(ProcessEventKind::Mapped {
        pid,
        start,
        end,
        file_offset,
        file: MappedFile { major, minor, inode, generation, path },
    })
}

/// pid u32, tid u32, name.
fn decode_comm(body: &[u8], is_exec: bool) -> Option<ProcessEventKind> {
    let mut words = Words(body);
    let (pid, tid) = (words.u32()?, words.u32()?);
    let comm = text(words.0, agent_common::limits::COMM_LEN);
    if is_exec {
        return Some(ProcessEventKind::Exec { pid, comm });
    }
    (pid == tid).then_some(ProcessEventKind::Comm { pid, comm })
}

/// pid u32, parent's pid u32, tid u32, parent's tid u32, time u64.
fn decode_fork(body: &[u8]) -> Option<ProcessEventKind> {
    let mut words = Words(body);
    let (pid, parent_pid) = (words.u32()?, words.u32()?);
    (pid != parent_pid).then_some(ProcessEventKind::Fork { pid, parent_pid })
}

/// As a fork's. A process ends with its main thread as far as its samples go: other threads that outlive it are found again
/// by their samples.
fn decode_exit(body: &[u8]) -> Option<ProcessEventKind> {
    let mut words = Words(body);
    let pid = words.u32()?;
    words.u32()?;
    let tid = words.u32()?;
    (pid == tid).then_some(ProcessEventKind::Exit { pid })
}

/// start u64, length u32, type u16, flags u16, name.
fn decode_kernel_code(body: &[u8]) -> Option<ProcessEventKind> {
    let mut words = Words(body);
    let (start, len) = (words.u64()?, words.u32()?);
    let (_kind, rest) = u16::read_from_prefix(words.0).ok()?;
    let (flags, name) = u16::read_from_prefix(rest).ok()?;
    let end = start.checked_add(len.into())?;
    let name = text(name, MAX_SYMBOL_LEN);
    let is_gone = flags & KSYMBOL_FLAGS_UNREGISTER != 0;
    Some(ProcessEventKind::KernelCode { start, end, name, is_gone })
}

/// The bytes up to the first NUL, at most `max`, as text.
fn text(bytes: &[u8], max: usize) -> String {
    let bytes = bytes.get(..max).unwrap_or(bytes);
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// Numbers one after the other.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (value, rest) = u32::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    fn u64(&mut self) -> Option<u64> {
        let (value, rest) = u64::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    fn skip_u64(mut self) -> Option<Self> {
        self.u64()?;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{MappedFile, ProcessEvent, ProcessEventKind, decode_process_event};

    /// A record: kind, misc, 32-bit words, text, trailer.
    fn record(kind: u32, misc: u16, words: &[u32], text: &str) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(misc.to_ne_bytes());
        let mut text = text.as_bytes().to_vec();
        text.resize(text.len().next_multiple_of(8), 0);
        let size = 8 + words.len() * 4 + text.len() + 16;
        bytes.extend((size as u16).to_ne_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(text);
        bytes.extend([7u32.to_ne_bytes(), 7u32.to_ne_bytes()].concat());
        bytes.extend(99u64.to_ne_bytes());
        bytes
    }

    fn check(bytes: &[u8], expected: Option<ProcessEventKind>) {
        let expected = expected.map(|kind| ProcessEvent { time_ns: 99, kind });
        assert_eq!(decode_process_event(bytes), expected);
        for len in 0..bytes.len() {
            drop(decode_process_event(&bytes[..len]));
        }
    }

    #[test]
    fn every_kind() {
        let name = || "worker".to_owned();
        check(
            &record(3, 0, &[5, 5], "worker\0"),
            Some(ProcessEventKind::Comm { pid: 5, comm: name() }),
        );
        check(&record(3, 0, &[5, 6], "worker\0"), None);
        check(
            &record(3, 1 << 13, &[5, 5], "worker\0"),
            Some(ProcessEventKind::Exec { pid: 5, comm: name() }),
        );
        check(
            &record(7, 0, &[6, 5, 6, 5, 0, 0], ""),
            Some(ProcessEventKind::Fork { pid: 6, parent_pid: 5 }),
        );
        check(&record(7, 0, &[5, 5, 6, 5, 0, 0], ""), None);
        check(&record(4, 0, &[6, 5, 6, 5, 0, 0], ""), Some(ProcessEventKind::Exit { pid: 6 }));
        check(&record(4, 0, &[6, 5, 8, 5, 0, 0], ""), None);
        check(&record(2, 0, &[1, 0, 12, 0], ""), Some(ProcessEventKind::Lost { n_records: 12 }));
        check(&record(9, 0, &[1, 0, 12, 0], ""), None);
    }

    #[test]
    fn code_of_the_kernel() {
        for (flags, is_gone) in [(0, false), (1, true)] {
            let words = [0xc000_0000, 0xffff_ffff, 0x400, 1 | flags << 16];
            let code = ProcessEventKind::KernelCode {
                start: 0xffff_ffff_c000_0000,
                end: 0xffff_ffff_c000_0400,
                name: "bpf_prog_6deef7357e7b4530_x".to_owned(),
                is_gone,
            };
            check(&record(17, 0, &words, "bpf_prog_6deef7357e7b4530_x\0"), Some(code));
        }
        // It would end behind the last address.
        check(&record(17, 0, &[0xffff_ff00, 0xffff_ffff, 0x400, 1], "x\0"), None);
    }

    #[test]
    fn mappings() {
        let words =
            |protection| [5, 5, 0x1000, 0, 0x2000, 0, 0x3000, 0, 8, 1, 77, 0, 0, 0, protection, 2];
        let file = MappedFile {
            major: 8,
            minor: 1,
            inode: 77,
            generation: 0,
            path: "/bin/true".to_owned(),
        };
        check(
            &record(10, 0, &words(5), "/bin/true\0"),
            Some(ProcessEventKind::Mapped {
                pid: 5,
                start: 0x1000,
                end: 0x3000,
                file_offset: 0x3000,
                file,
            }),
        );
        check(&record(10, 0, &words(1), "/bin/true\0"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode_process_event(&bytes));
        }
    }
}
