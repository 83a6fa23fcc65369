//! What end-to-end tests are made of: workloads with a known answer, the real binary's processes, questions to its server, and
//! the stacks in an answer.

pub mod machine;
pub mod measure;
pub mod child;
pub mod workload;
pub mod http;
pub mod pilotlight;
pub mod stacks;
pub mod folded;

/// Returns from a test that cannot run here, with a line that says why; under `PILOTLIGHT_REQUIRE_ALL=1` it fails instead.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {
        return $crate::machine::skipped(&format!($($reason)*))
    };
}
