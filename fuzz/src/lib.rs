//! Bytes of any kind in; nothing out. Each target hands them to one parser of what others wrote, as the program itself does,
//! and panics where a bound does not hold. Time and memory are bounded by libFuzzer (`xtask/src/fuzz.rs`).
//!
//! `cargo xtask fuzz` runs them from `corpus/TARGET/` on: small inputs of our own making (a few lines of C and C++, compiled; messages and
//! records written by hand; what the fuzzer made of those). `tests.rs` runs each of them, and changes of them, in every `cargo test`.

mod elf;
mod executables;
mod requests;
mod worker;
#[cfg(test)]
mod tests;

/// A target's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("elf", executables::elf),
    ("eh_frame", executables::eh_frame),
    ("debug_frame", executables::debug_frame),
    ("gopclntab", executables::gopclntab),
    ("sections", executables::sections),
    ("unwind_table", executables::unwind_table),
    ("perf_map", worker::perf_map),
    ("jit_dump", worker::jit_dump),
    ("kallsyms", worker::kallsyms),
    ("symbol_name", worker::symbol_name),
    ("worker_packet", worker::packet),
    ("kernel_record", worker::kernel_record),
    ("pprof", requests::pprof),
    ("push", requests::push),
    ("otlp", requests::otlp),
    ("otlp_json", requests::otlp_json),
    ("stacks", requests::stacks),
    ("trie", requests::trie),
    ("tree", requests::tree),
    ("speedscope", requests::speedscope),
    ("jfr", requests::jfr),
    ("form", requests::form),
];
