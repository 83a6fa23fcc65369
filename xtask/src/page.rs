//! ui's sources → `ui/dist`, the page that `server` embeds, and the proof that the committed one is theirs.

use anyhow::{Result, bail};

use crate::command::{command, output, workspace};
use crate::install;
use crate::progress::step;

/// Builds `ui/dist` in place. The same sources and `package-lock.json` give the same bytes.
pub(crate) fn build() -> Result<()> {
    install::npm()?;
    step("build the page", || {
        output(command("npm").args(["run", "build"]).current_dir(workspace().join("ui")))
    })
    .map(drop)
}

/// Builds in place and asks git whether that changed anything.
pub(crate) fn check() -> Result<()> {
    build()?;
    step("compare with the committed page", || {
        let changed = output(
            command("git")
                .args(["status", "--porcelain", "--", "ui/dist"])
                .current_dir(workspace()),
        )?;
        if !changed.is_empty() {
            bail!(
                "ui/dist is not what its sources give; run `cargo xtask ui` and commit it:\n{changed}"
            );
        }
        Ok(())
    })
}
