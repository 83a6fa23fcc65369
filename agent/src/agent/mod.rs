//! The road on one page.
mod sampler;
pub use self::sampler::{Sampler, Target, Tally, monotonic_ns};
