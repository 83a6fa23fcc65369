//! Entry points of the programs that run in the kernel. A sample's road: `on_cpu` (filter, registers, kernel stack), then,
//! by tail call, the program that walks user stacks, which also sends the records.
#![no_std]
#![no_main]
// The lints read this crate for the host, with a stable compiler.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "a call that is not inlined is a BPF subprogram, which costs and is verified apart"
)]
#![expect(clippy::needless_pass_by_value, reason = "programs are given their context by value")]

mod maps;
mod helpers;
mod counters;
mod filter;
mod sample;
mod kernel_stack;
mod window;
mod unwind_table;
mod stack_copy;
mod emit;
mod user_stack;

use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;

/// A tick of a CPU's clock.
#[perf_event]
fn on_cpu(ctx: PerfEventContext) -> u32 {
    if filter::is_wanted() && sample::begin(&ctx) {
        kernel_stack::take(&ctx);
        // Does not come back where an unwinder is loaded.
        helpers::tail_call(&ctx, maps::USER_STACK_SLOT);
        user_stack::skip();
    }
    0
}

/// Walks the user stack with `bpf_loop` (kernels from 5.17).
#[perf_event]
fn user_stack(ctx: PerfEventContext) -> u32 {
    user_stack::walk::<{ user_stack::WITH_BPF_LOOP }>(&ctx);
    0
}

/// Walks the user stack with loops that the verifier unrolls (all kernels from 5.10).
#[perf_event]
fn user_stack_bounded(ctx: PerfEventContext) -> u32 {
    user_stack::walk::<{ user_stack::BOUNDED }>(&ctx);
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
