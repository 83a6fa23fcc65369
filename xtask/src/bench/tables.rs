//! All ELF files of this machine → what their unwind tables take, as a Markdown table.

use anyhow::Result;

use crate::command::{cargo, run};

/// The agent's own ignored test measures, for it alone knows the rows before they are merged; a missed bar is its failure.
pub(super) fn tables() -> Result<()> {
    run(cargo().args([
        "test",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "agent",
        "--lib",
        "--",
        "--ignored",
        "--nocapture",
        "sizes_of_all_tables",
    ]))
}
