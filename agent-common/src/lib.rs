//! Types and pure functions that both sides of the kernel boundary share: what the programs in `agent-ebpf` write and the
//! agent reads. Nothing here allocates or does I/O.
#![no_std]

pub mod frame;
pub mod hash;
pub mod limits;
pub mod mapping;
pub mod outcome;
pub mod sample;
pub mod unwind;
