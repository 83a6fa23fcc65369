//! Bytes that the kernel has left in; decoded process events, samples and stack contents out. Pure.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod perf;
mod record;

pub use self::perf::{MappedFile, ProcessEvent, ProcessEventKind, decode_process_event};
pub use self::record::{CopiedStack, Record, StackContents, decode_record, decode_stack_copy};
