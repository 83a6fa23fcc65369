//! Loads the object: sizes of maps, constants, and which program goes into which slot.

use aya::maps::{Map, ProgramArray};
use aya::programs::Program;
use aya::programs::perf_event::PerfEvent;
use aya::{Ebpf, EbpfLoader};

use super::probe::Features;
use super::{Config, Error, btf, period_ns};

/// The compiled programs (`agent-ebpf`).
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../agent-ebpf/object/pilotlight.bpf.o");

/// Slot of the map `PROGRAMS` with the program that walks user stacks.
const USER_STACK_SLOT: u32 = 0;
/// Stacks that a CPU may copy in a second: what walking them in user space may cost is bounded by it.
const MAX_COPIES_PER_SECOND: u64 = 400;
/// Level of `aya-log` that shows nothing, and the one that shows all.
const LOG_OFF: u8 = 0;
const LOG_ALL: u8 = 5;

/// Sizes of the maps, from the machine or from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSizes {
    /// Bytes of the ring of records.
    pub ring_bytes: u32,
    /// Processes whose mapping lists the kernel holds.
    pub max_processes: u32,
    /// Chunks of mapping lists.
    pub max_chunks: u32,
    /// Slots for stacks that have been sent.
    pub stack_slots: u32,
    /// Bytes of the ring of copied stacks.
    pub copy_ring_bytes: u32,
    /// Executables that can have an unwind table.
    pub max_tables: u32,
}

impl MapSizes {
    /// A sample's record with its share of stack contents is about 200 bytes; the ring holds four seconds of samples. A copied
    /// stack is about 8 KiB; the ring holds half a second of them.
    pub(super) fn new(config: &Config, n_cpus: u32) -> Self {
        let or = |configured: u32, auto: u32| if configured == 0 { auto } else { configured };
        let ring = u64::from(config.frequency_hz) * u64::from(n_cpus) * 200 * 4;
        let ring = ring.clamp(256 * 1024, 64 * 1024 * 1024) as u32;
        let copies = u64::from(config.frequency_hz) * u64::from(n_cpus) * 8192 / 2;
        let copies = copies.clamp(512 * 1024, 32 * 1024 * 1024) as u32;
        let max_processes = or(config.max_processes, (512 * n_cpus).clamp(1024, 16 * 1024));
        Self {
            // The kernel takes powers of two of at least a page.
            ring_bytes: or(config.ring_bytes, ring).clamp(4096, 1 << 30).next_power_of_two(),
            max_processes,
            max_chunks: max_processes.saturating_mul(2).max(2),
            stack_slots: or(config.stack_slots, (n_cpus << 14).clamp(1 << 14, 1 << 20))
                .next_power_of_two(),
            copy_ring_bytes: copies.next_power_of_two(),
            max_tables: (512 * n_cpus).clamp(1024, 8 * 1024),
        }
    }
}

/// A loaded object.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) tier: &'static str,
}

/// Loads the maps and the programs.
pub(super) fn load(config: &Config, sizes: &MapSizes) -> Result<Loaded, Error> {
    let features = Features::probe();
    let mut ebpf = load_object(config, sizes, features)?;
    let user_stack = if features.bpf_loop { "user_stack" } else { "user_stack_bounded" };
    let tier = match load_program(&mut ebpf, user_stack)
        .and_then(|()| set_slot(&mut ebpf, user_stack))
    {
        Ok(()) => "bpf, unwind tables",
        Err(error @ (Error::NotPermitted | Error::Map { .. })) => return Err(error),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "user stacks will miss: their program was refused");
            if let Error::Program { source, .. } = &error {
                tracing::debug!("what the verifier said: {source}");
            }
            "bpf, kernel stacks only"
        }
    };
    load_program(&mut ebpf, "on_cpu")?;
    Ok(Loaded { ebpf, tier })
}

