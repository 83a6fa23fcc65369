//! Types and pure functions that both sides of the kernel boundary share: what the programs in `agent-ebpf` write and the
//! agent reads. Nothing here allocates or does I/O.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call that is not inlined is a BPF subprogram, which costs and is verified apart"
)]

#[cfg(test)]
extern crate std;

pub mod frame;
pub mod hash;
pub mod limits;
pub mod mapping;
pub mod outcome;
pub mod sample;
pub mod unwind;
pub mod table_slot;
