//! What the worker reads besides ELF files, what it and the agent say to each other, and what the kernel says.

use agent::event::{decode_process_event, decode_record, decode_stack_copy};
use agent::process::Mappings;
use agent::symbolize::wire::{Answer, Request};
use agent::unwind::{TableState, walk};
use agent::worker::fuzzing;

/// Addresses that perf maps and dumps are asked for: the corpus has code there.
fn addresses() -> Vec<u64> {
    (0..64).map(|n| 0x1000 + n * 0x20).chain([0, 1 << 32, u64::MAX - 1, u64::MAX]).collect()
}

pub(crate) fn perf_map(bytes: &[u8]) {
    fuzzing::perf_map(bytes, &addresses());
}

pub(crate) fn jit_dump(bytes: &[u8]) {
    fuzzing::jit_dump(bytes, &addresses());
}

pub(crate) fn kallsyms(bytes: &[u8]) {
    let addresses = (0..64).map(|n| 0xffff_ffff_8100_0000 + n * 0x100);
    fuzzing::kallsyms(bytes, &addresses.chain(addresses_of_ends()).collect::<Vec<_>>());
}

fn addresses_of_ends() -> [u64; 4] {
    [0, 1 << 63, 0xffff_ffff_c000_0000, u64::MAX]
}

pub(crate) fn symbol_name(bytes: &[u8]) {
    fuzzing::symbol_name(bytes);
}

/// Packets in both directions: what can be read is said again in the same way.
pub(crate) fn packet(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

/// Records of the kernel. A copied stack is its owner's: any bytes and registers.
pub(crate) fn kernel_record(bytes: &[u8]) {
    drop(decode_process_event(bytes));
    drop(decode_record(bytes));
    if let Some(copy) = decode_stack_copy(bytes) {
        let walked = walk(&copy, &Mappings::default(), |_| TableState::None);
        assert!(walked.frames.len() <= 1024, "{} frames", walked.frames.len());
    }
}