fn load_object(config: &Config, sizes: &MapSizes, features: Features) -> Result<Ebpf, Error> {
    let task_stack_offset = if features.task_pt_regs { 0 } else { task_stack_offset() };
    let seed = hash_seed();
    let seen_mask = sizes.stack_slots - 1;
    let period = period_ns(config.frequency_hz);
    let wakeup = u64::from(sizes.ring_bytes / 2);
    let copy_wakeup = u64::from(sizes.copy_ring_bytes / 2);
    let max_copies = u64::from(config.frequency_hz).min(MAX_COPIES_PER_SECOND);
    let log_level = if config.log { LOG_ALL } else { LOG_OFF };
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("RECORDS", sizes.ring_bytes)
        .map_max_entries("STACK_COPIES", sizes.copy_ring_bytes)
        .map_max_entries("TABLES", sizes.max_tables)
        .map_max_entries("PROCESSES", sizes.max_processes)
        .map_max_entries("MAPPINGS", sizes.max_chunks)
        .map_max_entries("SEEN_STACKS", sizes.stack_slots)
        .map_max_entries("AYA_LOGS", if config.log { 128 * 1024 } else { 4096 })
        .override_global("HASH_SEED", &seed, true)
        .override_global("SEEN_MASK", &seen_mask, true)
        .override_global("PERIOD_NS", &period, true)
        .override_global("WAKEUP_BYTES", &wakeup, true)
        .override_global("COPY_WAKEUP_BYTES", &copy_wakeup, true)
        .override_global("MAX_COPIES", &max_copies, true)
        .override_global("TASK_STACK_OFFSET", &task_stack_offset, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false);
    loader.load(OBJECT).map_err(|error| {
        if is_not_permitted(&error) { Error::NotPermitted } else { Error::Load(error) }
    })
}

/// 0 (no user registers for samples that hit the kernel: the helper is then refused as well) where there is no BTF.
fn task_stack_offset() -> u64 {
    std::fs::read("/sys/kernel/btf/vmlinux")
        .ok()
        .and_then(|bytes| btf::member_offset(&bytes, "task_struct", "stack"))
        .unwrap_or(0)
}

/// A number that profiled processes cannot guess.
fn hash_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    program(ebpf, name)?.load().map_err(|source| match &source {
        aya::programs::ProgramError::LoadError { io_error, .. }
            if io_error.raw_os_error() == Some(libc::EPERM) =>
        {
            Error::NotPermitted
        }
        _ => Error::Program { program: name, source },
    })
}

fn set_slot(ebpf: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let error = |source| Error::Map { map: "PROGRAMS", source };
    let program = program(ebpf, name)?;
    let fd = program.fd().and_then(|fd| fd.try_clone().map_err(Into::into));
    let fd = fd.map_err(|source| Error::Program { program: name, source })?;
    let map = ebpf.map_mut("PROGRAMS").expect("the object has this map");
    let mut slots = ProgramArray::try_from(map).map_err(error)?;
    slots.set(USER_STACK_SLOT, &fd, 0).map_err(error)
}

/// The program of that name.
pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut PerfEvent, Error> {
    let program: &mut Program = ebpf.program_mut(name).expect("the object has this program");
    program.try_into().map_err(|source| Error::Program { program: name, source })
}

/// Takes the map of that name out of the object.
pub(super) fn take_map<M: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).expect("the object has this map");
    M::try_from(map).map_err(|source| Error::Map { map: name, source })
}

fn is_not_permitted(error: &aya::EbpfError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error and its sources on one line, without the verifier's log.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(error.to_string().lines().next().unwrap_or_default());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Config, MapSizes};

    #[test]
    fn sizes_follow_the_machine() {
        let config = |frequency_hz| Config {
            frequency_hz,
            ring_bytes: 0,
            max_processes: 0,
            stack_slots: 0,
            max_table_bytes: 1 << 20,
            log: false,
        };
        let small = MapSizes::new(&config(97), 2);
        assert_eq!(
            (small.ring_bytes, small.max_processes, small.stack_slots),
            (256 * 1024, 1024, 32 * 1024)
        );
        let large = MapSizes::new(&config(997), 128);
        assert_eq!(
            (large.ring_bytes, large.max_processes, large.stack_slots),
            (64 << 20, 16 * 1024, 1 << 20)
        );
        let tiny = Config { ring_bytes: 1, max_processes: 1, stack_slots: 1, ..config(97) };
        let tiny = MapSizes::new(&tiny, 2);
        assert_eq!(
            (tiny.ring_bytes, tiny.max_processes, tiny.max_chunks, tiny.stack_slots),
            (4096, 1, 2, 1)
        );
    }
}
