//! libFuzzer's bytes in; crashes, if there are any, out. `PILOTLIGHT_FUZZ_TARGET` says which target (`cargo xtask fuzz`).
#![no_main]

use std::sync::LazyLock;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("PILOTLIGHT_FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::TARGETS.iter().find(|(name, _)| *name == wanted);
    target.expect("PILOTLIGHT_FUZZ_TARGET names one of fuzz::TARGETS").1
});
